"""The table of runs: a row each, columns by the width there is."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from finetune_tui.core.runs.directory import RunDirectory
from finetune_tui.core.runs.listing import RunFacts
from finetune_tui.tui.widgets.lines import Line, Span, dim, fit, line
from finetune_tui.tui.widgets.plot import number
from finetune_tui.tui.widgets.rows import Rows
from finetune_tui.tui.widgets.run_lines import RUN_CLASSES, glyph_of, run_css, run_style
from finetune_tui.tui.widgets.status_mark import status_span

_NARROW, _WIDE, _WIDEST = 60, 110, 150  # columns of the terminal
_MARK = 2
_LOOKED_AT = 200  # runs whose texts say how wide the columns are
_FIXED = {"run": 6, "status": 12, "step": 10, "eval": 7, "made": 13}
_SHARES = {"name": 4, "model": 4, "preset": 4, "tags": 3, "note": 9}
_COLUMNS = ("run", "name", "model", "preset", "tags", "note", "status", "step", "eval", "made")
_SHOWN = {
    _NARROW: ("run", "name", "status", "step"),
    _WIDE: ("run", "name", "model", "status", "step", "eval", "made"),
    _WIDEST: tuple(column for column in _COLUMNS if column != "note"),
}
SORTS_OF = {
    "name": ("name",),
    "model": ("model",),
    "preset": ("preset",),
    "status": ("status",),
    "step": ("step",),
    "eval": ("eval loss", "best loss"),
    "made": ("newest", "oldest"),
}
"""What a click on a column's head sorts by, in turn."""


@dataclass(frozen=True, slots=True)
class Columns:
    """Cells of each column that is shown, in order, the space after it among them."""

    cells: dict[str, int]


Needs = Mapping[str, int]
"""Cells that the texts of a column take, by its name."""
NO_NEEDS: Needs = {}


def columns_for(width: int, needs: Needs = NO_NEEDS) -> Columns:
    """Below 60 columns name and state only; tags and the note where there is room for them.

    needs: a column that needs less than its share leaves the rest to those that need more.
    """
    shown = next((columns for below, columns in _SHOWN.items() if width < below), _COLUMNS)
    room = width - _MARK - sum(_FIXED.get(column, 0) for column in shown)
    growing = [column for column in shown if column in _SHARES]
    whole = sum(_SHARES[column] for column in growing)
    cells = {}
    for column in shown:
        share = room * _SHARES.get(column, 0) // whole
        cells[column] = _FIXED.get(column) or max(min(share, needs.get(column, share)), 1)
    for column in growing:
        left = room - sum(cells[one] for one in growing)
        cells[column] += max(min(left, needs.get(column, 0) - cells[column]), 0)
    cells[growing[-1]] += room - sum(cells[column] for column in growing)
    return Columns(cells)


def needs_of(runs: Sequence[RunFacts], width: int) -> Needs:
    """What the first runs need; the space after a text and the column's head among it."""
    return (
        {
            column: 1
            + max(
                len(column) + 1,
                *(len(_cell(facts, column, width, 0.0).text) for facts in runs[:_LOOKED_AT]),
            )
            for column in _SHARES
        }
        if runs
        else {}
    )


def header_line(width: int, sort: str = "newest", needs: Needs = NO_NEEDS) -> Line:
    """The heads of the columns, each a click; an arrow stands at the one that is sorted by."""
    spans: list[Span | Line] = [" " * _MARK]  # type: ignore[list-item]
    for column, cells in columns_for(width, needs).cells.items():
        sorts = SORTS_OF.get(column, ())
        words = column.upper() + _arrow(column, sort)
        click = f"sort_column('{column}')" if sorts else ""
        style = "strong" if words[-1] in "▾▴" else "dim"
        spans.append(fit((Span(words[:cells], style, click),), cells))
    return line(*spans)


def _arrow(column: str, sort: str) -> str:
    """Which way a column falls."""
    if sort not in SORTS_OF.get(column, ()):
        return ""
    return "▾" if sort in ("newest", "step") else "▴"


