"""The table of runs: only what is seen is read from the disk and drawn, so that thousands cost nothing."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from textual.geometry import Region, Size

from finetune_tui.core.runs.directory import RunDirectory
from finetune_tui.core.runs.liveness import Liveness, derived_status
from finetune_tui.core.text import plain
from finetune_tui.tui.widgets.lines import Line, Lines, Span, difference, dim, fit, line
from finetune_tui.tui.widgets.plot import number
from finetune_tui.tui.widgets.status_mark import status_span

_FULL_IDS = 110  # columns from which a run's whole name has room
_NARROW = 60


@dataclass(frozen=True, slots=True)
class RunFacts:
    """What a row says of a run."""

    model: str
    preset: str
    liveness: Liveness
    step: int | None
    total_steps: int | None
    eval_loss: float | None
    created: float | None


def read_facts(run: RunDirectory, now: float) -> RunFacts:
    """A row's facts from the run's state file. Never raises."""
    state = run.state()
    return RunFacts(
        model=plain(state.model or "", 60),
        preset=plain(state.preset or "", 60),
        liveness=derived_status(state, now),
        step=state.step,
        total_steps=state.total_steps,
        eval_loss=state.eval_loss,
        created=state.created,
    )


@dataclass(frozen=True, slots=True)
class Widths:
    """Cells of the columns that give way; the others are fixed."""

    run: int
    model: int
    preset: int
    created: int


_STATUS, _STEP, _EVAL, _CREATED = 12, 10, 6, 13


def widths(width: int) -> Widths:
    """Below 60 columns model, preset and day are left out."""
    if width < _NARROW:
        return Widths(6, 0, 0, 0)
    run = 34 if width >= _FULL_IDS else 6
    left = max(width - run - _STATUS - _STEP - _EVAL - _CREATED - 2, 0)
    preset = min(left * 3 // 5, 24)
    return Widths(run, left - preset, preset, _CREATED)


def header_line(width: int) -> Line:
    at = widths(width)
    return _row(
        at, *(dim(word) for word in ("RUN", "MODEL", "PRESET", "STATUS", "STEP", "EVAL", "MADE"))
    )


def run_line(run: RunDirectory, facts: RunFacts | None, width: int, now: float) -> Line:
    """One run; before its state was read, its name alone."""
    at = widths(width)
    name = Span(plain(run.id if width >= _FULL_IDS else run.short_id), "strong")
    if facts is None:
        return _row(at, name, *[dim("…")] + [Span("")] * 5)
    steps = "" if facts.step is None else str(facts.step)
    if facts.total_steps:
        steps = f"{steps or 0}/{facts.total_steps}"
    return _row(
        at,
        name,
        Span(facts.model if width >= _FULL_IDS else facts.model.rpartition("/")[2]),
        Span(facts.preset or ("by hand" if facts.model else "")),
        status_span(facts.liveness.status),
        Span(steps),
        Span("" if facts.eval_loss is None else number(facts.eval_loss)),
        dim(_day(facts.created, now)),
    )


def _row(at: Widths, *columns: Span) -> Line:
    sizes = (at.run, at.model, at.preset, _STATUS, _STEP, _EVAL, at.created)
    shown = [(span, size) for span, size in zip(columns, sizes, strict=True) if size]
    cells = [fit((span,), size - 1) for span, size in shown]
    return line(" ", *(part for cell in cells for part in (cell, " ")))


def _day(seconds: float | None, now: float) -> str:
    """'06:12' today, else '31 Dec 06:12'."""
    if seconds is None:
        return ""
    at = time.localtime(seconds)
    today = time.localtime(now)[:3] == at[:3]
    return time.strftime("%H:%M" if today else "%d %b %H:%M", at)


class RunTable(Lines):
    """A cursor over runs. The place reads the facts of `in_view` and hands them to `know`."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.runs: Sequence[RunDirectory] = ()
        self.cursor = 0
        self._facts: dict[RunDirectory, RunFacts] = {}
        self._drawn: dict[int, Line] = {}
        self._now = 0.0

    @property
    def selected(self) -> RunDirectory | None:
        return self.runs[self.cursor] if self.runs else None

    def facts(self, run: RunDirectory) -> RunFacts | None:
        return self._facts.get(run)

    def set_runs(self, runs: Sequence[RunDirectory]) -> None:
        """The cursor stays on its run."""
        selected = self.selected
        self.runs = runs
        if selected is not None and selected in runs:
            self.cursor = runs.index(selected)
        self.cursor = min(self.cursor, max(len(runs) - 1, 0))
        self.update()

    def in_view(self) -> Sequence[RunDirectory]:
        top = self.scroll_offset.y
        return self.runs[top : top + self.size.height]

    def know(self, facts: Mapping[RunDirectory, RunFacts], now: float) -> None:
        self._facts.update(facts)
        self._now = now
        self.update()

    def move(self, by: int) -> None:
        self.cursor = min(max(self.cursor + by, 0), max(len(self.runs) - 1, 0))
        self.reveal(self.cursor)
        self.update()

    def remake(self) -> None:
        """Only the rows in view are made."""
        width, top = self.size.width, self.scroll_offset.y
        if self.virtual_size != Size(width, len(self.runs)):
            self.virtual_size = Size(width, len(self.runs))
        regions = []
        for row in range(self.size.height):
            now = self.line_at(top + row)
            changed = difference(self._drawn.get(top + row, ()), now)
            if changed:
                regions.append(Region(changed[0], row, changed[1] - changed[0], 1))
            self._drawn[top + row] = now
        if regions:
            self.refresh(*regions)

    def line_at(self, index: int) -> Line:
        if index >= len(self.runs):
            return ()
        run = self.runs[index]
        shown = fit(
            run_line(run, self._facts.get(run), self.size.width, self._now), self.size.width
        )
        return (
            tuple(span._replace(style="cursor") for span in shown)
            if index == self.cursor
            else shown
        )
