"""The questions the app asks over a screen that stays in view: yes or no, or one of a few."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, TypeVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.events import Key
from textual.screen import ModalScreen

from finetune_tui.tui.widgets.lines import (
    Line,
    Lines,
    Span,
    dim,
    fit,
    key,
    line,
    rule,
    strong,
    wrap,
)

T = TypeVar("T")


class _Question(ModalScreen[T]):
    """A question at the bottom; what is behind it stays in view."""

    DEFAULT_CSS = """
    _Question { align: center bottom; }
    _Question Lines { width: 1fr; height: 4; }
    """

    def __init__(self) -> None:
        super().__init__()
        self.styles.background = (
            "transparent"  # the app's own style for screens would hide the rest
        )


class AskScreen(_Question[bool]):
    """Answers True for `y` (or `enter`), False for everything that leaves."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y,enter", "answer(True)", "yes"),
        Binding("n,escape,q", "answer(False)", "no"),
    ]

    def __init__(self, question: str, explanation: str, yes: str) -> None:
        super().__init__()
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


@dataclass(frozen=True, slots=True)
class Option:
    """One of a few answers. key: the letter or digit that gives it at once."""

    key: str
    words: str
    explanation: str = ""


class ChoiceScreen(_Question[str | None]):
    """Answers the key of the option that was chosen, None when nothing was."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("j,down", "move(1)", "down"),
        Binding("k,up", "move(-1)", "up"),
        Binding("enter", "choose", "choose"),
        Binding("escape,q", "dismiss(None)", "back"),
    ]

    def __init__(self, question: str, options: Sequence[Option], chosen: int = 0) -> None:
        super().__init__()
        self._question, self._options, self._at = question, tuple(options), chosen

    def compose(self) -> ComposeResult:
        shown = Lines(self._lines)
        shown.styles.height = len(self._options) + 2
        shown.styles.max_height = "80%"
        yield shown

    def action_move(self, by: int) -> None:
        self._at = min(max(self._at + by, 0), len(self._options) - 1)
        shown = self.query_one(Lines)
        shown.update()
        shown.reveal(self._at + 1)

    def action_choose(self) -> None:
        self.dismiss(self._options[self._at].key)

    def on_key(self, event: Key) -> None:
        if any(option.key == event.character for option in self._options):
            event.stop()
            self.dismiss(event.character)

    def on_lines_clicked(self, message: Lines.Clicked) -> None:
        if 1 <= message.index <= len(self._options):
            self.dismiss(self._options[message.index - 1].key)
        elif message.action:
            self.dismiss(None)

    def _lines(self, width: int, _height: int) -> list[Line]:
        room = max(len(option.words) for option in self._options) + 2
        rows = []
        for index, option in enumerate(self._options):
            words = option.words.ljust(room) if width > room + 20 else option.words
            text = line(
                " ",
                Span(option.key, "key"),
                f" {words}",
                dim(option.explanation if room < width else ""),
            )
            if index == self._at:
                text = tuple(span._replace(style="cursor") for span in fit(text, width))
            rows.append(text)
        keys = line(" ", key("⏎", "choose"), "   ", key("esc", "back", "back"))
        return [rule(width, [line(strong(self._question))]), *rows, keys]
