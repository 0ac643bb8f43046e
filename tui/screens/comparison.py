"""What a comparison found: figures, counts by verdict, and every row as base and tuned model answered it."""

import time
from collections.abc import Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.timer import Timer

from finetune_tui.core.evidence.compared_rows import ComparedRow, RowIndex, find_rows, read_index
from finetune_tui.core.evidence.comparison import Comparison, Verdict, list_comparisons
from finetune_tui.core.runs.directory import RunDirectory
from finetune_tui.core.runs.labels import read_labels
from finetune_tui.core.text import plain
from finetune_tui.tui.actions import Action
from finetune_tui.tui.screens.ask import ChoiceScreen, Option
from finetune_tui.tui.screens.comparison_actions import COMPARISON_ACTIONS, OF_A_ROW, OF_ROWS
from finetune_tui.tui.screens.comparison_figures import (
    VERDICTS,
    about_lines,
    every_metric,
    field_lines,
)
from finetune_tui.tui.screens.comparison_lines import (
    choice_words,
    figures_lines,
    no_rows,
    nothing_yet,
    row_rule,
    title_lines,
)
from finetune_tui.tui.screens.comparison_rows import full_row, row_line, row_text, short_row
from finetune_tui.tui.screens.comparison_shown import Shown
from finetune_tui.tui.screens.comparison_store import RowStore
from finetune_tui.tui.screens.runs_view import RunsView
from finetune_tui.tui.widgets.finding import pointed_out
from finetune_tui.tui.widgets.lines import Line, Lines, Span, dim, key, line, rule, wrap
from finetune_tui.tui.widgets.rows import Rows

_PIECE, _BREATH = 100, 0.001  # rows searched between two pauses of so many seconds for the screen
_AGAIN = 3.0  # seconds, while there is none to show
_MOST = 9  # comparisons to choose from, by a digit each
_LEAST_ROWS, _LEAST_BELOW, _ROW_BELOW = 3, 6, 11  # lines: of the list, of the row under it


