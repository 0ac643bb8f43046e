"""The loss of the run under the cursor, below the list where there is room: read when the cursor rests."""

from collections.abc import Callable

from textual.timer import Timer

from finetune_tui.core.runs.directory import RunDirectory
from finetune_tui.tui.screens.overlay_runs import OverlayRun, Seen
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

    def _read(self) -> None:
        run = self._run
        if run is None:
            return
        one = self._known.pop(run, None) or OverlayRun(run)
        self._known[run] = one  # the newest last
        for oldest in list(self._known)[:-_KEPT]:
            del self._known[oldest]
        if not one.begin_reading():
            return
        now = self._view.services.clock()

        def have_read(seen: Seen) -> None:
            one.have_read(seen)
            self._changed()

        self._view.finetune.in_thread(
            lambda: one.reader.read(now), have_read, f"preview {run.path}"
        )

    def lines(self, width: int, height: int) -> list[Line]:
        """Exactly `height` lines."""
        one = self._known.get(self._run) if self._run else None
        if one is None or not one.is_read:
            return [()] * height
        loss = one.points("loss", "step", smooth=False)
        evals = one.points("eval_loss", "step", smooth=False)
        return curve_lines(loss, evals, width, height, empty="no step yet")
