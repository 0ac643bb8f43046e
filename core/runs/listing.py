"""All runs with what a list says of each: read in slices, so that ten thousand hold nobody up.

The names are there after the first look. The facts of a run are two small files: read once, then again
only when one of them has changed, which their time and size tell. Runs that go on are looked at every
time, for a heartbeat's age is part of what they say.
"""

import contextlib
import math
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from finetune_tui.core.runs.directory import RunDirectory, list_runs, task_words
from finetune_tui.core.runs.events import last_step
from finetune_tui.core.runs.labels import LABELS, Labels, read_labels
from finetune_tui.core.runs.liveness import Liveness, derived_status, silence
from finetune_tui.core.runs.state import State, Status
from finetune_tui.core.text import plain

_NAMES_EVERY = 30.0  # seconds, where the folder's own time says nothing has come or gone
_SETTLED = 10**9  # ns since the folder last changed
_AGAIN = 200  # runs that ended and are out of view, looked at in one poll

_LATELY = 300.0  # seconds since the last word of a run on another machine

_File = tuple[int, int, int]
"""Its time in ns, size and inode."""

_Stamp = tuple[_File | None, _File | None]
"""Of the two files that facts come from; None: not there."""


@dataclass(frozen=True, slots=True)
class RunFacts:
    """What a list says of one run. All texts are plain. Times are seconds since 1970.

    name, note, tags, archived: its labels. best_eval_loss at best_step. target: id of the run that a
    comparison or an export works on, else empty. phase: what goes on.
    """

    run: RunDirectory
    liveness: Liveness
    name: str = ""
    note: str = ""
    tags: tuple[str, ...] = ()
    archived: bool = False
    model: str = ""
    preset: str = ""
    step: int | None = None
    total_steps: int | None = None
    eval_loss: float | None = None
    best_eval_loss: float | None = None
    best_step: int | None = None
    created: float | None = None
    started: float | None = None
    ended: float | None = None
    task: str = "train"
    target: str = ""
    phase: str = ""

    @property
    def is_training(self) -> bool:
        return self.task == "train"

    @property
    def task_words(self) -> str:
        """`compare r7` for a run that works on another; empty for a training."""
        return task_words(self.task, self.target)

    @property
    def id(self) -> str:
        return plain(self.run.id)

    @property
    def short_id(self) -> str:
        return plain(self.run.short_id)

    @property
    def status(self) -> Status:
        return self.liveness.status


class _Known(NamedTuple):
    stamp: _Stamp
    state: State
    facts: RunFacts


def read_facts(run: RunDirectory, now: float) -> RunFacts:
    """What its files say now. Never raises, never waits, whatever lies there."""
    return _facts(run, run.state(), read_labels(run), now)


