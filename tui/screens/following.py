"""Following one run: what its files say, read beside the screen and kept for the monitor to draw."""

import contextlib
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from finetune_tui.core.errors import UserError
from finetune_tui.core.runs.curves import Curves
from finetune_tui.core.runs.directory import RunDirectory, task_words
from finetune_tui.core.runs.events import Event, is_ending
from finetune_tui.core.runs.liveness import Liveness, derived_status
from finetune_tui.core.runs.reading import Opening
from finetune_tui.core.runs.requests import is_asked
from finetune_tui.core.runs.start import resumable
from finetune_tui.core.runs.state import State, Status
from finetune_tui.core.runs.words import event_words, number
from finetune_tui.core.text import plain
from finetune_tui.core.tuning.spec import Spec

_WAITED_FOR = ("pause", "release", "stop")
_EVERY_RUN_HAS = ("loading", "tokenising", "applying", "training")


@dataclass(frozen=True, slots=True)
class Reading:
    """What one look at a run's files found. no_resume: why it cannot go on; None while it runs.

    history: takes the place of the one before, when there is one; events: what came after it. more: look
    again at once. asked: requests that wait to be taken. spec: what was asked, None when it cannot be read.
    is_gone: there is no such run any more.
    """

    history: "History | None"
    events: Sequence[Event]
    more: bool
    state: State
    liveness: Liveness
    no_resume: str | None
    asked: frozenset[str]
    spec: Spec | None
    is_gone: bool = False


class RunReader:
    """Looks at a run's files; used from one thread at a time, never the screen's.

    A history of any length is there after the first look, a skim when it is long; it is made whole
    beside the screen.
    """

    def __init__(self, run: RunDirectory) -> None:
        self.run = run
        self._opening = Opening(run.events_path, History)
        self._spec: Spec | None = None

    def read(self, now: float) -> Reading:
        """A piece of what is new. Call again while it says `more`. Never raises."""
        # State first: an ended state then never lacks the events that came before it.
        state = self.run.state()
        liveness = derived_status(state, now)
        ended = not liveness.is_alive
        look = self._opening.look()
        return Reading(
            history=look.whole,
            events=look.events,
            more=look.more,
            state=state,
            liveness=liveness,
            no_resume=resumable(self.run, now) if ended else None,
            asked=frozenset(kind for kind in _WAITED_FOR if is_asked(self.run, kind)),
            spec=self._read_spec(),
            is_gone=not self.run.path.exists(),
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


class History:
    """What a run's events add up to, for the monitor."""

    def __init__(self) -> None:
        self.curves = Curves()
        self.phases = PhaseList()
        self.stopping: str | None = None
        self.recoveries: list[str] = []

    def feed(self, events: Iterable[Event]) -> None:
        for event in events:
            self.curves.feed((event,))
            self.phases.feed(event)
            self._notice(event)

    def _notice(self, event: Event) -> None:
        kind = event["kind"]
        if kind == "started":
            self.stopping = None
            if self.curves.attempt <= 1:
                self.recoveries = []
        elif kind == "stopping":
            why = event.get("why")
            self.stopping = plain(why, 200) if isinstance(why, str) else ""
        elif kind == "recovered":
            self.recoveries.append(event_words(event) or "recovered")


class Following:
    """Everything the monitor shows of one run; fed readings on the screen's thread."""

    def __init__(self, run: RunDirectory) -> None:
        self.run = run
        self.state = State()
        self.liveness = Liveness(Status.STARTING, "reading its files")
        self.no_resume: str | None = None
        self.spec: Spec | None = None
        self.asked: frozenset[str] = frozenset()
        self._history = History()

    def apply(self, reading: Reading) -> None:
        self.state, self.liveness = reading.state, reading.liveness
        self.no_resume = reading.no_resume
        self.spec = reading.spec
        self._history = reading.history or self._history
        self._history.feed(reading.events)
        if any(event["kind"] == "step" for event in reading.events):
            self.asked &= {"stop"}  # a pause that was taken back before it came
        # The worker takes a request away at once and does it at its next safe point.
        self.asked = self.asked | reading.asked if self.is_alive else frozenset()
        if self.is_paused:
            self.asked = self.asked & {"stop"} | reading.asked

    @property
    def curves(self) -> Curves:
        return self._history.curves

    @property
    def phases(self) -> PhaseList:
        return self._history.phases

    @property
    def stopping(self) -> str | None:
        """Why it stops, maybe empty; None: it does not."""
        return self._history.stopping

    @property
    def recoveries(self) -> Sequence[str]:
        return self._history.recoveries

    @property
    def is_training(self) -> bool:
        return self.state.task == "train"

    @property
    def task_words(self) -> str:
        """`compare r7`; empty for a training."""
        return task_words(self.state.task, self.state.target)

    @property
    def is_alive(self) -> bool:
        return self.liveness.is_alive

    @property
    def has_steps(self) -> bool:
        return self.step > 0

    @property
    def step(self) -> int:
        return self.curves.last_step or 0

    @property
    def total_steps(self) -> int | None:
        return self.curves.total_steps or self.state.total_steps

    @property
    def is_stopping(self) -> bool:
        has_begun = self.stopping is not None and self.curves.ending is None
        return self.is_alive and (has_begun or "stop" in self.asked)

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
        for loss in self.curves.series("eval_loss").points().lasts:
            without = 0 if best - loss > self.spec.early_stopping_threshold else without + 1
            best = min(best, loss)
        return without, self.spec.early_stopping_patience

    def seconds_left(self) -> float | None:
        """Until the last step, at the speed of the last steps."""
        total, pace = self.total_steps, self.curves.pace
        if not total or not pace:
            return None
        return max(total - self.step, 0) * pace
