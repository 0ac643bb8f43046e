"""A report over the whole screen: of one model, or the difference of two."""

from collections.abc import Iterable
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.screen import ModalScreen

from finetune_tui.tui.actions import ActionGroup, bindings
from finetune_tui.tui.widgets.lines import Line, dim, line, rule, strong
from finetune_tui.tui.widgets.report_pane import ReportPane
from finetune_tui.tui.widgets.status import Footline

_action = ActionGroup("reading")

READING_ACTIONS = (
    _action("close", "escape q h left", "back", "close it", footer=True, shown="esc"),
)


class ReadingScreen(ModalScreen[None]):
    """Shows a Markdown text to its end; `esc` goes back."""

    DEFAULT_CSS = """
    ReadingScreen { background: $background; }
    """
    BINDINGS: ClassVar[list[BindingType]] = list(bindings(READING_ACTIONS))

    def __init__(self, title: str, text: str) -> None:
        super().__init__()
        self._title = title
        self._text = text

    def compose(self) -> ComposeResult:
        pane = ReportPane(self._top, id="reading")
        pane.text = self._text
        yield pane
        yield Footline()

    def on_mount(self) -> None:
        self.query_one(ReportPane).focus()

    def _top(self, width: int, where: str) -> Iterable[Line]:
        return [rule(width, [line(strong(self._title))], [line(dim(where))] if where else ())]

    def action_close(self) -> None:
        self.dismiss(None)
