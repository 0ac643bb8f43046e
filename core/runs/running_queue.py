"""Whether the queue's runner runs, in words; and starting it."""

import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finetune_tui.core.errors import UserError, WorkFailed
from finetune_tui.core.files import read_json
from finetune_tui.core.runs.detached import outliving_login, spawn_detached
from finetune_tui.core.runs.endings import last_log_line
from finetune_tui.core.runs.processes import (
    ProcessId,
    boot_id,
    host_name,
    is_alive,
    pid_namespace,
)
from finetune_tui.core.runs.queue import ItemStatus, Queue, list_queue, queue_folder
from finetune_tui.core.text import duration, plain

RUNNER = "finetune_tui.core.runs.runner"
RECORD = "runner.json"

_TIME_TO_START = 20.0
# Where its pid means nothing, a runner silent this long is gone: it signs every few seconds.
_SILENCE = 60.0


@dataclass(frozen=True, slots=True)
class RunnerState:
    """words: one line for a person. restarts: it ended while there was work, and may simply be started."""

    is_alive: bool
    words: str
    restarts: bool = False


def runner_state(home: Path) -> RunnerState:
    """Never raises."""
    try:
        queue = list_queue(home)
    except UserError as error:
        return RunnerState(False, plain(str(error), 300))
    record = _record(home)
    if record is None:
        return _without_record(queue)
    signed = record.get("heartbeat")
    quiet = max(time.time() - signed, 0.0) if isinstance(signed, int | float) else 1e9
    heard = f"last heard {duration(quiet)} ago"
    host = record.get("host")
    if host != host_name():
        return RunnerState(quiet < _SILENCE, f"on {plain(str(host), 60)}, {heard}")
    if record.get("boot_id") != boot_id():
        words = "the machine was restarted; `finetune-tui queue start` goes on"
        return RunnerState(False, words if _has_work(queue) else _without_record(queue).words)
    if record.get("pid_namespace") != pid_namespace():
        words = f"in another container, {heard}"
        return RunnerState(quiet < _SILENCE, words, restarts=quiet >= _SILENCE and _has_work(queue))
    process = ProcessId.from_json(record.get("process"))
    if process and is_alive(process):
        return RunnerState(True, f"runs (pid {process.pid})")
    return RunnerState(False, f"was killed; {heard}", restarts=_has_work(queue))


def start_runner(home: Path) -> None:
    """Start the runner in a session of its own, if there is none. Blocks about a third of a second.

    Raises WorkFailed.
    """
    if runner_state(home).is_alive:
        return
    folder = queue_folder(home)
    log = folder / "log.txt"
    words = [*outliving_login(), sys.executable, "-m", RUNNER, str(home.absolute())]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        runner = spawn_detached(words, log)
    except OSError as error:
        raise WorkFailed(
            f"the queue's runner cannot be started ({error.strerror})", where=str(folder)
        ) from error
    deadline = time.monotonic() + _TIME_TO_START
    while time.monotonic() < deadline:
        code = runner.poll()
        if code in (0, 2) or runner_state(home).is_alive:  # done already; another one was faster
            return
        if code is not None:
            said = last_log_line(log)
            why = "the queue's runner ended before it began"
            raise WorkFailed(f"{why}: {said}" if said else why, where=str(log))
        time.sleep(0.02)


def keep_running(home: Path) -> str | None:
    """Start a runner that was killed again; after a reboot only say so. What a person should know, or None.

    Raises WorkFailed.
    """
    state = runner_state(home)
    if state.is_alive:
        return None
    if state.restarts:
        start_runner(home)
        return "the queue's runner was gone and is started again"
    return f"the queue waits: {state.words}" if _waits_for_a_person(home) else None


def _waits_for_a_person(home: Path) -> bool:
    try:
        queue = list_queue(home)
    except UserError:
        return True
    return _has_work(queue) and not (queue.is_held and queue.held_because is None)


def _without_record(queue: Queue) -> RunnerState:
    if not _has_work(queue):
        return RunnerState(False, "nothing waits")
    if queue.is_held and not queue.of(ItemStatus.RUNNING):
        return RunnerState(False, queue.held_because or "held; `finetune-tui queue start` goes on")
    return RunnerState(False, "does not run; `finetune-tui queue start` starts it", restarts=True)


def _has_work(queue: Queue) -> bool:
    return bool(queue.of(ItemStatus.WAITING) or queue.of(ItemStatus.RUNNING))


def _record(home: Path) -> dict[str, Any] | None:
    try:
        record = read_json(queue_folder(home) / RECORD, limit=2**16)
    except UserError:
        return None
    return record if isinstance(record, dict) else None