def run_line(
    facts: RunFacts, width: int, now: float, place: int | None = None, needs: Needs = NO_NEEDS
) -> Line:
    """One run. place: the how-manieth it was marked, None when it is not."""
    mark = Span("  ")
    if place is not None:
        mark = Span(f"{glyph_of(place)} ", f"{run_style(place)} strong")
    columns = columns_for(width, needs).cells
    cells = [fit((_cell(facts, column, width, now),), size - 1) for column, size in columns.items()]
    return line(mark, *(part for cell in cells for part in (cell, " ")))


def _cell(facts: RunFacts, column: str, width: int, now: float) -> Span:
    if column == "run":
        return Span("–" if facts.run.number is None else facts.short_id, "strong")
    if column == "name":
        words = f"{facts.task_words} {facts.name}".strip() if facts.task_words else facts.name
        return Span(words) if facts.name else dim(words or unnamed(facts))
    if column == "model":
        return Span(facts.model if width >= _WIDEST else facts.model.rpartition("/")[2])
    if column == "preset":
        return Span(facts.preset or ("by hand" if facts.model else ""))
    if column == "tags":
        return Span(" ".join(facts.tags), "accent")
    if column == "note":
        return dim(facts.note)
    if column == "status":
        return status_span(facts.liveness.status)
    if column == "step":
        is_before = facts.step is None and facts.liveness.is_alive and not facts.is_training
        return dim(facts.phase) if is_before else Span(_steps(facts))
    if column == "eval":
        return Span("" if facts.eval_loss is None else number(facts.eval_loss))
    return dim(day_words(facts.created, now))


def unnamed(facts: RunFacts) -> str:
    """What stands for a name that was never given: the folder's own, without its number."""
    if facts.run.number is None:
        return facts.id
    return facts.id.removeprefix(facts.short_id).removeprefix("-")


def _steps(facts: RunFacts) -> str:
    step = "" if facts.step is None else str(facts.step)
    if facts.total_steps and facts.step != facts.total_steps:
        step = f"{facts.step or 0}/{facts.total_steps}"
    return step


def day_words(seconds: float | None, now: float) -> str:
    """'06:12' today, else '31 Dec 06:12'."""
    if seconds is None:
        return ""
    at = time.localtime(seconds)
    today = time.localtime(now)[:3] == at[:3]
    return time.strftime("%H:%M" if today else "%d %b %H:%M", at)


class RunTable(Rows):
    """A cursor over the runs as they are filtered and sorted, and marks on some of them."""

    DEFAULT_CSS = run_css("RunTable")
    COMPONENT_CLASSES = RUN_CLASSES

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(self._line, id=id)
        self.runs: Sequence[RunFacts] = ()
        self.marks: list[RunDirectory] = []
        self.range_from: int | None = None
        self._now = 0.0
        self._needs: tuple[int, Needs] = (0, {})  # and the width they were found for

    @property
    def selected(self) -> RunFacts | None:
        return self.runs[self.cursor] if self.cursor < len(self.runs) else None

    @property
    def seen(self) -> list[RunDirectory]:
        """The runs in view."""
        return [self.runs[index].run for index in self.in_view]

    def show_runs(self, runs: Sequence[RunFacts], now: float) -> None:
        """The cursor stays on its run as long as it is there."""
        before = self.selected
        self.runs, self._now = runs, now
        self._needs = (0, {})
        at = self.cursor
        if before is not None and not (at < len(runs) and runs[at].run == before.run):
            at = next((index for index, facts in enumerate(runs) if facts.run == before.run), at)
        self.show(len(runs), at)

    @property
    def in_range(self) -> range:
        """The rows from where a range began to the cursor; none without one."""
        if self.range_from is None:
            return range(0)
        ends = sorted((min(self.range_from, max(self.count - 1, 0)), self.cursor))
        return range(ends[0], ends[1] + 1)

    def _line(self, index: int, width: int) -> Line:
        facts = self.runs[index]
        place = self.marks.index(facts.run) if facts.run in self.marks else None
        made = run_line(facts, width, self._now, place, self.needs(width))
        if index in self.in_range:
            return (Span("┃ ", "accent"), *made[1:]) if place is None else made
        return made

    def needs(self, width: int) -> Needs:
        """Of the runs that are shown."""
        if self._needs[0] != width:
            self._needs = width, needs_of(self.runs, width)
        return self._needs[1]
