"""Tokens to text while they come: no character is shown before it is whole."""

from typing import Any

_HELD = "\ufffd"  # what a decoder writes for bytes that are not yet a character
_LONGEST_CHARACTER = 8  # tokens; a byte each, and some to spare


class TextStream:
    """Gives the text that each token adds; special tokens add none.

    Pieces joined are what the tokenizer makes of all tokens at once.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._ids: list[int] = []
        self._from = 0  # what is decoded anew: a token's text may depend on the one before
        self._told = 0  # up to here it was given

    def add(self, token: int) -> str:
        """What can be shown now that this token came; maybe nothing yet."""
        self._ids.append(token)
        before, now = self._decoded(self._told), self._decoded(len(self._ids))
        is_broken = now.endswith(_HELD) and len(self._ids) - self._told < _LONGEST_CHARACTER
        if is_broken or len(now) <= len(before):
            return ""
        self._from, self._told = self._told, len(self._ids)
        return now[len(before) :]

    def end(self) -> str:
        """What was held back; bytes that never became a character are shown as such."""
        before, now = self._decoded(self._told), self._decoded(len(self._ids))
        self._told = len(self._ids)
        return now[len(before) :]

    @property
    def text(self) -> str:
        """All of it, as it stands."""
        return self._text(self._ids)

    def _decoded(self, end: int) -> str:
        return self._text(self._ids[self._from : end])

    def _text(self, ids: list[int]) -> str:
        return str(
            self._tokenizer.decode(
                ids, skip_special_tokens=True, clean_up_tokenization_spaces=False
            )
        )
