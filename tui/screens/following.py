"""Following one run: what its files say, read beside the screen and kept as series to plot."""

import contextlib
import math
from array import array
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from finetune_tui.core.errors import UserError
from finetune_tui.core.runs.curves import Curves
from finetune_tui.core.runs.directory import RunDirectory
from finetune_tui.core.runs.events import Event, EventReader, is_ending
from finetune_tui.core.runs.liveness import Liveness, derived_status
from finetune_tui.core.runs.requests import is_asked
from finetune_tui.core.runs.start import resumable
from finetune_tui.core.runs.state import State, Status
from finetune_tui.core.runs.words import event_words, number, whole
from finetune_tui.core.text import plain
from finetune_tui.core.tuning.spec import Spec
from finetune_tui.tui.widgets.plot import Series, Smoother

_CHUNK = 256 * 1024  # bytes of events taken at once: some 20 ms of the screen's time
_RECENT = 50  # steps that the speed is taken from

_WAITED_FOR = ("pause", "release", "stop")
_EVERY_RUN_HAS = ("loading", "tokenising", "applying", "training")


@dataclass(frozen=True, slots=True)
class Reading:
    """What one look at a run's files found. no_resume: why it cannot go on; None while it runs.

    asked: requests that wait to be taken. spec: what was asked, None when it cannot be read.
    """

    events: Sequence[Event]
    state: State
    liveness: Liveness
    no_resume: str | None
    asked: frozenset[str]
    spec: Spec | None


class RunReader:
    """Looks at a run's files; used from one thread at a time, never the screen's."""

    def __init__(self, run: RunDirectory) -> None:
        self.run = run
        self._events = EventReader(run.events_path)
        self._spec: Spec | None = None

    def read(self, now: float) -> Reading:
        """A piece of what is new. Call again while it holds events. Never raises."""
        # State first: an ended state then never lacks the events that came before it.
        state = self.run.state()
        liveness = derived_status(state, now)
        ended = not liveness.is_alive
        return Reading(
            events=self._events.poll(_CHUNK),
            state=state,
            liveness=liveness,
            no_resume=resumable(self.run, now) if ended else None,
            asked=frozenset(kind for kind in _WAITED_FOR if is_asked(self.run, kind)),
            spec=self._read_spec(),
        )

    def _read_spec(self) -> Spec | None:
        """Once: it is never written again."""
        if self._spec is None:
            with contextlib.suppress(UserError):
                self._spec = self.run.spec()
        return self._spec


@dataclass(slots=True)
class PhaseRow:
    """One phase before the first step. spent: seconds of earlier visits; since: when this one began."""

    name: str
    since: float | None
    spent: float = 0.0
    done: float | None = None
    total: float | None = None
    words: str = ""

    def leave(self, time: float | None) -> None:
        if self.since is not None and time is not None:
            self.spent += max(time - self.since, 0.0)
        self.since = None


class PhaseList:
    """The phases of this attempt in the order they came; one that comes back keeps its row."""

    def __init__(self) -> None:
        self.rows: list[PhaseRow] = []
        self.current: PhaseRow | None = None

    def feed(self, event: Event) -> None:
        time = number(event.get("t"))
        if event["kind"] == "started":
            # The worker says `starting`, imports for seconds, and only then knows what it has started.
            if self.current is None or self.current.name != "starting":
                self._begin(time)
        elif event["kind"] == "phase" and event.get("phase") == "starting":
            self._begin(time)
        elif event["kind"] == "phase":
            self._feed_phase(event, time)
        elif event["kind"] == "step" and self.current and self.current.name != "training":
            # An evaluation is a phase, and nobody says when it is over.
            self._feed_phase({"phase": "training"}, time)
        elif is_ending(event) and self.current:
            self.current.leave(time)
            self.current = None

    def _begin(self, time: float | None) -> None:
        self.current = PhaseRow("starting", time)
        self.rows = [self.current]

    def _feed_phase(self, event: Event, time: float | None) -> None:
        name = plain(str(event.get("phase") or ""), 20)
        if self.current is None or self.current.name != name:
            if self.current:
                self.current.leave(time)
            self.current = next((row for row in self.rows if row.name == name), None)
            if self.current is None:
                self.current = PhaseRow(name, time)
                self.rows.append(self.current)
            self.current.since = time
        self.current.done, self.current.total = (
            number(event.get("done")),
            number(event.get("total")),
        )
        words = event.get("words")
        self.current.words = plain(words, 200) if isinstance(words, str) else self.current.words

    @property
    def to_come(self) -> tuple[str, ...]:
        """What surely lies ahead before the first step."""
        seen = {row.name for row in self.rows}
        return tuple(name for name in _EVERY_RUN_HAS if name not in seen)


class Track:
    """Series of one value by step and by seconds of training; the two hold the same points."""

    def __init__(self) -> None:
        self.by_step = Series()
        self.by_time = Series()

    def add(self, step: int, seconds: float, value: float | None) -> None:
        self.by_step.append(step, value)
        self.by_time.append(seconds, value)

    def go_back(self, step: int) -> None:
        kept = bisect_right(self.by_step.xs, step)
        self.by_step.truncate(kept)
        self.by_time.truncate(kept)


