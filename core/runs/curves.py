"""What a run's events add up to: series by step, what is going on, samples and the log's lines."""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from finetune_tui.core.runs.events import Event, is_ending
from finetune_tui.core.runs.series import MOST, Series
from finetune_tui.core.runs.words import event_words, number, whole
from finetune_tui.core.text import plain

_OF_A_STEP = ("loss", "learning_rate", "grad_norm", "tokens_per_second")
SERIES = (*_OF_A_STEP, "eval_loss")
_KEPT = 2000  # log lines and samples
_RECENT = 50  # steps that the pace is taken from
_EVALUATIONS = 8 * MOST  # kept one by one: patience counts them


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


class Curves:
    """Fed events in order. A run that went back to an earlier step loses what came after it."""

    def __init__(self) -> None:
        self._begin()

    def _begin(self) -> None:
        self._series = {name: Series() for name in _OF_A_STEP}
        self._series["eval_loss"] = Series(_EVALUATIONS)
        self._best: list[tuple[int, float]] = []  # each evaluation that was better than all before
        self._recent: deque[tuple[int, float]] = deque(maxlen=_RECENT)  # steps and their seconds
        self._last_time: float | None = None
        self.seconds = 0.0  # of training: what was waited between its steps is left out
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
        self.compared: Event | None = None  # of a comparison: what it found
        self.hardware: Event | None = None
        self.memory: Event | None = None
        self.checkpoint_step: int | None = None
        self.measured: dict[str, tuple[int, int]] = {}  # "before", "after": exact, total
        self.samples: deque[Sample] = deque(maxlen=_KEPT)
        self.log: deque[LogLine] = deque(maxlen=_KEPT)

    def feed(self, events: Iterable[Event]) -> None:
        """Never raises: what an event holds in place of a number or text counts as unknown."""
        for event in events:
            self._feed_one(event)

    def series(self, name: str) -> Series:
        """Not to be changed. Names: SERIES."""
        return self._series[name]

    def latest(self, name: str) -> float | None:
        return self._series[name].latest

    @property
    def best(self) -> tuple[int, float] | None:
        """The step with the lowest held-out loss, the first of equals, and that loss."""
        return self._best[-1] if self._best else None

    @property
    def pace(self) -> float | None:
        """Seconds a step over the last steps; None before there are two."""
        if len(self._recent) < 2:
            return None
        (first, began), (last, ended) = self._recent[0], self._recent[-1]
        return (ended - began) / (last - first)

    def _feed_one(self, event: Event) -> None:
        kind = event["kind"]
        time = number(event.get("t"))
        if time is not None:
            self.last_heard = time
        if kind == "step":
            self._add_step(event, time)
            return  # the plot shows them, and thousands would push the rest out of the log
        if kind == "started":
            self._start(event, time)
        elif kind == "phase":
            self._set_phase(event)
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
        elif kind == "memory":
            self.memory = event
        elif kind == "compared":
            self.compared = event
        elif kind == "measured":
            self._add_measured(event)
        elif kind == "continued":
            self._last_time = time
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
        self.last_heard = self._last_time = time

    def _set_phase(self, event: Event) -> None:
        words = event.get("words")
        self.phase = Phase(
            plain(str(event.get("phase") or ""), 60),
            number(event.get("done")),
            number(event.get("total")),
            plain(words, 200) if isinstance(words, str) else "",
        )

    def _add_step(self, event: Event, time: float | None) -> None:
        step = whole(event.get("step"))
        if step is None:
            return
        if self.last_step is not None and step <= self.last_step:
            self._go_back(step - 1)
        if time is not None:
            if self._last_time is not None and time > self._last_time:
                self.seconds += time - self._last_time
            self._last_time = time
        self.last_step = step
        self.total_steps = whole(event.get("total_steps")) or self.total_steps
        self.epoch = number(event.get("epoch"))
        tokens = whole(event.get("tokens"))
        if tokens is not None and tokens > (self.tokens or 0):
            self.tokens = tokens
        self._recent.append((step, self.seconds))
        for name in _OF_A_STEP:
            if (value := number(event.get(name))) is not None:
                self._series[name].append(step, self.seconds, self.tokens or 0, value)

    def _add_eval(self, event: Event) -> None:
        step, loss = whole(event.get("step")), number(event.get("eval_loss"))
        if step is None:
            return
        self._drop_evaluations(step - 1)
        if loss is None:
            return
        self._series["eval_loss"].append(step, self.seconds, self.tokens or 0, loss)
        if not self._best or loss < self._best[-1][1]:
            self._best.append((step, loss))

    def _drop_evaluations(self, after: int) -> None:
        self._series["eval_loss"].truncate(after)
        while self._best and self._best[-1][0] > after:
            self._best.pop()

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
        for name in _OF_A_STEP:
            self._series[name].truncate(step)
        self._drop_evaluations(step)
        while self._recent and self._recent[-1][0] > step:
            self._recent.pop()
        ends = [ends for name in _OF_A_STEP if (ends := self._series[name].end)]
        seconds = max((seconds for seconds, _ in ends), default=0.0)
        self.seconds = self._recent[-1][1] if self._recent else seconds
        self.tokens = round(max((tokens for _, tokens in ends), default=0)) or None
        kept = (sample for sample in self.samples if sample.step <= step)
        self.samples = deque(kept, maxlen=_KEPT)
        self.last_step = step if self.last_step is not None else None

    def _tell(self, event: Event, kind: str, time: float | None) -> None:
        words = event_words(event)
        before = self.log[-1].text if self.log else None
        if words and words != before:  # a phase is told as it begins and as it ends
            self.log.append(LogLine(time, kind, words))
