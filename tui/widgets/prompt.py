"""A question on the last line: type, enter answers, esc takes it back."""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal
from textual.suggester import Suggester
from textual.widget import Widget
from textual.widgets import Input, Label

from finetune_tui.tui.actions import ActionGroup, bindings

Answer = Callable[[str], None]

_action = ActionGroup("prompt")

PROMPT_ACTIONS = (
    _action("take_back", "escape", "back", "take the question back"),
    _action("complete", "tab", "complete", "the rest of the name, as suggested"),
)


class PromptLine(Horizontal):
    """Stands in for the footer while it asks. One question at a time; a new one takes back the old."""

    DEFAULT_CSS = """
    PromptLine { height: 1; width: 1fr; display: none; }
    PromptLine Label { padding: 0 1; color: $accent; text-style: bold; width: auto; }
    PromptLine Input { width: 1fr; background: $background; padding: 0; }
    """
    BINDINGS: ClassVar[list[BindingType]] = list(bindings(PROMPT_ACTIONS))

    def __init__(self) -> None:
        super().__init__()
        self._answer: Answer | None = None
        self._typed: Answer | None = None
        self._before: Widget | None = None

    def compose(self) -> ComposeResult:
        yield Label(markup=False)
        yield Input(compact=True)

    def ask(
        self,
        words: str,
        answer: Answer,
        value: str = "",
        typed: Answer | None = None,
        path: bool = False,
    ) -> None:
        """Show the question. typed: called on every change. path: tab completes names of files."""
        self._answer, self._typed = answer, typed
        if not self.display:
            self._before = self.screen.focused
        self.query_one(Label).update(words)
        field = self.query_one(Input)
        field.suggester = PathSuggester() if path else None
        field.value = value
        field.cursor_position = len(value)
        self._show(True)
        field.focus()

    def action_take_back(self) -> None:
        self._close()

    def action_complete(self) -> None:
        self.query_one(Input).action_cursor_right()

    @on(Input.Changed)
    def _changed(self, event: Input.Changed) -> None:
        event.stop()
        if self._typed and self.display:
            self._typed(event.value)

    @on(Input.Submitted)
    def _submitted(self, event: Input.Submitted) -> None:
        event.stop()
        answer = self._answer
        self._close()
        if answer:
            answer(event.value.strip())

    def _show(self, shown: bool) -> None:
        self.display = shown
        self.screen.set_class(shown, "-asking")

    def _close(self) -> None:
        had_focus = self.query_one(Input).has_focus  # not when a click has moved it already
        self._show(False)
        self._answer = self._typed = None
        if self._before is not None and had_focus:
            self._before.focus()


class PathSuggester(Suggester):
    """The first file or folder that continues what is typed."""

    def __init__(self) -> None:
        super().__init__(use_cache=False, case_sensitive=True)

    async def get_suggestion(self, value: str) -> str | None:
        return await asyncio.to_thread(complete_path, value)


def complete_path(typed: str) -> str | None:
    """`data/tr` → `data/train.jsonl`; folders end in `/`. None when nothing continues it."""
    if not typed or "\0" in typed:
        return None
    folder, start = os.path.split(typed)
    try:
        with os.scandir(Path(folder or ".").expanduser()) as entries:
            fitting = sorted(
                entry.name + ("/" if entry.is_dir() else "")
                for entry in entries
                if entry.name.startswith(start) and (start or not entry.name.startswith("."))
            )
    except OSError:
        return None
    return typed[: len(typed) - len(start)] + fitting[0] if fitting else None
