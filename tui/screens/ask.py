"""The one question the app asks: a sentence, and a key that means yes."""

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.screen import ModalScreen

from finetune_tui.tui.widgets.lines import Line, Lines, key, line, rule, strong, wrap


class AskScreen(ModalScreen[bool]):
    """Answers True for `y` (or `enter`), False for everything that leaves."""

    DEFAULT_CSS = """
    AskScreen { align: center bottom; }
    AskScreen Lines { width: 1fr; height: 4; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y,enter", "answer(True)", "yes"),
        Binding("n,escape,q", "answer(False)", "no"),
    ]

    def __init__(self, question: str, explanation: str, yes: str) -> None:
        super().__init__()
        # The run stays in view behind the question; the app's own style for screens would hide it.
        self.styles.background = "transparent"
        self._question, self._explanation, self._yes = question, explanation, yes

    def compose(self) -> ComposeResult:
        yield Lines(self._lines)

    def action_answer(self, yes: bool) -> None:
        self.dismiss(yes)

    def on_lines_clicked(self, message: Lines.Clicked) -> None:
        if message.action:
            self.dismiss(message.action == "yes")

    def _lines(self, width: int, height: int) -> list[Line]:
        words = [line(f" {text}") for text in wrap(self._explanation, width - 2)[: height - 2]]
        keys = line(" ", key("y", self._yes, "yes"), "   ", key("esc", "no", "no"))
        return [rule(width, [line(strong(self._question))]), *words, keys]
