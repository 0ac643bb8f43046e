"""What a run's events add up to: series by step, what is going on, samples and the log's lines.

Numbers are kept in arrays, 16 bytes a point, so that a run of hundreds of thousands of steps fits.
"""

from array import array
from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

from finetune_tui.core.runs.events import Event, is_ending
from finetune_tui.core.runs.words import event_words, number, whole
from finetune_tui.core.text import plain

_OF_A_STEP = ("loss", "learning_rate", "grad_norm", "tokens_per_second")
SERIES = (*_OF_A_STEP, "eval_loss")
_KEPT = 2000  # log lines and samples

Points = tuple["array[int]", "array[float]"]  # steps and values


@dataclass(frozen=True, slots=True)
class Phase:
    """done of total, when they are known; words: one plain line."""

    name: str
    done: float | None = None
    total: float | None = None
    words: str = ""


@dataclass(frozen=True, slots=True)
class Sample:
    """A reply to a held-out prompt; texts as they came, control characters and all.

    when: "before" (the base), "eval", "after", or empty.
    """

    step: int
    prompt: str
    expected: str
    reply: str
    correct: bool | None
    when: str = ""


@dataclass(frozen=True, slots=True)
class LogLine:
    """time: seconds since 1970, or None. text: plain."""

    time: float | None
    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class Bucket:
    """The points of one column of a plot."""

    low: float
    high: float
    last: float