class ComparisonView(RunsView):
    """`open` shows a run's newest comparison, or the one of a name."""

    title: ClassVar[str] = "Comparison"
    about: ClassVar[str] = (
        "Base and tuned model, asked the same rows. Every figure has its 95 % interval; what an answer says"
        " otherwise than was expected is underlined."
    )
    actions: ClassVar[tuple[Action, ...]] = COMPARISON_ACTIONS

    DEFAULT_CSS = """
    ComparisonView { layout: vertical; }
    ComparisonView #comparison-top { height: 3; }
    ComparisonView #comparison-rows { height: 4; }
    ComparisonView #comparison-page { display: none; }
    ComparisonView.-page #comparison-rows, ComparisonView.-page #comparison-row { display: none; }
    ComparisonView.-page #comparison-page { display: block; }
    """

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.shown = Shown()
        self._top = Lines(self._top_lines, id="comparison-top")
        self._rows = Rows(self._row_line, id="comparison-rows")
        self._below = Lines(self._below_lines, id="comparison-row")
        self._page = Lines(self._page_lines, id="comparison-page")
        self._run: RunDirectory | None = None
        self._called = ""
        self._wanted: str | None = None  # the name of the comparison to show
        self._numbers: list[int] = []  # the rows in the list
        self._is_reading = False  # one row in full
        self._timer: Timer | None = None

    def compose(self) -> ComposeResult:
        yield self._top
        yield self._rows
        yield self._below
        yield self._page

    def on_mount(self) -> None:
        self._timer = self.set_interval(_AGAIN, self._look_again, pause=True)

    def on_shown(self) -> None:
        self.focus()
        if self._timer:
            self._timer.resume()
        self._look()

    def on_hidden(self) -> None:
        if self._timer:
            self._timer.pause()

    def on_resize(self) -> None:
        self._redraw()

    def open(self, run: RunDirectory, name: str | None = None) -> None:
        """The comparisons of this trained run. name: of the one to show, else the newest."""
        self._run, self._wanted = run, name
        self.shown, self._is_reading, self._numbers = Shown(), False, []
        self._rows.show(0)
        self._look()
        self._redraw()

    def one_level_out(self) -> bool:
        """The row, then verdict and words, then the tab."""
        if self._is_reading:
            self._is_reading = False
        elif self.shown.is_filtered:
            self.shown.show_all()
        elif not self.shown.first_tab():
            return False
        self._show_rows()
        return True

    # Reading

    def _look_again(self) -> None:
        """One may be under way."""
        if self.shown.comparisons == ():
            self._look()

    def _look(self) -> None:
        run = self._run
        if run is None:
            return

        def read() -> tuple[str, tuple[Comparison, ...]]:
            return plain(read_labels(run).name, 40), list_comparisons(run)

        def have_read(found: tuple[str, tuple[Comparison, ...]]) -> None:
            if run != self._run:
                return
            before = self.shown.comparison
            self._called, self.shown.comparisons = found
            wanted = before.name if before else self._wanted
            names = [one.name for one in found[1]]
            self.shown.at = names.index(wanted) if wanted in names else 0
            self._show_rows()

        self.finetune.in_thread(read, have_read, "comparisons")

    def _read_index(self) -> None:
        shown = self.shown
        comparison, compared = shown.comparison, shown.compared
        if comparison is None or compared is None or shown.store or shown.error:
            return
        folder, which = comparison.folder, compared.which

        def have_read(index: RowIndex) -> None:
            shown.stores[comparison.name, which] = RowStore(self, folder, index, self._rows_came)
            self._show_rows()

        def failed(error: Exception) -> None:
            shown.error = str(error)
            self._redraw()

        self.finetune.in_thread(
            lambda: read_index(folder, which), have_read, "rows of a comparison", failed
        )

    @property
    def row(self) -> ComparedRow | None:
        """Under the cursor, once it was read."""
        at, store = self._rows.cursor, self.shown.store
        return store.row(self._numbers[at]) if store and at < len(self._numbers) else None

    def _show_rows(self) -> None:
        """After another choice of rows; the one under the cursor stays there when it is among them."""
        self._read_index()
        before = self._numbers[self._rows.cursor : self._rows.cursor + 1]
        self._numbers = self.shown.numbers()
        at = self._numbers.index(before[0]) if before and before[0] in self._numbers else 0
        self._rows.show(len(self._numbers), at)
        self._rows_came()

    def _rows_came(self) -> None:
        self._redraw()
        self.refresh_bindings()

    def check_action(self, action: str, _parameters: tuple[object, ...]) -> bool | None:
        shown = self.shown
        if action in OF_A_ROW:
            return self.row is not None and shown.has_rows
        if action in OF_ROWS:
            return shown.store is not None and shown.has_rows
        if action in ("copy_path", "tab"):
            return shown.comparison is not None
        if action == "choose":
            return len(shown.comparisons or ()) > 1
        return True

    # Drawing

    def _redraw(self) -> None:
        if not self.size.width:
            return
        is_list = self.shown.has_rows and not self._is_reading
        is_page = self.shown.comparison is None or not is_list
        if is_page != self.has_class("-page"):
            self.set_class(is_page, "-page")
            self.call_after_refresh(self._update)  # what was hidden has its size only then
        width, height = self.size
        top = len(self._top_lines(width, height))
        below = height - top
        most = max(below // 2 - 1, below - _ROW_BELOW)
        rows = min(most, max(len(self._numbers), 1), below - _LEAST_BELOW)
        _set_height(self._top, top)
        _set_height(self._rows, max(rows, _LEAST_ROWS))
        self._want(max(rows, _LEAST_ROWS))
        self._update()

    def _update(self) -> None:
        for lines in self.query(Lines):
            lines.update()

    def _want(self, height: int) -> None:
        """The rows in view, and the one under the cursor."""
        store, cursor, top = self.shown.store, self._rows.cursor, self._rows.scroll_offset.y
        if store:
            store.want(self._numbers, range(min(cursor, top), max(cursor + 1, top + height)))

    def _top_lines(self, width: int, _height: int) -> list[Line]:
        shown, now = self.shown, self.services.clock()
        lines = title_lines(self._run, self._called, shown, now, width)
        if shown.has_rows and not self._is_reading:
            lines += figures_lines(shown, width, self.size.height)
        return lines

    def _row_line(self, index: int, width: int) -> Line:
        number, store = self._numbers[index], self.shown.store
        if store is None:
            return ()
        made = row_line(number, store.row(number), store.index.verdicts[number], width)
        return pointed_out(made, self.shown.looked_for)

    def _below_lines(self, width: int, height: int) -> list[Line]:
        """The row under the cursor, as far as there is room."""
        if not self._numbers:
            return no_rows(self.shown, width)
        row, keys = self.row, [key("enter", "in full", "read")]
        head = row_rule(row, self._rows.cursor, len(self._numbers), width, keys)
        lines = short_row(row, width, height - 1) if row else self._why_unread(width)
        return [head, *self._pointed_out(lines)]

    def _why_unread(self, width: int) -> list[Line]:
        error = self.shown.store.error if self.shown.store else ""
        return [line(" ", Span(words, "bad")) for words in wrap(error, width - 2)] if error else []

    def _page_lines(self, width: int, _height: int) -> list[Line]:
        """A row in full, or what else there is to know; or why there is nothing."""
        comparison = self.shown.comparison
        if comparison is None:
            return nothing_yet(self.shown, width)
        if self.shown.tab == "fields":
            return field_lines(comparison.held_out, width)
        if self.shown.tab == "about":
            how = [rule(width, ["how"]), *about_lines(comparison, width)]
            return [*every_metric(comparison, width), *how]
        row = self.row
        if row is None:
            return [line(dim(" reading…"))]
        keys = [key("← →", "others", "turn(1)"), key("y", "copy", "copy")]
        head = row_rule(row, self._rows.cursor, len(self._numbers), width, keys)
        return [head, *self._pointed_out(full_row(row, width))]

    def _pointed_out(self, lines: Sequence[Line]) -> list[Line]:
        return [pointed_out(one, self.shown.looked_for) for one in lines]

    # What the keys do

    def action_move(self, by: int) -> None:
        if self.has_class("-page"):
            self._page_to(self._page.scroll_offset.y + by)
        else:
            self._point(by)

    def action_page(self, by: int) -> None:
        lines = self._page if self.has_class("-page") else self._rows
        self.action_move(by * max(lines.size.height - 1, 1))

    def _point(self, by: int) -> None:
        self._rows.point(self._rows.cursor + by)
        self._rows_came()

    def _page_to(self, y: int) -> None:
        self._page.scroll_to(y=y, animate=False, force=True, immediate=True)

    def action_read(self) -> None:
        self._is_reading = not self._is_reading
        self._page_to(0)
        self._rows_came()

    def action_turn(self, by: int) -> None:
        """In a row the next row, in the list the next verdict."""
        if self._is_reading:
            self._page_to(0)
            self._point(by)
        else:
            self.action_filter(by)

    def action_filter(self, by: int) -> None:
        at = (VERDICTS.index(self.shown.verdict) + by) % len(VERDICTS)
        self._use_verdict(VERDICTS[at])

    def action_only(self, verdict: str) -> None:
        self._use_verdict(Verdict(verdict) if verdict else None)

    def _use_verdict(self, verdict: Verdict | None) -> None:
        self.shown.verdict, self._is_reading = verdict, False
        self._show_rows()

    def action_tab(self, by: int) -> None:
        tabs = self.shown.tabs
        self.action_show_tab(tabs[(tabs.index(self.shown.tab) + by) % len(tabs)])

    def action_show_tab(self, name: str) -> None:
        self.shown.choose_tab(name)
        self._begin_again()

    def _begin_again(self) -> None:
        self._is_reading = False
        self._page_to(0)
        self._show_rows()

    def action_find(self) -> None:
        self.finetune.ask("/", self._find, self.shown.looked_for)

    def _find(self, words: str) -> None:
        shown = self.shown
        comparison, store = shown.comparison, shown.store
        shown.looked_for, shown.hits = words, None
        self._begin_again()
        if not words or comparison is None or store is None:
            return
        folder, index = comparison.folder, store.index

        def find() -> list[int]:
            hits: list[int] = []
            for start in range(0, len(index), _PIECE):
                piece = range(start, min(start + _PIECE, len(index)))
                hits += find_rows(folder, index, words, piece)
                time.sleep(_BREATH)
            return hits

        def found(hits: list[int]) -> None:
            if words == shown.looked_for and store is shown.store:
                shown.hits = hits
                self._show_rows()

        self.finetune.in_thread(find, found, "find in rows")

    def action_choose(self) -> None:
        known, now = self.shown.comparisons or (), self.services.clock()
        options = [
            Option(str(number), plain(one.name, 20), choice_words(one, now))
            for number, one in enumerate(known[:_MOST], start=1)
        ]

        def chosen(answer: str | None) -> None:
            if answer:
                self.shown.choose(int(answer) - 1)
                self._begin_again()

        at = min(self.shown.at, len(options) - 1)
        self.app.push_screen(ChoiceScreen("Which comparison?", options, at), chosen)

    async def action_again(self) -> None:
        if self._run:
            await self.runs_place.show_compare(self._run)

    def action_copy(self) -> None:
        if self.row:
            self.finetune.copy(row_text(self.row), f"row {self.row.number + 1}")

    def action_copy_path(self) -> None:
        if self.shown.comparison:
            self.finetune.copy(plain(str(self.shown.comparison.folder)))

    async def on_lines_clicked(self, message: Lines.Clicked) -> None:
        message.stop()
        if message.action:
            await self.run_action(message.action)
        elif message.lines is self._rows:
            again = message.index == self._rows.cursor
            self._point(message.index - self._rows.cursor)
            if again and self.row:
                self.action_read()


def _set_height(lines: Lines, rows: int) -> None:
    if lines.styles.height is None or lines.styles.height.value != rows:
        lines.styles.height = rows