class Listing:
    """The runs of a home. Used from one thread at a time; `runs` and `facts` are never changed, only
    replaced, so that a screen may keep what it was given."""

    def __init__(self, home: Path, clock: Callable[[], float] = time.time) -> None:
        self.home = home
        self.runs: tuple[RunDirectory, ...] = ()
        self.facts: Mapping[RunDirectory, RunFacts] = {}
        self._clock = clock
        self._there: frozenset[RunDirectory] = frozenset()
        self._known: dict[RunDirectory, _Known] = {}
        self._unread: Iterator[RunDirectory] = iter(())
        self._again: Iterator[RunDirectory] = iter(())
        self._folder: tuple[int, int] | None = None  # time and inode at the last look for names
        self._named = 0.0

    @property
    def total(self) -> int:
        return len(self.runs)

    @property
    def read(self) -> int:
        """Runs of which something is known."""
        return len(self.facts)

    @property
    def is_complete(self) -> bool:
        """Whether every run was read."""
        return self._folder is not None and len(self.facts) == len(self.runs)

    def poll(self, seconds: float = 0.05, in_view: Sequence[RunDirectory] = ()) -> bool:
        """Look for about so long; whether anything changed. Never raises.

        First for runs that came or went, then at those in view and those that go on, then at those never
        read, the newest first, then at some of the others. Call it once a second, or at once again until
        `is_complete`.
        """
        now, until = self._clock(), time.perf_counter() + seconds
        changed = self._look_for_names(now)
        first = [run for run in in_view if run in self._there] or self.runs[:1]
        changed |= self._look_at(dict.fromkeys([*first, *self._going_on(now)]), now)
        changed |= self._read_on(now, until)
        if self.is_complete:
            changed |= self._look_at(self._some_again(), now)
        if changed:
            self.facts = {run: known.facts for run, known in self._known.items()}
        return changed

    def _look_for_names(self, now: float) -> bool:
        folder = _stamp(f"{self.home}/runs")
        at = (folder[0], folder[2]) if folder else (0, 0)
        if at == self._folder and 0 <= now - self._named < _NAMES_EVERY:
            return False
        # Its time may stand still for what comes in the next moment.
        is_settled = folder is None or abs(time.time_ns() - folder[0]) > _SETTLED
        self._folder, self._named = at, now if is_settled else -math.inf
        found = tuple(list_runs(self.home))
        if found == self.runs:
            return False
        self.runs, self._there = found, frozenset(found)
        self._known = {run: known for run, known in self._known.items() if run in self._there}
        self._unread = iter([run for run in found if run not in self._known])
        return True

    def _going_on(self, now: float) -> list[RunDirectory]:
        return [
            run
            for run, known in self._known.items()
            if known.state.status.is_active
            and (known.facts.liveness.is_alive or _heard_lately(known.state, now))
        ]

    def _read_on(self, now: float, until: float) -> bool:
        changed = False
        for run in self._unread:
            changed |= run not in self._known and self._look_at((run,), now)
            if time.perf_counter() >= until:
                break
        return changed

    def _some_again(self) -> list[RunDirectory]:
        """The next few, all of them in turn: a run may go on that ended long ago."""
        some = list(islice(self._again, _AGAIN))
        if len(some) < _AGAIN:
            self._again = iter(self.runs)
        return [run for run in some if run in self._known]

    def _look_at(self, runs: Iterable[RunDirectory], now: float) -> bool:
        changed = False
        for run in runs:
            before = self._known.get(run)
            known = _look(run, before, now)
            if known is not before:
                self._known[run] = known
                changed |= before is None or known.facts != before.facts
        return changed


def _look(run: RunDirectory, before: _Known | None, now: float) -> _Known:
    """What is known of a run now: `before` itself where its files are as they were and nothing goes on."""
    stamp = _stamp(f"{run.path}/state.json"), _stamp(f"{run.path}/{LABELS}")
    if before is None or before.stamp != stamp:
        state = run.state()
    elif before.state.status.is_active:
        state = before.state
    else:
        return before
    labels = read_labels(run) if stamp[1] else Labels()
    return _Known(stamp, state, _facts(run, state, labels, now))


def _facts(run: RunDirectory, state: State, labels: Labels, now: float) -> RunFacts:
    liveness = derived_status(state, now)
    if liveness.status is Status.DEAD and state.step:  # its state is a heartbeat old
        state = state.changed(step=last_step(run.events_path) or state.step)
    return RunFacts(
        run=run,
        liveness=liveness,
        name=labels.name,
        note=labels.note,
        tags=labels.tags,
        archived=labels.archived,
        model=plain(state.model or "", 60),
        preset=plain(state.preset or "", 60),
        step=state.step,
        total_steps=state.total_steps,
        eval_loss=state.eval_loss,
        best_eval_loss=state.best_eval_loss,
        best_step=state.best_step,
        created=state.created,
        started=state.started,
        ended=state.ended,
        task=plain(state.task, 20),
        target=plain(state.target or "", 200),
        phase=plain(state.phase or "", 40),
    )


def _heard_lately(state: State, now: float) -> bool:
    quiet = silence(state, now)
    return quiet is not None and quiet < _LATELY


def _stamp(path: str) -> _File | None:
    with contextlib.suppress(OSError):
        found = os.stat(path)  # noqa: PTH116 - ten thousand times
        return found.st_mtime_ns, found.st_size, found.st_ino
    return None
