"""The field a prompt is written in: several lines, every key its own."""

from typing import ClassVar

from textual import events
from textual.binding import BindingType
from textual.message import Message
from textual.widgets import TextArea

from finetune_tui.tui.actions import ActionGroup, bindings

_action = ActionGroup("try_field", "the prompt")

FIELD_ACTIONS = (
    _action(
        "send", "enter", "ask", "ask this; behind a \\ a new line instead", footer=True, shown="⏎"
    ),
    _action("leave", "escape", "leave", "leave the field, its text stays", footer=True),
)


class PromptField(TextArea):
    """`enter` sends, `\\` and `enter` begin a new line, `escape` leaves."""

    class Sent(Message):
        """The person asks this."""

        def __init__(self, text: str) -> None:
            super().__init__()
            self.text = text

    class Left(Message):
        """The person left the field."""

    DEFAULT_CSS = """
    PromptField, PromptField:focus {
        height: 3; border: none; padding: 0 1; background: $background; color: $foreground;
    }
    PromptField .text-area--cursor-line { background: $background; }
    PromptField .text-area--placeholder { color: $muted; text-style: $muted-style; }
    PromptField .text-area--selection { background: $cursor; text-style: $cursor-style; }
    """
    BINDINGS: ClassVar[list[BindingType]] = list(bindings(FIELD_ACTIONS))

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(
            id=id, compact=True, highlight_cursor_line=False, placeholder="⏎ to write a prompt"
        )
        self.cursor_blink = False  # twice a second, over any wire

    async def _on_key(self, event: events.Key) -> None:
        """A key that is bound here is no text."""
        if event.key in self._bindings.key_to_bindings and not event.is_printable:
            event.prevent_default()

    def action_send(self) -> None:
        row, column = self.cursor_location
        if self.document.get_line(row)[:column].endswith("\\"):
            self.replace("\n", (row, column - 1), (row, column))
            return
        text = self.text
        if text.strip():
            self.clear()
            self.post_message(self.Sent(text))

    def action_leave(self) -> None:
        self.post_message(self.Left())