class Following:
    """Everything the monitor shows of one run; fed readings on the screen's thread."""

    def __init__(self, run: RunDirectory) -> None:
        self.run = run
        self.state = State()
        self.liveness = Liveness(Status.STARTING, "reading its files")
        self.no_resume: str | None = None
        self.spec: Spec | None = None
        self.asked: frozenset[str] = frozenset()
        self.curves = Curves()
        self.phases = PhaseList()
        self.stopping: str | None = None
        self.recoveries: list[str] = []
        self._begin()

    def _begin(self) -> None:
        self.loss, self.smooth, self.eval_loss = Track(), Track(), Track()
        self.learning_rate, self.grad_norm, self.speed = Track(), Track(), Track()
        self.steps = array("d")
        self.seconds = array("d")  # of training, by the same index; what was waited is left out
        self._smoother = Smoother()
        self._last_time: float | None = None

    def apply(self, reading: Reading) -> None:
        self.state, self.liveness = reading.state, reading.liveness
        self.no_resume = reading.no_resume
        self.spec = reading.spec
        self.curves.feed(reading.events)
        for event in reading.events:
            self._feed(event)
        # The worker takes a request away at once and does it at its next safe point.
        self.asked = self.asked | reading.asked if self.is_alive else frozenset()
        if self.is_paused:
            self.asked = self.asked & {"stop"} | reading.asked

    @property
    def is_alive(self) -> bool:
        return self.liveness.is_alive

    @property
    def has_steps(self) -> bool:
        return bool(self.steps)

    @property
    def step(self) -> int:
        return int(self.steps[-1]) if self.steps else 0

    @property
    def total_steps(self) -> int | None:
        return self.curves.total_steps or self.state.total_steps

    @property
    def is_stopping(self) -> bool:
        return self.is_alive and (self.stopping is not None or "stop" in self.asked)

    @property
    def is_paused(self) -> bool:
        """A worker is there and waits: for a person, or for room on the disk."""
        return self.is_alive and self.liveness.status is Status.PAUSED

    @property
    def is_pausing(self) -> bool:
        return self.is_alive and not self.is_paused and bool(self.asked & {"pause", "release"})

    @property
    def may_go_on(self) -> bool:
        """Somebody paused it, here or for good; a full disk is not gone on from by asking."""
        if self.is_paused:
            return self.state.phase != "disk full"
        return self.is_pausing or self.liveness.is_released

    @property
    def patience(self) -> tuple[int, int] | None:
        """Evaluations in a row without a better loss, and how many of them end the training."""
        if self.spec is None or not self.spec.early_stopping_patience:
            return None
        best, without = math.inf, 0
        for loss in self.eval_loss.by_step.ys:
            without = 0 if best - loss > self.spec.early_stopping_threshold else without + 1
            best = min(best, loss)
        return without, self.spec.early_stopping_patience

    def seconds_left(self) -> float | None:
        """Until the last step, at the speed of the last steps."""
        total = self.total_steps
        if not total or len(self.steps) < 2:
            return None
        first = max(len(self.steps) - _RECENT, 0)
        steps = self.steps[-1] - self.steps[first]
        pace = (self.seconds[-1] - self.seconds[first]) / steps if steps > 0 else 0.0
        return max(total - self.step, 0) * pace if pace > 0 else None

    def _feed(self, event: Event) -> None:
        self.phases.feed(event)
        kind, time = event["kind"], number(event.get("t"))
        if kind == "started":
            self.stopping = None
            self._last_time = time
            if (whole(event.get("attempt")) or 1) <= 1:
                self._begin()
                self._last_time = time
        elif kind == "stopping":
            why = event.get("why")
            self.stopping = plain(why, 200) if isinstance(why, str) else ""
        elif kind == "resumed":
            self._go_back(whole(event.get("step")) or 0)
        elif kind == "continued":
            self._last_time = time  # what was waited is no time of training
        elif kind == "recovered":
            self.recoveries.append(event_words(event) or "recovered")
        elif kind == "step":
            self._add_step(event, time)
        elif kind == "eval" and (step := whole(event.get("step"))) is not None:
            self.eval_loss.go_back(step - 1)
            self.eval_loss.add(step, self._seconds_at(step), number(event.get("eval_loss")))

    def _add_step(self, event: Event, time: float | None) -> None:
        step = whole(event.get("step"))
        if step is None:
            return
        if self.steps and step <= self.steps[-1]:
            self._go_back(step - 1)
        passed = max(time - self._last_time, 0.0) if time and self._last_time else 0.0
        self._last_time = time or self._last_time
        self.asked &= {"stop"}  # a pause that was taken back before it came
        seconds = (self.seconds[-1] if self.seconds else 0.0) + passed
        self.steps.append(step)
        self.seconds.append(seconds)
        loss = number(event.get("loss"))
        self.loss.add(step, seconds, loss)
        if loss is not None:
            self.smooth.add(step, seconds, self._smoother.next(loss))
        self.learning_rate.add(step, seconds, number(event.get("learning_rate")))
        self.grad_norm.add(step, seconds, number(event.get("grad_norm")))
        self.speed.add(step, seconds, number(event.get("tokens_per_second")))

    def _seconds_at(self, step: int) -> float:
        index = bisect_right(self.steps, step) - 1
        return self.seconds[index] if index >= 0 else 0.0

    def _go_back(self, step: int) -> None:
        """The run went on from there and does again what lies after `step`."""
        kept = bisect_right(self.steps, step)
        del self.steps[kept:], self.seconds[kept:]
        for track in (self.loss, self.eval_loss, self.learning_rate, self.grad_norm, self.speed):
            track.go_back(step)
        self._smoother = Smoother()
        self.smooth = Track()
        losses = self.loss
        for at, seconds, value in zip(
            losses.by_step.xs, losses.by_time.xs, losses.by_step.ys, strict=True
        ):
            self.smooth.add(int(at), seconds, self._smoother.next(value))
