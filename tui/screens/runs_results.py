"""What was compared of the run under the cursor: read beside the screen when the cursor rests on it."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from textual.timer import Timer

from finetune_tui.core.errors import UserError
from finetune_tui.core.evidence.comparison import (
    Comparison,
    comparisons_of,
    list_comparisons,
    read_comparison,
)
from finetune_tui.core.runs.directory import RunDirectory
from finetune_tui.core.runs.listing import RunFacts
from finetune_tui.core.runs.state import Status
from finetune_tui.core.text import percent, plain
from finetune_tui.core.tuning.task_spec import CompareSpec
from finetune_tui.tui.screens.comparison_figures import counts_line, metric_lines
from finetune_tui.tui.screens.place import Place
from finetune_tui.tui.widgets.lines import Line, key, line

_REST = 0.15  # seconds; keys that follow faster pass over a run unread

_At = tuple[RunDirectory, Status]


class Results:
    """changed: called when there is something to show."""

    def __init__(self, view: Place, changed: Callable[[], object]) -> None:
        self._view = view
        self._changed = changed
        self._at: _At | None = None
        self._timer: Timer | None = None
        self._found: Comparison | None = None

    def point(self, facts: RunFacts | None) -> None:
        """Read of this run; nothing while it stays the same and stands as it stood."""
        at = (facts.run, facts.status) if facts else None
        if at == self._at:
            return
        if self._at and (at is None or at[0] != self._at[0]):
            self._found = None
        self._at = at
        if self._timer:
            self._timer.stop()
        if facts is not None and facts.task in ("train", "compare"):
            self._timer = self._view.set_timer(_REST, partial(self._read, facts))

    def _read(self, facts: RunFacts) -> None:
        run, task, at = facts.run, facts.task, (facts.run, facts.status)

        def have_read(found: Comparison | None) -> None:
            if at == self._at:
                self._found = found
                self._changed()

        self._view.finetune.in_thread(
            lambda: newest_comparison(run, task), have_read, "comparison of the run in the list"
        )

    @property
    def words(self) -> str:
        """`exact match 2% → 98%, 231 fixed, 0 regressed`; empty without one."""
        if self._found is None:
            return ""
        held_out = self._found.held_out
        judge, counts = held_out.judge, held_out.counts
        shares = f"{percent(judge.base.value, 1)} → {percent(judge.tuned.value, 1)}"
        at = "" if self._found.step is None else f" at step {self._found.step}"
        found = f"{counts.fixed} fixed, {counts.regressed} regressed"
        return f"{plain(judge.title, 30)} {shares}{at}, {found}"

    def lines(self, width: int, height: int) -> list[Line]:
        """The figures; nothing without a comparison."""
        if self._found is None:
            return []
        held_out = self._found.held_out
        lines = metric_lines(held_out, width, max(height - 2, 1))
        keys = line(" ", key("R", "row by row", "results"))
        return [*lines, counts_line(held_out), keys][:height]


def newest_comparison(run: RunDirectory, task: str) -> Comparison | None:
    """Of a training the newest of it, of a comparison what it found itself. Never raises."""
    if task == "train":
        return next(iter(list_comparisons(run)), None)
    try:
        spec = run.task_spec()
        if not isinstance(spec, CompareSpec):
            return None
        return read_comparison(comparisons_of(RunDirectory(Path(spec.run))) / run.short_id)
    except UserError:
        return None
