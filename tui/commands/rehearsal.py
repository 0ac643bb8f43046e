"""train --rehearse: a few real steps, and what they say about the long run."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

from finetune_tui.core.calls.client import inspect_folder
from finetune_tui.core.runs.pace import predict
from finetune_tui.core.runs.rehearsal import Rehearsal, RehearsalCancelled, free_disk, rehearse
from finetune_tui.core.text import duration, plain, size
from finetune_tui.core.tuning.spec import Spec
from finetune_tui.tui.output import ProgressLine, on_terminal, say, say_json

_CANCELLED = 130  # what a shell says of a command that ctrl-c ended


def rehearse_spec(spec: Spec, home: Path, as_json: bool = False) -> int:
    """Rehearse and say what was measured. 0 when the run can go as asked, 1 when it cannot.

    ctrl-c ends it and leaves nothing behind. Raises UserError and WorkFailed as the rehearsal does.
    """
    teller = _Progress(as_json)
    try:
        with _ctrl_c_sets() as cancelled:
            found = rehearse(home, spec, inspect_folder, teller.tell, cancelled.is_set)
    except RehearsalCancelled:
        teller.clear()
        if not as_json:
            say("cancelled; nothing of it is left")
        return _CANCELLED
    finally:
        teller.clear()
    disk_free = free_disk(home)
    if as_json:
        say_json(found.to_json(spec, disk_free))
    else:
        _say_table(found, spec, home, disk_free)
    return 1 if found.problems(spec, disk_free) else 0


@contextlib.contextmanager
def _ctrl_c_sets() -> Iterator[threading.Event]:
    """Meanwhile ctrl-c sets the event: what has begun is cleaned up, however often it is pressed."""
    asked = threading.Event()
    before = signal.signal(signal.SIGINT, lambda *_: asked.set())
    try:
        yield asked
    finally:
        signal.signal(signal.SIGINT, before)


class _Progress:
    """One line that moves on a terminal; a line for each new phase elsewhere."""

    def __init__(self, as_json: bool) -> None:
        self._as_json = as_json
        self._line = ProgressLine()
        self._phase = ""

    def tell(self, words: str) -> None:
        if self._as_json:
            return
        if on_terminal():
            self._line.show(f"rehearsing: {words}")
            return
        phase = words.partition(":")[0]
        if phase != self._phase:
            self._phase = phase
            say(f"rehearsing: {words}")

    def clear(self) -> None:
        self._line.clear()


def _say_table(found: Rehearsal, spec: Spec, home: Path, disk_free: int | None) -> None:
    told = predict(home, spec)
    seconds = told.seconds if told else found.seconds(spec)
    spread = f" ±{duration(told.spread)}" if told else ""
    free = "" if disk_free is None else f", {size(disk_free)} free"
    rows = [
        ("memory", _memory(found)),
        ("a step", f"{found.seconds_per_step:.2f}s"),
        ("in all", f"about {duration(seconds)}{spread} for {found.steps(spec)} steps"),
        ("disk", f"needs {size(found.disk_needed(spec))}{free}"),
        ("loading", f"{duration(found.load_seconds)} before the first step"),
    ]
    if found.eval_seconds:
        rows.append(("evaluation", f"{found.eval_seconds:.2f}s each"))
    if found.longest_tokens is not None:
        rows.append(("longest row", f"{found.longest_tokens} tokens"))
    for name, value in rows:
        say(f"{name:<12}{value}")
    if found.sample:
        say("\na held-out row, answered after these few steps:")
        for name in ("prompt", "reply", "expected"):
            say(f"  {name:<10}{plain(str(found.sample.get(name) or '(nothing)'), 300)}")
    problems = found.problems(spec, disk_free)
    say()
    for problem in problems:
        say(f"problem: {problem}")
    if not problems:
        say("nothing is in the way: the same words without --rehearse start it")


def _memory(found: Rehearsal) -> str:
    return found.taken.words if found.taken else "could not be measured"
