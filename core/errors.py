"""Errors a person reads: one line that says what is wrong, where, and what to do."""

from typing import Any

from finetune_tui.core.text import plain


class UserError(Exception):
    """The request was wrong (exit code 2): a misspelt name, a broken file, an impossible wish.

    message: what is wrong. where: file, line or key. hint: what to do about it.
    All three are shown as text: control characters never reach a terminal.
    """

    exit_code = 2

    def __init__(self, message: str, *, where: str | None = None, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = plain(message)
        self.where = plain(where) if where else None
        self.hint = plain(hint) if hint else None

    def __str__(self) -> str:
        start = f"{self.where}: {self.message}" if self.where else self.message
        return f"{start}; {self.hint}" if self.hint else start

    def to_json(self) -> dict[str, Any]:
        return {"message": self.message, "hint": self.hint, "where": self.where}


class WorkFailed(UserError):
    """The request was right and the work failed all the same (exit code 1)."""

    exit_code = 1
