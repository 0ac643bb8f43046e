"""Following a run from a terminal or a pipe until it ends."""

import time
from collections import deque

from finetune_tui.core.runs.curves import Curves, Phase
from finetune_tui.core.runs.directory import RunDirectory
from finetune_tui.core.runs.events import Event, EventReader
from finetune_tui.core.runs.reading import skim
from finetune_tui.core.runs.requests import drop_request
from finetune_tui.core.runs.state import Status
from finetune_tui.core.runs.words import event_words, number, whole
from finetune_tui.core.text import duration, percent, size
from finetune_tui.tui.commands.sentences import as_sentence, sentence, spoken_size
from finetune_tui.tui.output import ProgressLine, on_terminal, say, say_json

_RECENT = 50  # steps that the time left is taken from
_POLL = 0.2  # seconds
_STEPS_TOLD = 10  # a pipe gets about so many lines of steps a run


def follow(
    run: RunDirectory,
    as_json: bool,
    from_now: bool = False,
    may_stop: bool = True,
    sentences: bool = False,
) -> int:
    """Print what happens until the run ends. 0 when it finished or stopped, 1 when the work failed.

    from_now: leave out what is already told. may_stop: ctrl-c asks for a stop with checkpoint and a
    second one detaches; without it the first detaches. sentences: one for each event, to be listened to.
    """
    teller = _Teller(run, as_json, sentences)
    if as_json:  # every single event
        reader = EventReader(run.events_path)
    else:
        past = skim(run.events_path)
        reader = EventReader(run.events_path, offset=past.offset)
        (teller.skip if from_now else teller.tell)(past.events)
    if from_now and as_json:
        while events := reader.poll():
            teller.skip(events)
    asked = False
    while True:
        try:
            over = (
                not run.liveness().may_be_alive
            )  # before the last look, so that no event is missed
            while events := reader.poll():
                teller.tell(events)
            if over:
                return teller.end()
            time.sleep(_POLL)
        except KeyboardInterrupt:
            if asked or not may_stop:
                teller.detach()
                return 0
            asked = True
            drop_request(run, "stop")
            how = " with a checkpoint" if run.state().task == "train" else ""
            teller.note(f"stopping{how}; ctrl-c again leaves it to itself")


