"""The list of runs: live, filtered as one types, sorted, some of them marked."""

import gc
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from textual.app import ComposeResult
from textual.timer import Timer

from finetune_tui.core.runs.arranging import FILTER_HELP, SORTS, Filter, arrange
from finetune_tui.core.runs.listing import Listing, RunFacts
from finetune_tui.tui.actions import Action
from finetune_tui.tui.screens.runs_actions import LIST_ACTIONS
from finetune_tui.tui.screens.runs_doing import RunsInHand
from finetune_tui.tui.screens.runs_lines import detail_lines, nothing_lines, title_line
from finetune_tui.tui.screens.runs_preview import Preview
from finetune_tui.tui.screens.runs_results import Results
from finetune_tui.tui.widgets.lines import Line, Lines, rule
from finetune_tui.tui.widgets.run_table import SORTS_OF, header_line

_LOOK_EVERY, _NOTICE_EVERY = 1.0, 10.0  # seconds
_FIRST, _SLICE = 0.05, 0.25  # seconds of reading before the screen shows what is known
_MANY = 1000  # runs
_ARCHIVED = "is:archived"
_NARROW, _WIDE = 60, 120  # columns
_TALL = 26  # rows from which the loss of the run under the cursor is shown
_DETAILS, _LEAST_PREVIEW = 4, 6  # rows


@dataclass(frozen=True, slots=True)
class _Look:
    """What one look at the disk found; arranged already, beside the screen. wanted: filter and sort."""

    shown: list[RunFacts]
    wanted: tuple[str, str]
    read: int
    total: int
    is_complete: bool
    now: float