class Curves:
    """Fed events in order. A run that went back to an earlier step loses what came after it."""

    def __init__(self) -> None:
        self._begin()

    def _begin(self) -> None:
        self._series: dict[str, Points] = {name: (array("q"), array("d")) for name in SERIES}
        self.phase: Phase | None = None
        self.last_step: int | None = None
        self.total_steps: int | None = None
        self.epoch: float | None = None
        self.tokens: int | None = None
        self.attempt = 0
        self.started: float | None = None
        self.last_heard: float | None = None
        self.start: Event | None = None
        self.ending: Event | None = None
        self.hardware: Event | None = None
        self.checkpoint_step: int | None = None
        self.measured: dict[str, tuple[int, int]] = {}  # "before", "after": exact, total
        self.samples: deque[Sample] = deque(maxlen=_KEPT)
        self.log: deque[LogLine] = deque(maxlen=_KEPT)

    def feed(self, events: Iterable[Event]) -> None:
        """Never raises: what an event holds in place of a number or text counts as unknown."""
        for event in events:
            self._feed_one(event)

    def series(self, name: str) -> Points:
        """Steps, strictly increasing, and their values; not to be changed. Names: SERIES."""
        return self._series[name]

    def latest(self, name: str) -> float | None:
        values = self._series[name][1]
        return values[-1] if values else None

    @property
    def best(self) -> tuple[int, float] | None:
        """The step with the lowest held-out loss, the first of equals, and that loss."""
        steps, values = self._series["eval_loss"]
        if not values:
            return None
        index = values.index(min(values))
        return steps[index], values[index]

    def buckets(
        self, name: str, columns: int, first: int | None = None, last: int | None = None
    ) -> list[Bucket | None]:
        """Lowest, highest and last value in each of `columns` equal spans of the steps first..last.

        None stands for a span without a point. The ends of the series are the default.
        """
        steps, values = self._series[name]
        if not steps or columns < 1:
            return [None] * max(columns, 0)
        first = steps[0] if first is None else first
        last = max(steps[-1] if last is None else last, first)
        width = last - first + 1
        # Column c holds the steps in [first + c·width/columns, first + (c + 1)·width/columns).
        bounds = [
            bisect_left(steps, first + -(-column * width // columns)) for column in range(columns)
        ]
        bounds.append(bisect_right(steps, last))
        return [_bucket(values[low:high]) for low, high in pairwise(bounds)]

    def _feed_one(self, event: Event) -> None:
        kind = event["kind"]
        time = number(event.get("t"))
        if time is not None:
            self.last_heard = time
        if kind == "started":
            self._start(event, time)
        elif kind == "phase":
            self._set_phase(event)
        elif kind == "step":
            self._add_step(event)
        elif kind == "eval":
            self._add_eval(event)
        elif kind == "sample":
            self._add_sample(event)
        elif kind in ("resumed", "recovered"):
            self._go_back(whole(event.get("step")))
        elif kind == "checkpoint":
            self.checkpoint_step = whole(event.get("step"))
        elif kind == "hardware":
            self.hardware = event
        elif kind == "measured":
            self._add_measured(event)
        elif is_ending(event):
            self.ending = event
        self._tell(event, kind, time)

    def _start(self, event: Event, time: float | None) -> None:
        attempt = whole(event.get("attempt")) or 1
        if attempt <= 1:
            self._begin()  # also when a file was replaced and is read again
            self.started = time
        self.attempt = attempt
        self.start = event
        self.ending = None
        self.phase = Phase("starting")
        self.total_steps = whole(event.get("total_steps")) or self.total_steps
        self.last_heard = time

    def _set_phase(self, event: Event) -> None:
        words = event.get("words")
        self.phase = Phase(
            plain(str(event.get("phase") or ""), 60),
            number(event.get("done")),
            number(event.get("total")),
            plain(words, 200) if isinstance(words, str) else "",
        )

    def _add_step(self, event: Event) -> None:
        step = whole(event.get("step"))
        if step is None:
            return
        if self.last_step is not None and step <= self.last_step:
            self._go_back(step - 1)
        self.last_step = step
        self.total_steps = whole(event.get("total_steps")) or self.total_steps
        self.epoch = number(event.get("epoch"))
        self.tokens = whole(event.get("tokens"))
        for name in _OF_A_STEP:
            self._add_point(name, step, number(event.get(name)))

    def _add_eval(self, event: Event) -> None:
        step = whole(event.get("step"))
        if step is not None:
            _drop_after(self._series["eval_loss"], step - 1)
            self._add_point("eval_loss", step, number(event.get("eval_loss")))

    def _add_point(self, name: str, step: int, value: float | None) -> None:
        if value is not None:
            steps, values = self._series[name]
            steps.append(step)
            values.append(value)

    def _add_sample(self, event: Event) -> None:
        texts = [event.get(name) for name in ("prompt", "expected", "reply")]
        prompt, expected, reply = (text if isinstance(text, str) else "" for text in texts)
        correct = event.get("correct")
        step = whole(event.get("step")) or 0
        answer = correct if isinstance(correct, bool) else None
        when = event["when"] if event.get("when") in ("before", "eval", "after") else ""
        self.samples.append(Sample(step, prompt, expected, reply, answer, when))

    def _add_measured(self, event: Event) -> None:
        exact, total = whole(event.get("exact")), whole(event.get("total"))
        if event.get("when") in ("before", "after") and exact is not None and total is not None:
            self.measured[event["when"]] = (exact, total)

    def _go_back(self, step: int | None) -> None:
        """Forget what lies after `step`: the run went on from there and does it again."""
        if step is None:
            return
        for points in self._series.values():
            _drop_after(points, step)
        kept = (sample for sample in self.samples if sample.step <= step)
        self.samples = deque(kept, maxlen=_KEPT)
        self.last_step = step if self.last_step is not None else None

    def _tell(self, event: Event, kind: str, time: float | None) -> None:
        if kind == "step":
            return  # the plot shows them, and thousands would push the rest out of the log
        words = event_words(event)
        if words:
            self.log.append(LogLine(time, kind, words))


def _drop_after(points: Points, step: int) -> None:
    steps, values = points
    keep = bisect_right(steps, step)
    del steps[keep:], values[keep:]


def _bucket(values: "array[float]") -> Bucket | None:
    return Bucket(min(values), max(values), values[-1]) if values else None
