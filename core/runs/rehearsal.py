"""A rehearsal: a few real steps of a spec in a throwaway run, to know before the long one.

The real worker loads the real model, takes the longest batch first, evaluates, answers one held-out row,
writes a checkpoint and the results, and reads them back. What it measured is kept, so that the time of
the whole run can be told; the run itself is deleted, however the rehearsal ends.
"""

import contextlib
import dataclasses
import itertools
import json
import os
import secrets
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finetune_tui.core.errors import UserError, WorkFailed
from finetune_tui.core.files import read_json, write_atomically
from finetune_tui.core.hardware import read_hardware
from finetune_tui.core.models.resolve import Inspect
from finetune_tui.core.runs.directory import RunDirectory, list_runs
from finetune_tui.core.runs.events import Event, EventReader, read_events
from finetune_tui.core.runs.launch import make_run
from finetune_tui.core.runs.likeness import likeness
from finetune_tui.core.runs.memory_taken import Taken, figures, taken
from finetune_tui.core.runs.processes import is_alive
from finetune_tui.core.runs.start import start_run
from finetune_tui.core.runs.state import State, Status
from finetune_tui.core.runs.words import event_words, number, whole
from finetune_tui.core.text import size
from finetune_tui.core.tuning.spec import Spec

STEPS = 4  # the first has the longest batch and every first-time cost; the others give the pace
_LOOK_EVERY = 0.1  # seconds
SPARE_DISK = 64 * 2**20  # bytes beside checkpoints and results: events, log, state
_TIME_TO_END = 10.0
_FAILED_LOG = "failed.log"