class RunList(RunsInHand):
    """Reads in slices beside the screen; once all is known only the runs in view, once a second."""

    title: ClassVar[str] = "Runs"
    actions: ClassVar[tuple[Action, ...]] = LIST_ACTIONS

    DEFAULT_CSS = """
    RunList { layout: vertical; }
    RunList #runs-title, RunList #runs-header { height: 1; }
    RunList #runs-details { height: 4; }
    RunList.-narrow #runs-details { height: 5; }
    RunList.-tall #runs-details { height: 40%; }
    RunList.-empty #runs-header, RunList.-empty #runs-table { display: none; }
    RunList.-empty #runs-details { height: 1fr; }
    """

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.filter_text = ""
        self.sort = SORTS[0]
        self._below = Lines(self._details, id="runs-details")
        self.preview = Preview(self, self._below.update)
        self._results = Results(self, self._below.update)
        self._look: _Look | None = None
        self._clocks: list[Timer] = []
        self._is_reading = False
        self._wants_again = False

    def compose(self) -> ComposeResult:
        yield Lines(self._title, id="runs-title")
        yield Lines(
            lambda width, _: [header_line(width, self.sort, self.table.needs(width))],
            id="runs-header",
        )
        yield self.table
        yield self._below

    def on_mount(self) -> None:
        self._clocks = [
            self.set_interval(_LOOK_EVERY, self.look, pause=True),
            self.set_interval(_NOTICE_EVERY, self._notice_ends, pause=True),
        ]

    def on_resize(self) -> None:
        self.set_class(self.size.width < _NARROW, "-narrow")
        self.set_class(self.size.height >= _TALL, "-tall")

    def on_shown(self) -> None:
        self.focus()
        for timer in self._clocks:
            timer.resume()
        self.call_after_refresh(self.look)
        self._notice_ends()

    def on_hidden(self) -> None:
        self.preview.rest()
        for timer in self._clocks:
            timer.pause()

    def one_level_out(self) -> bool:
        """The range, then the marks, then the filter."""
        table = self.table
        if table.range_from is not None:
            table.range_from = None
        elif table.marks:
            table.marks.clear()
        elif self.filter_text:
            self._set_filter("")
        else:
            return False
        self._redraw()
        return True

    # Reading

    def look(self) -> None:
        """Look at the disk beside the screen; on and on until every run was read once."""
        if self._is_reading:
            self._wants_again = True
            return
        self._is_reading, self._wants_again = True, False
        listing = self._listing = self._listing or Listing(self.services.home, self.services.clock)
        seen, before = self.table.seen, self._look
        wanted = (self.filter_text, self.sort)
        seconds = _SLICE if before else _FIRST

        def read() -> _Look:
            changed = listing.poll(seconds, seen)
            if before is not None and not changed and wanted == before.wanted:
                shown = before.shown
            else:
                shown = arrange(listing.facts.values(), Filter.parse(wanted[0]), wanted[1])
            if listing.total > _MANY and not (before and before.is_complete):
                gc.freeze()  # they stay as long as the app: no collection need walk them again
            now = self.services.clock()
            return _Look(shown, wanted, listing.read, listing.total, listing.is_complete, now)

        self.finetune.in_thread(read, self._have_looked, "list of runs")

    def _have_looked(self, look: _Look) -> None:
        self._is_reading = False
        before = self.table.selected
        goes_on = not look.is_complete and (self._look is None or look.read > self._look.read)
        self._look = look
        self.table.show_runs(look.shown, look.now)
        self._redraw()
        if self.table.selected != before:
            self.refresh_bindings()
        if self._wants_again or goes_on:
            self.call_later(self.look)

    def _notice_ends(self) -> None:
        """A run whose supervisor was killed ends untold; who sees it tells."""
        self.finetune.in_thread(self.services.notice_ends, lambda _: None, "ends nobody told")

    # Drawing

    def _redraw(self) -> None:
        look, selected = self._look, self.table.selected
        self._results.point(selected)
        if self.size.height >= _TALL:
            self.preview.point(selected.run if selected and selected.is_training else None)
        self.set_class(look is not None and look.is_complete and not look.shown, "-empty")
        for shown in self.query(Lines):
            shown.update()

    def _title(self, width: int, _height: int) -> Sequence[Line]:
        look = self._look
        if look is None:
            return [rule(width, ["reading…"])]
        read = None if look.is_complete else look.read
        marked = len(self.table.marks)
        shown = len(look.shown)
        return [title_line(width, shown, look.total, self.filter_text, self.sort, marked, read)]

    def _details(self, width: int, height: int) -> Sequence[Line]:
        facts, look = self.table.selected, self._look
        if facts is not None and look is not None:
            where = f"{self.table.cursor + 1} of {len(look.shown)}"
            own = _DETAILS + (width < _NARROW)
            found = self._results.words
            lines = detail_lines(facts, width, min(height, own), where, look.now, found)
            room = height - len(lines)
            if room < _LEAST_PREVIEW:
                return lines
            shown = self.preview if facts.is_training else self._results
            return [*lines, *shown.lines(width, room)]
        if look is None or not look.is_complete:
            return []
        return nothing_lines(width, look.total, self.filter_text)

    # Moving and marking

    def action_move(self, by: int) -> None:
        self.table.point(self.table.cursor + by)
        self._redraw()
        self.refresh_bindings()

    def action_mark(self) -> None:
        """The run under the cursor, or all of the range."""
        table, marks = self.table, self.table.marks
        rows = table.in_range or range(table.cursor, table.cursor + 1)
        runs = [table.runs[row].run for row in rows]
        if table.range_from is None and runs[0] in marks:
            marks.remove(runs[0])
        else:
            marks += [run for run in runs if run not in marks]
        table.range_from = None
        self._redraw()
        self.refresh_bindings()

    def action_mark_range(self) -> None:
        if self.table.range_from is None:
            self.table.range_from = self.table.cursor
            self._redraw()
        else:
            self.action_mark()

    # Filter and sort

    def action_filter(self) -> None:
        words = f"filter ({FILTER_HELP})" if self.size.width >= _WIDE else "filter"
        self.finetune.ask(words, self._set_filter, self.filter_text, typed=self._set_filter)

    def _set_filter(self, text: str) -> None:
        if text != self.filter_text:
            self.filter_text = text
            self.table.range_from = None
            self.table.point(0)
            self.look()

    def action_archived(self) -> None:
        words = self.filter_text.split()
        if _ARCHIVED in words:
            words.remove(_ARCHIVED)
        else:
            words.append(_ARCHIVED)
        self._set_filter(" ".join(words))
        self._redraw()

    def action_sort(self) -> None:
        self._set_sort(SORTS[(SORTS.index(self.sort) + 1) % len(SORTS)])

    def action_sort_column(self, column: str) -> None:
        """What a click on its head does: each way in turn."""
        sorts = SORTS_OF[column]
        at = sorts.index(self.sort) + 1 if self.sort in sorts else 0
        self._set_sort(sorts[at % len(sorts)])

    def _set_sort(self, sort: str) -> None:
        self.sort = sort
        self._redraw()
        self.look()

    async def on_lines_clicked(self, message: Lines.Clicked) -> None:
        message.stop()
        if message.action:
            await self.run_action(message.action)
        elif message.lines is self.table:
            again = message.index == self.table.cursor
            self.action_move(message.index - self.table.cursor)
            if again:
                await self.action_open()
