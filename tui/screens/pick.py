"""One of many, over the screen: a list, and below it what the row under the cursor holds."""

from collections.abc import Callable
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.screen import ModalScreen

from finetune_tui.tui.actions import ActionGroup, bindings
from finetune_tui.tui.widgets.lines import Line, Lines, dim, line, rule, strong
from finetune_tui.tui.widgets.rows import RowLine, Rows
from finetune_tui.tui.widgets.status import Footline

_action = ActionGroup("pick", "a list to choose from")

PICK_ACTIONS = (
    _action("choose", "enter l right", "choose", "take this one", footer=True, shown="⏎"),
    _action("close", "escape q h left", "back", "take none", footer=True, shown="esc"),
    _action("down", "j down", "down", "the one below", "move(1)", footer=True, shown="j k"),
    _action("up", "k up", "up", "the one above", "move(-1)"),
    _action("page_down", "pagedown space", "page down", "ten on", "move(10)"),
    _action("page_up", "pageup", "page up", "ten back", "move(-10)"),
    _action("top", "g home", "top", "the first", "move(-1000000)"),
    _action("bottom", "G end", "bottom", "the last", "move(1000000)"),
)

Detail = Callable[[int, int], list[Line]]
"""What a row holds, for its index and a width in cells."""


class PickScreen(ModalScreen[int | None]):
    """Answers the index of the chosen row, None when none was. note: beside the title."""

    DEFAULT_CSS = """
    PickScreen { background: $background; }
    PickScreen #pick-title { height: 1; }
    PickScreen #pick-detail { height: 40%; }
    """
    BINDINGS: ClassVar[list[BindingType]] = list(bindings(PICK_ACTIONS))

    def __init__(
        self, title: str, count: int, row: RowLine, detail: Detail, at: int = 0, note: str = ""
    ) -> None:
        super().__init__()
        self._title, self._note = title, note
        self._count, self._at = count, at
        self._detail = detail
        self._rows = Rows(row, id="pick-rows")

    def compose(self) -> ComposeResult:
        yield Lines(self._top, id="pick-title")
        yield self._rows
        yield Lines(self._below, id="pick-detail")
        yield Footline()

    def on_mount(self) -> None:
        self.call_after_refresh(self._show)

    def _show(self) -> None:
        """Once there is room: then the row that is chosen stands in view, and no other is scrolled away."""
        self._rows.show(self._count, self._at)
        self.query_one("#pick-detail", Lines).update()

    def _top(self, width: int, _height: int) -> list[Line]:
        return [rule(width, [line(strong(self._title))], [line(dim(self._note))])]

    def _below(self, width: int, height: int) -> list[Line]:
        where = f"{self._rows.cursor + 1} of {self._count}"
        return [rule(width, [], [line(dim(where))]), *self._detail(self._rows.cursor, width)][
            :height
        ]

    def action_move(self, by: int) -> None:
        self._rows.point(self._rows.cursor + by)
        self.query_one("#pick-detail", Lines).update()

    def action_choose(self) -> None:
        self.dismiss(self._rows.cursor)

    def action_close(self) -> None:
        self.dismiss(None)

    def on_lines_clicked(self, message: Lines.Clicked) -> None:
        if message.lines is not self._rows:
            return
        if message.index == self._rows.cursor:
            self.action_choose()
        else:
            self.action_move(message.index - self._rows.cursor)