class RehearsalCancelled(Exception):  # asked for, not an error
    """The person who asked for it does not want it any more."""


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """What was measured. Seconds; bytes; None where this machine cannot say.

    seconds_per_step: mean of the steps after the first. spread: half of what lay between the fastest and
    the slowest of them, as a share. peak_allocated, peak_reserved: on the GPU. peak_memory: resident in
    the worker. longest_tokens: in the first step's batch. peak_device: of the GPU with its context, or of
    main memory; predicted_*: what was predicted of the same.
    """

    seconds_per_step: float
    spread: float
    steps_per_epoch: float
    load_seconds: float
    eval_seconds: float
    save_seconds: float
    peak_allocated: int | None
    peak_reserved: int | None
    peak_memory: int | None
    checkpoint_bytes: int
    result_bytes: int
    longest_tokens: int | None
    sample: dict[str, Any] | None
    warnings: tuple[str, ...]
    peak_device: int | None = None
    predicted_allocated: int | None = None
    predicted_reserved: int | None = None
    predicted_device: int | None = None
    predicted_band: int | None = None

    @property
    def taken(self) -> Taken | None:
        """The memory it took, beside what was predicted."""
        return taken(dataclasses.asdict(self))

    def steps(self, spec: Spec) -> int:
        """Optimizer steps of the whole run."""
        if spec.max_steps > 0:
            return spec.max_steps
        return max(1, -int(-self.steps_per_epoch * spec.num_train_epochs // 1))

    def seconds(self, spec: Spec) -> float:
        """How long the whole run takes when nothing stops it early."""
        steps = self.steps(spec)
        evaluations = steps // _every(spec.eval_steps, steps) + 1 if self.eval_seconds else 0
        saves = steps // _every(spec.save_steps, steps)
        return (
            self.load_seconds
            + steps * self.seconds_per_step
            + evaluations * self.eval_seconds
            + saves * self.save_seconds
        )

    def disk_needed(self, spec: Spec) -> int:
        """Bytes: the checkpoints kept and the one being written beside them, and the results."""
        return (spec.save_total_limit + 1) * self.checkpoint_bytes + self.result_bytes + SPARE_DISK

    def problems(self, spec: Spec, disk_free: int | None) -> tuple[str, ...]:
        """Why the long run would not go as asked, in words; empty when nothing is in its way."""
        found = list(self.warnings)
        needed = self.disk_needed(spec)
        if disk_free is not None and disk_free < needed:
            found.append(
                f"the disk has {size(disk_free)} free and the run needs {size(needed)}: "
                "make room, or choose another place with --home"
            )
        return tuple(found)

    def to_json(self, spec: Spec, disk_free: int | None) -> dict[str, Any]:
        problems = self.problems(spec, disk_free)
        return {
            **dataclasses.asdict(self),
            "warnings": list(self.warnings),
            "steps": self.steps(spec),
            "seconds_total": round(self.seconds(spec), 1),
            "disk_needed": self.disk_needed(spec),
            "disk_free": disk_free,
            "problems": list(problems),
            "ok": not problems,
        }


def rehearse(
    home: Path,
    spec: Spec,
    inspect: Inspect,
    progress: Callable[[str], None] = lambda _words: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> Rehearsal:
    """Rehearse a spec on this machine; blocks, so run it in a thread.

    Raises UserError when the spec cannot work, WorkFailed when the rehearsal failed and why, and
    RehearsalCancelled soon after `cancelled()` is true.
    """
    place = home / "rehearsals"
    _clear_leftovers(place)
    folder = place / f".{secrets.token_hex(4)}"
    try:
        run = make_run(folder, _rehearsed(spec), inspect)
        start_run(run, tells=False)
        try:
            _follow(run, progress, cancelled)
        finally:
            _end(run)
        rehearsal = _measured(run, place / _FAILED_LOG)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    with contextlib.suppress(OSError):  # kept for later; the answer is here all the same
        kept = json.dumps({"likeness": likeness(spec), **dataclasses.asdict(rehearsal)})
        write_atomically(_kept_path(home, spec), kept)
    return rehearsal


def kept_rehearsal(home: Path, spec: Spec) -> Rehearsal | None:
    """What an earlier rehearsal of the same work measured. Never raises."""
    try:
        values = dict(read_json(_kept_path(home, spec)))
        values.pop("likeness")
        values["warnings"] = tuple(values["warnings"])
        return Rehearsal(**values)
    except (UserError, OSError, KeyError, TypeError, ValueError):
        return None


def free_disk(home: Path) -> int | None:
    """Bytes free where runs are written."""
    return read_hardware(home).disk_free


def _rehearsed(spec: Spec) -> Spec:
    steps = STEPS if spec.max_steps < 0 else min(STEPS, spec.max_steps)
    return dataclasses.replace(
        spec,
        name="rehearsal",
        max_steps=steps,
        eval_steps=steps,
        save_steps=steps,
        eval_samples=0,
        eval_replies=1,
        early_stopping_patience=0,
        report_to="none",
    )


def _every(value: float, steps: int) -> int:
    """A setting that is a number of steps, or below 1 a share of them; 0: never."""
    if not value:
        return steps + 1
    return max(1, round(value * steps) if value < 1 else int(value))


def _kept_path(home: Path, spec: Spec) -> Path:
    return home / "rehearsals" / f"{likeness(spec)}.json"


def _clear_leftovers(place: Path) -> None:
    """Rehearsals whose machine or app went away; one that still works is left alone."""
    folders = [path for path in place.glob(".*") if path.is_dir()] if place.is_dir() else []
    for folder in folders:
        if not any(run.liveness().is_alive for run in list_runs(folder)):
            shutil.rmtree(folder, ignore_errors=True)


def _follow(
    run: RunDirectory, progress: Callable[[str], None], cancelled: Callable[[], bool]
) -> None:
    reader = EventReader(run.events_path)
    while run.liveness().is_alive:
        if cancelled():
            raise RehearsalCancelled
        for event in reader.poll():
            words = _progress_words(event)
            if words:
                progress(words)
        time.sleep(_LOOK_EVERY)


def _progress_words(event: Event) -> str | None:
    if event["kind"] not in ("phase", "step", "eval", "checkpoint"):
        return None
    done, total = whole(event.get("done")), whole(event.get("total"))
    if event["kind"] == "phase" and done and total:
        return event_words({**event, "done": 0, "words": f"{done:,} of {total:,}"})
    return event_words(event)


def _end(run: RunDirectory) -> None:
    """Nothing of a rehearsal is worth waiting for: its worker is ended at once."""
    worker = run.state().worker
    if run.liveness().is_alive and worker is not None and is_alive(worker):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(worker.pid, signal.SIGKILL)
    deadline = time.monotonic() + _TIME_TO_END
    while run.liveness().is_alive and time.monotonic() < deadline:
        time.sleep(_LOOK_EVERY)


def _measured(run: RunDirectory, kept_log: Path) -> Rehearsal:
    state = run.state()
    events = list(read_events(run.events_path))
    if state.status is not Status.FINISHED:
        raise _failure(run, state, _last(events, "failed") or {}, kept_log)
    steps = [event for event in events if event["kind"] == "step"]
    first, last = steps[0], steps[-1]
    between = [after["t"] - before["t"] for before, after in itertools.pairwise(steps)]
    begins = [event["t"] for event in events if event.get("phase") == "training"]
    between = between or [first["t"] - begins[-1]]
    mean = sum(between) / len(between)
    finished = _last(events, "finished") or {}
    checkpoint = _last(events, "checkpoint") or {}
    sample = _last(events, "sample")
    return Rehearsal(
        seconds_per_step=round(mean, 4),
        spread=round((max(between) - min(between)) / 2 / mean, 3) if mean else 0.0,
        steps_per_epoch=last["step"] / last["epoch"] if last.get("epoch") else float(last["step"]),
        load_seconds=round(begins[-1] - events[0]["t"], 2),
        eval_seconds=_seconds(_last(events, "eval")),
        save_seconds=_seconds(checkpoint),
        **figures(finished),
        checkpoint_bytes=whole(checkpoint.get("bytes")) or 0,
        result_bytes=state.adapter_bytes or 0,
        longest_tokens=whole((_last(events, "data") or {}).get("longest")),
        sample={key: sample.get(key) for key in ("prompt", "expected", "reply", "correct")}
        if sample
        else None,
        warnings=tuple(
            words
            for event in events
            if event["kind"] == "recovered" and (words := event_words(event))
        ),
    )


def _failure(run: RunDirectory, state: State, failed: Event, kept_log: Path) -> WorkFailed:
    """In the worker's own words; its log outlives the run when it is what they speak of."""
    where, hint = failed.get("where"), failed.get("hint") or state.hint
    if where == str(run.log_path):
        with contextlib.suppress(OSError):
            shutil.copyfile(run.log_path, kept_log)
            where = str(kept_log)
    return WorkFailed(f"the rehearsal failed: {state.why}", where=where, hint=hint)


def _last(events: list[Event], kind: str) -> Event | None:
    return next((event for event in reversed(events) if event["kind"] == kind), None)


def _seconds(event: Event | None) -> float:
    return number(event.get("seconds")) or 0.0 if event else 0.0