class _Teller:
    """Turns events into lines, JSON, or one moving line, whichever the other end can take."""

    def __init__(self, run: RunDirectory, as_json: bool, sentences: bool) -> None:
        self._run = run
        self._as_json = as_json
        self._sentences = sentences
        self._curves = Curves()
        self._line = ProgressLine()
        self._moves = on_terminal() and not as_json and not sentences
        self._pause: str | None = None
        self._recent: deque[tuple[float, int]] = deque(
            maxlen=_RECENT
        )  # times and steps, no wait between

    def skip(self, events: list[Event]) -> None:
        self._curves.feed(events)
        for event in events:
            self._notice(event)

    def tell(self, events: list[Event]) -> None:
        self._curves.feed(events)
        for event in events:
            self._notice(event)
            if self._as_json:
                say_json(event)
            else:
                self._tell_person(event)
        if self._moves:
            self._line.show(self._progress())

    def note(self, words: str) -> None:
        if not self._as_json:
            self._line.clear()
            say(as_sentence(words) if self._sentences else words)

    def detach(self) -> None:
        name = self._run.short_id
        self.note(f"{name} goes on without this terminal: `finetune-tui attach {name}` comes back")

    def end(self) -> int:
        """The result in a few lines; the exit code."""
        self._line.clear()
        state, liveness = self._run.state(), self._run.liveness()
        name = self._run.short_id
        good = liveness.status in (Status.FINISHED, Status.STOPPED, Status.PAUSED)
        if self._as_json:
            if liveness.status in (
                Status.DEAD,
                Status.BROKEN,
            ):  # nobody was left to write the event
                say_json({"t": time.time(), "kind": "failed", "message": liveness.words})
            return 0 if good else 1
        if not self._sentences:
            say()
        if not (
            self._sentences and liveness.status is Status.FINISHED
        ):  # which its last event said
            self.note(f"{name} {liveness.told}")
        if state.hint:
            self.note(state.hint)
        if liveness.status is Status.FINISHED:
            if state.task == "train":
                self._say_result()
        elif "resume" not in (state.hint or ""):
            self.note(f"go on with: finetune-tui resume {name}")
        return 0 if good else 1

    def _say_result(self) -> None:
        measured, best = self._curves.measured, self._curves.best
        written = sum(path.stat().st_size for path in self._run.adapter.glob("*"))
        if self._sentences:
            for when, (exact, total) in measured.items():
                say(f"{exact} of {total} replies exactly right {when} training.")
            if best:
                say(f"Best held-out loss {best[1]:.3f} at step {best[0]}.")
            say(f"The adapter has {spoken_size(written)} and is in {self._run.adapter}")
            return
        for when in ("before", "after"):
            if when in measured:
                exact, total = measured[when]
                say(f"exact match {when.ljust(6)}  {exact}/{total}  {percent(exact, total)}")
        if best:
            say(f"held-out loss       {best[1]:.4f} at step {best[0]}")
        say(f"adapter             {self._run.adapter}  ({size(written)})")

    def _notice(self, event: Event) -> None:
        """What the moving line says of a pause, and the pace of the last steps."""
        kind = event["kind"]
        if kind == "paused":
            self._pause = event_words({**event, "why": None})
        elif kind in ("continued", "step", "started"):
            self._pause = None
        if kind == "step" and (step := whole(event.get("step"))) is not None:
            self._recent.append((number(event.get("t")) or 0.0, step))
        elif kind in ("paused", "continued", "started", "resumed", "recovered"):
            self._recent.clear()

    def _tell_person(self, event: Event) -> None:
        if event["kind"] == "step" and (self._moves or not self._is_told(event)):
            return
        if event["kind"] in ("phase", "hardware") and self._moves:
            return
        if self._sentences:
            if words := sentence(event, self._seconds_left()):
                say(words)
            return
        words = event_words(event)
        if words:
            self._line.clear()
            clock = time.strftime("%H:%M:%S", time.localtime(event.get("t")))
            say(f"{clock} {words}")

    def _is_told(self, event: Event) -> bool:
        total = self._curves.total_steps or 0
        every = max(total // _STEPS_TOLD, 1)
        step = event.get("step")
        return isinstance(step, int) and (step % every == 0 or step == 1)

    def _progress(self) -> str:
        curves = self._curves
        if self._pause is not None:
            return f"{self._pause}; `finetune-tui resume {self._run.short_id}` goes on"
        step, total, loss = curves.last_step, curves.total_steps, curves.latest("loss")
        if not step or not total or loss is None:
            return _phase_words(curves.phase)
        rate = curves.latest("tokens_per_second")
        filled = 20 * step // total
        left = self._seconds_left()
        return (
            f"{step}/{total} {'█' * filled}{'░' * (20 - filled)} {percent(step, total)}"
            f"  loss {loss:.4f}"
            + (f"  {rate:.0f} t/s" if rate else "")
            + ("" if left is None else f"  {duration(left)} left")
        )

    def _seconds_left(self) -> float | None:
        total = self._curves.total_steps
        if len(self._recent) < 2 or not total:
            return None
        (began, first), (now, last) = self._recent[0], self._recent[-1]
        return (now - began) / max(last - first, 1) * max(total - last, 0)


def _phase_words(phase: Phase | None) -> str:
    """What it does before the first step, or where there are none; with a bar where it says how far it is."""
    if phase is None:
        return "starting"
    if phase.words or not phase.total or phase.done is None:
        return phase.words or phase.name
    filled = min(max(int(20 * phase.done / phase.total), 0), 20)
    bar = "█" * filled + "░" * (20 - filled)
    return f"{phase.name} {bar} {percent(phase.done, phase.total)}"
