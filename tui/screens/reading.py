"""A report over the whole screen: of one model, or the difference of two."""

from collections.abc import Iterable
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.screen import ModalScreen

from finetune_tui.tui.actions import Action, bindings
from finetune_tui.tui.widgets.lines import Line, Lines, dim, key, line, rule, strong
from finetune_tui.tui.widgets.report_pane import ReportPane

READING_ACTIONS = (
    Action("reading.close", ("escape", "q", "h", "left"), "back", "close it", "reading", "close"),
)


class ReadingScreen(ModalScreen[None]):
    """Shows a Markdown text to its end; `esc` goes back."""

    DEFAULT_CSS = """
    ReadingScreen { background: $background; }
    ReadingScreen #reading-foot { height: 1; }
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
        foot = line(
            " ",
            key("esc", "back", "close"),
            "   ",
            key("j k spc", "scroll"),
            "   ",
            key("y", "copy", "copy"),
        )
        yield Lines(lambda _width, _height: [foot], id="reading-foot")

    def on_mount(self) -> None:
        self.query_one(ReportPane).focus()

    def _top(self, width: int, where: str) -> Iterable[Line]:
        return [rule(width, [line(strong(self._title))], [line(dim(where))] if where else ())]

    def action_close(self) -> None:
        self.dismiss(None)

    def on_lines_clicked(self, event: Lines.Clicked) -> None:
        if event.action == "close":
            self.action_close()
        elif event.action == "copy":
            self.query_one(ReportPane).action_copy()
