"""The loss of the run under the cursor, below the list where there is room: read when the cursor rests."""

from collections.abc import Callable, Mapping

from textual.timer import Timer

from finetune_tui.core.runs.directory import RunDirectory
from finetune_tui.tui.screens.overlay_runs import OverlayRun
from finetune_tui.tui.screens.place import Place
from finetune_tui.tui.widgets.curve import curve_lines
from finetune_tui.tui.widgets.lines import Line

_REST = 0.15  # seconds; keys that follow faster pass over a run unread
_KEPT = 8  # runs


class Preview:
    """changed: called when there is something else to show."""

    def __init__(self, view: Place, changed: Callable[[], object]) -> None:
        self._view = view
        self._changed = changed
        self._run: RunDirectory | None = None
        self._known: dict[RunDirectory, OverlayRun] = {}
        self._timer: Timer | None = None

    @property
    def known(self) -> Mapping[RunDirectory, OverlayRun]:
        """What was read of the runs that were under the cursor."""
        return self._known

    def point(self, run: RunDirectory | None) -> None:
        """Show this run; one that lives is read again each time."""
        known = self._known.get(run) if run else None
        if run is None or (run == self._run and known is not None and not known.seen.is_live):
            self._run = run
            return
        self._run = run
        if self._timer:
            self._timer.stop()
        self._timer = self._view.set_timer(_REST, self._read)

    def rest(self) -> None:
        """Begin to read nothing more, for nobody looks."""
        if self._timer:
            self._timer.stop()

    def _read(self) -> None:
        run = self._run
        if run is None:
            return
        one = self._known.pop(run, None) or OverlayRun(run)
        self._known[run] = one  # the newest last
        for oldest in list(self._known)[:-_KEPT]:
            del self._known[oldest]
        one.read(self._view.finetune, self._changed)

    def lines(self, width: int, height: int) -> list[Line]:
        """Exactly `height` lines."""
        one = self._known.get(self._run) if self._run else None
        if one is None or not one.is_read:
            return [()] * height
        loss = one.points("loss", "step", smooth=False)
        evals = one.points("eval_loss", "step", smooth=False)
        return curve_lines(loss, evals, width, height, empty="no step yet")
