"""The help screen: what a place is for and every key that works, made from the actions themselves."""

from collections.abc import Iterable, Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING, ClassVar, cast

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.screen import ModalScreen

from finetune_tui.tui.actions import Action, ActionGroup, bindings
from finetune_tui.tui.widgets.lines import Line, Lines, Span, dim, fit, line, rule, strong, wrap
from finetune_tui.tui.widgets.status import Footline

if TYPE_CHECKING:
    from finetune_tui.tui.app import FinetuneApp

_TWO_COLUMNS = 110
_KEYS = 12

_action = ActionGroup("help")

HELP_ACTIONS = (
    _action(
        "close", "escape question_mark q h left", "back", "close the keys", footer=True, shown="esc"
    ),
    _action("down", "j down", "down", "a line down", "scroll(1)", footer=True, shown="j k"),
    _action("up", "k up", "up", "a line up", "scroll(-1)"),
    _action("page_down", "pagedown space ctrl+d", "page", "a page down", "page(1)", True, "spc"),
    _action("page_up", "pageup ctrl+u", "page up", "a page up", "page(-1)"),
    _action("top", "g home", "top", "to the first line", "scroll(-1000000)"),
    _action("bottom", "G end", "bottom", "to the last line", "scroll(1000000)"),
)


class HelpScreen(ModalScreen[str | None]):
    """Shows these groups in order; answers the id of the action that was clicked, or None.

    about: paragraphs on what is under the cursor and on the place, above the keys.
    """

    DEFAULT_CSS = """
    HelpScreen { background: $background; }
    HelpScreen Lines { overflow-y: auto; }
    """
    BINDINGS: ClassVar[list[BindingType]] = list(bindings(HELP_ACTIONS))

    def __init__(self, title: str, actions: Iterable[Action], about: Sequence[str] = ()) -> None:
        super().__init__()
        self._title = title
        self._about = about
        self._groups: dict[str, list[Action]] = {}
        for action in actions:
            self._groups.setdefault(action.group, []).append(action)

    def compose(self) -> ComposeResult:
        yield Lines(self._make, id="help-keys")
        yield Footline()

    def _make(self, width: int, _height: int) -> list[Line]:
        columns = 2 if width >= _TWO_COLUMNS else 1
        each = width // columns
        lines = [rule(width, [line(strong(f"keys in {self._title}"))])]
        for paragraph in self._about:
            lines += [line(f" {words}") for words in wrap(paragraph, width - 2)]
        for index, (group, actions) in enumerate(self._groups.items()):
            if index or self._about:
                lines.append(rule(width, [line(dim(group))]))
            half = -(-len(actions) // columns)
            for left, right in zip_longest(actions[:half], actions[half:]):
                row = self._entry(left, each)
                beside = self._entry(right, each) if right else []
                for start, end in zip_longest(row, beside, fillvalue=()):
                    lines.append(line(fit(start, each), end) if end else start)
        return lines

    def _entry(self, action: Action, width: int) -> list[Line]:
        """The keys and what they do, on as many lines as the words take."""
        keys = cast("FinetuneApp", self.app).keymap.words(action)
        indent = min(_KEYS, width // 4)
        click = f"screen.pick('{action.id}')"
        rows = []
        for words in wrap(action.help, width - indent - 4):
            rows.append(line(Span(f" {keys:>{indent}}  ", "key", click), Span(words, "", click)))
            keys = ""
        return rows

    def action_close(self) -> None:
        self.dismiss(None)

    def action_scroll(self, by: int) -> None:
        keys = self.query_one("#help-keys", Lines)
        keys.scroll_to(y=keys.scroll_offset.y + by, animate=False)

    def action_page(self, by: int) -> None:
        self.action_scroll(by * max(self.query_one("#help-keys").size.height - 1, 1))

    def action_pick(self, action_id: str) -> None:
        self.dismiss(action_id)
