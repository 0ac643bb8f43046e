"""Data: what the training file holds, row by row where it is wrong, and what of it is trained."""

from collections.abc import Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.containers import Horizontal

from finetune_tui.core.data.report import DataReport
from finetune_tui.tui.actions import Action
from finetune_tui.tui.screens.data_lines import (
    bad_row_lines,
    example_lines,
    fact_lines,
    length_lines,
    not_readable,
    nothing_yet,
)
from finetune_tui.tui.screens.place import Place
from finetune_tui.tui.widgets.lines import Line, Lines, dim, line

_WIDE = 100  # columns from which the examples stand beside the facts


def _action(verb: str, keys: str, words: str, help: str, run: str, footer: bool = False) -> Action:
    return Action(f"data.{verb}", tuple(keys.split()), words, help, "data", run, footer)


class DataPlace(Place, can_focus=True):
    """Reads the files of the spec when it is shown and they have not been read."""

    title: ClassVar[str] = "Data"
    actions: ClassVar[tuple[Action, ...]] = (
        _action("open", "o", "open", "choose a data file", "app.open_data", footer=True),
        _action("read", "r", "read again", "read the files again", "read_again", footer=True),
        _action("down", "j down", "down", "down a line", "move(1)"),
        _action("up", "k up", "up", "up a line", "move(-1)"),
        _action("page_down", "pagedown", "page down", "a page down", "move(15)"),
        _action("page_up", "pageup", "page up", "a page up", "move(-15)"),
        _action("top", "g home", "top", "to the first line", "move(-1000000)"),
        _action("bottom", "G end", "bottom", "to the last line", "move(1000000)"),
    )

    DEFAULT_CSS = """
    DataPlace #data-examples { display: none; border-left: solid $line; }
    DataPlace.-wide #data-examples { display: block; }
    """

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._error: str | None = None
        self._is_reading = False

    def compose(self) -> ComposeResult:
        with Horizontal():
            yield Lines(self._report_lines, id="data-report")
            yield Lines(self._example_lines, id="data-examples")

    def on_resize(self) -> None:
        self.set_class(self.size.width >= _WIDE and self.session.data is not None, "-wide")
        self._redraw()

    def on_shown(self) -> None:
        self.focus()
        self._read()

    def refresh_from_session(self) -> None:
        report = self.session.data
        if report is not None and report.files == self.session.data_files:
            self._error = None
        self.on_resize()

    def check_action(self, action: str, _parameters: tuple[object, ...]) -> bool | None:
        return action != "read_again" or bool(self.session.data_files)

    # Reading

    def _read(self) -> None:
        files, report = self.session.data_files, self.session.data
        if not files or self._is_reading or (report is not None and report.files == files):
            return
        self._is_reading = True
        self._error = None

        self.finetune.in_thread(
            lambda: self.services.read_data(files),
            lambda found: self._have_read(files, found),
            "data",
            lambda error: self._have_read(files, str(error)),
        )

    def _have_read(self, files: object, found: DataReport | str) -> None:
        self._is_reading = False
        if files != self.session.data_files:
            self._read()
        elif isinstance(found, str):
            self._error = found
            self._redraw()
        else:
            self.session.data = found
            self.finetune.session_changed()

    # Drawing

    def _redraw(self) -> None:
        for shown in self.query(Lines):
            shown.update()

    def _report_lines(self, width: int, _height: int) -> Sequence[Line]:
        session, report = self.session, self.session.data
        if not session.data_files:
            return nothing_yet(width)
        if self._error is not None:
            return not_readable(session.data_files, self._error, width)
        if report is None:
            return [line(dim(" reading…"))]
        lines = [
            *fact_lines(report, session.spec, width),
            *bad_row_lines(report.bad_rows, width, session.spec.strict),
            *length_lines(report.lengths, width),
        ]
        if not self.has_class("-wide"):
            lines += example_lines(report.examples, session.spec, width)
        return lines

    def _example_lines(self, width: int, _height: int) -> Sequence[Line]:
        report = self.session.data
        return example_lines(report.examples, self.session.spec, width) if report else []

    # What the keys do

    def action_move(self, by: int) -> None:
        for shown in self.query(Lines):
            shown.scroll_to(y=shown.scroll_offset.y + by, animate=False, force=True, immediate=True)

    def action_read_again(self) -> None:
        self.session.data = None
        self._redraw()
        self._read()
