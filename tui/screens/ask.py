"""The questions the app asks over a screen that stays in view: yes or no, or one of a few."""

from collections.abc import Sequence
from dataclasses import dataclass
from string import ascii_letters, digits
from typing import TYPE_CHECKING, ClassVar, TypeVar, cast

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.screen import ModalScreen

from finetune_tui.tui.actions import Action, ActionGroup, bindings
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

if TYPE_CHECKING:
    from finetune_tui.tui.app import FinetuneApp

T = TypeVar("T")

_question, _choice = ActionGroup("question"), ActionGroup("choice")
_YES = _question("yes", "y enter", "yes", "do it", "answer(True)", shown="y")
_NO = _question("no", "n escape q", "no", "leave it as it is", "answer(False)", shown="esc")
_MOVES = (
    _choice("down", "j down", "down", "the next answer", "move(1)"),
    _choice("up", "k up", "up", "the answer before", "move(-1)"),
    _choice("top", "g home", "first", "the first answer", "move(-1000)"),
    _choice("bottom", "G end", "last", "the last answer", "move(1000)"),
)
_CHOOSE = _choice("choose", "enter l right", "choose", "give this answer", shown="⏎")
_BACK = _choice("back", "escape q h left", "back", "give none", "dismiss(None)", shown="esc")


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

    def _key_words(self, action: Action) -> str:
        return cast("FinetuneApp", self.app).keymap.words(action)


class AskScreen(_Question[bool]):
    """Answers True for `y` (or `enter`), False for everything that leaves."""

    BINDINGS: ClassVar[list[BindingType]] = list(bindings((_YES, _NO)))

    def __init__(self, question: str, explanation: str, yes: str) -> None:
        super().__init__()
        self._question, self._explanation, self._yes = question, explanation, yes

    def compose(self) -> ComposeResult:
        yield Lines(self._lines)

    def on_resize(self) -> None:
        """A long explanation takes the lines it needs: nobody agrees to what is cut off."""
        needed = len(wrap(self._explanation, self.size.width - 2)) + 2
        self.query_one(Lines).styles.height = min(max(needed, 4), self.size.height)

    def action_answer(self, yes: bool) -> None:
        self.dismiss(yes)

    def on_lines_clicked(self, message: Lines.Clicked) -> None:
        if message.action:
            self.dismiss(message.action == "yes")

    def _lines(self, width: int, height: int) -> list[Line]:
        words = [line(f" {text}") for text in wrap(self._explanation, width - 2)[: height - 2]]
        yes, no = self._key_words(_YES), self._key_words(_NO)
        keys = line(" ", key(yes, self._yes, "yes"), "   ", key(no, "no", "no"))
        return [rule(width, [line(strong(self._question))]), *words, keys]


@dataclass(frozen=True, slots=True)
class Option:
    """One of a few answers. key: the letter or digit that gives it at once."""

    key: str
    words: str
    explanation: str = ""


class ChoiceScreen(_Question[str | None]):
    """Answers the key of the option that was chosen, None when nothing was."""

    # Bindings, for a key that is typed right after the one that asked is looked for among them alone. An
    # answer's own key comes before the keys that move.
    BINDINGS: ClassVar[list[BindingType]] = [
        *(Binding(letter, f"pick('{letter}')", show=False) for letter in ascii_letters + digits),
        *bindings((*_MOVES, _CHOOSE, _BACK)),
    ]

    def __init__(self, question: str, options: Sequence[Option], chosen: int = 0) -> None:
        super().__init__()
        self._question, self._options, self._at = question, tuple(options), chosen

    def compose(self) -> ComposeResult:
        shown = Lines(self._lines)
        shown.styles.height = len(self._options) + 2
        shown.styles.max_height = "80%"
        yield shown

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        return action != "pick" or parameters[0] in [option.key for option in self._options]

    def action_pick(self, answer: str) -> None:
        self.dismiss(answer)

    def action_move(self, by: int) -> None:
        self._at = min(max(self._at + by, 0), len(self._options) - 1)
        shown = self.query_one(Lines)
        shown.update()
        shown.reveal(self._at + 1)

    def action_choose(self) -> None:
        self.dismiss(self._options[self._at].key)

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
        choose, back = self._key_words(_CHOOSE), self._key_words(_BACK)
        keys = line(" ", key(choose, "choose"), "   ", key(back, "back", "back"))
        return [rule(width, [line(strong(self._question))]), *rows, keys]
