"""The runs of an overlay: each read beside the screen, and its series as they are wanted."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from finetune_tui.core.runs.curves import Curves
from finetune_tui.core.runs.directory import RunDirectory
from finetune_tui.core.runs.events import EventReader
from finetune_tui.core.runs.reading import skim
from finetune_tui.core.runs.series import AXES, NO_POINTS, Points, X
from finetune_tui.core.runs.state import Status

if TYPE_CHECKING:
    from finetune_tui.tui.app import FinetuneApp

QUANTITIES: Mapping[str, str] = {
    "loss": "loss",
    "eval_loss": "eval",
    "learning_rate": "rate",
    "grad_norm": "|g|",
}
"""What can be plotted: the name of the series, and the word for it."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What was read of a run: points by quantity and axis, which nobody appends to. is_live: more may
    come. best: the step with the lowest held-out loss, and that loss."""

    points: Mapping[tuple[str, X], Points]
    is_live: bool = True
    best: tuple[int, float] | None = None


class OverlayReader:
    """Reads on where it was; used from one thread at a time, never the screen's."""

    def __init__(self, run: RunDirectory) -> None:
        self._run = run
        self._curves = Curves()
        self._events: EventReader | None = None

    def read(self, now: float) -> Seen:
        """Everything so far. Never raises."""
        liveness = self._run.liveness(now)
        is_live = liveness.is_alive or liveness.status is Status.ELSEWHERE
        if self._events is None:
            skimmed = skim(self._run.events_path)
            self._curves.feed(skimmed.events)
            self._events = EventReader(self._run.events_path, skimmed.offset)
        while events := self._events.poll():
            self._curves.feed(events)
        series = {name: self._curves.series(name) for name in QUANTITIES}
        points = {
            (name, axis): one.points(axis).copy() for name, one in series.items() for axis in AXES
        }
        return Seen(points, is_live, self._curves.best)


class OverlayRun:
    """One run of the plot, which the preview below the list may share. place: its glyph and colour.
    is_hidden: only its legend is shown.
    """

    def __init__(self, run: RunDirectory) -> None:
        self.run = run
        self.place = 0
        self.name = ""
        self.is_hidden = False
        self.is_read = False
        self.reader = OverlayReader(run)
        self.seen = Seen({})
        self._waiting: list[Callable[[], object]] = []
        self._smoothed: dict[tuple[str, X], Points] = {}

    def read(self, app: "FinetuneApp", then: Callable[[], object]) -> None:
        """Look at its files beside the screen, once for all who ask meanwhile; then tell each of them."""
        is_reading = bool(self._waiting)
        if then not in self._waiting:
            self._waiting.append(then)
        if is_reading:
            return
        now = app.services.clock()

        def have_read(seen: Seen) -> None:
            self.seen, self.is_read = seen, True
            self._smoothed.clear()
            waiting, self._waiting = self._waiting, []
            for tell in waiting:
                tell()

        app.in_thread(lambda: self.reader.read(now), have_read, group=f"curves {id(self)}")

    def points(self, quantity: str, axis: X, smooth: bool) -> Points:
        key = (quantity, axis)
        points = self.seen.points.get(key, NO_POINTS)
        if not smooth:
            return points
        if key not in self._smoothed:
            self._smoothed[key] = points.smoothed()
        return self._smoothed[key]
