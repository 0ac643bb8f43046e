"""The help screen: every key that works here and everywhere, made from the actions themselves."""

from collections.abc import Iterable
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.screen import ModalScreen

from finetune_tui.tui.actions import Action, bindings
from finetune_tui.tui.widgets.lines import Line, Lines, Span, dim, fit, key, line, rule, strong

_TWO_COLUMNS = 110
_KEYS = 12

HELP_ACTIONS = (
    Action(
        "help.close", ("escape", "question_mark", "q"), "back", "close the keys", "help", "close"
    ),
    Action(
        "help.down", ("j", "down", "pagedown", "space"), "down", "further down", "help", "scroll(1)"
    ),
    Action("help.up", ("k", "up", "pageup"), "up", "further up", "help", "scroll(-1)"),
)


class HelpScreen(ModalScreen[str | None]):
    """Shows these groups in order; answers the id of the action that was clicked, or None."""

    DEFAULT_CSS = """
    HelpScreen { background: $background; }
    HelpScreen Lines { overflow-y: auto; }
    HelpScreen #help-foot { height: 1; }
    """
    BINDINGS: ClassVar[list[BindingType]] = list(bindings(HELP_ACTIONS))

    def __init__(self, title: str, actions: Iterable[Action]) -> None:
        super().__init__()
        self._title = title
        self._groups: dict[str, list[Action]] = {}
        for action in actions:
            self._groups.setdefault(action.group, []).append(action)

    def compose(self) -> ComposeResult:
        yield Lines(self._make, id="help-keys")
        foot = line(" ", key("esc", "back", "close"), "   ", key("j k", "scroll"))
        yield Lines(lambda _width, _height: [foot], id="help-foot")

    def _make(self, width: int, _height: int) -> list[Line]:
        columns = 2 if width >= _TWO_COLUMNS else 1
        each = width // columns
        lines = [rule(width, [line(strong(f"keys in {self._title}"))])]
        for group, actions in self._groups.items():
            if len(lines) > 1:
                lines.append(rule(width, [line(dim(group))]))
            entries = [_entry(action, each) for action in actions]
            half = -(-len(entries) // columns)
            for index in range(half):
                row = line(entries[index])
                if columns == 2 and half + index < len(entries):
                    row = line(row, entries[half + index])
                lines.append(row)
        return lines

    def action_close(self) -> None:
        self.dismiss(None)

    def action_scroll(self, by: int) -> None:
        keys = self.query_one("#help-keys", Lines)
        keys.scroll_to(y=keys.scroll_offset.y + by * 3, animate=False)

    def on_lines_clicked(self, event: Lines.Clicked) -> None:
        if event.action:
            self.dismiss(None if event.action == "close" else event.action)


def _entry(action: Action, width: int) -> Line:
    keys = Span(f" {action.key_words:>{_KEYS}}  ", "key", action.id)
    return fit(line(keys, Span(action.help, "", action.id)), width)
