"""Starting a run so that it goes on without whoever started it."""

import subprocess
import sys
import time
from collections.abc import Sequence

from finetune_tui.core.errors import UserError, WorkFailed
from finetune_tui.core.runs.detached import outliving_login, spawn_detached
from finetune_tui.core.runs.directory import RunDirectory
from finetune_tui.core.runs.endings import last_log_line
from finetune_tui.core.runs.liveness import silence
from finetune_tui.core.runs.lock import RunLock, is_locked, take_lock
from finetune_tui.core.runs.requests import drop_request, is_asked, take_requests
from finetune_tui.core.runs.state import State, Status
from finetune_tui.core.text import plain

SUPERVISOR = "finetune_tui.core.runs.supervisor"

_TIME_TO_START = 20.0
# Silence after which a run of another machine may be taken over: that machine may be gone for good.
_ELSEWHERE_SILENCE = 300.0


def start_run(
    run: RunDirectory,
    resume: bool = False,
    command: Sequence[str] | None = None,
    tells: bool = True,
) -> int:
    """Start (or go on with) a run in a session of its own; returns the supervisor's pid.

    Blocks until the supervisor has written its first state, usually a quarter of a second. command:
    stands in for the worker's own. tells: the person's hook runs at its end. Raises UserError when
    the run cannot start and says why: it is running, it is finished, it was started before. Raises
    WorkFailed when the supervisor fails.
    """
    refused = resumable(run) if resume else _startable(run)
    if refused:
        raise UserError(refused)
    words = [sys.executable, "-m", SUPERVISOR, str(run.path.absolute())]
    words += [*(["--resume"] if resume else []), *([] if tells else ["--quiet"])]
    words += ["--", *command] if command else []
    scope = outliving_login()
    try:
        return _start_supervisor(run, scope + words)
    except WorkFailed:
        if not scope:
            raise
        return _start_supervisor(run, words)  # better until logout than not at all


def resume_run(run: RunDirectory) -> int | None:
    """Go on: a worker that holds (or was just asked to) is told so, any other run starts again.

    Returns the new supervisor's pid, or None when the worker there goes on. Raises like `start_run`.
    """
    if holds(run):
        drop_request(run, "resume")
        return None
    return start_run(run, resume=True)


def holds(run: RunDirectory, now: float | None = None) -> bool:
    """Whether a worker is there, here or elsewhere, that a `resume` request lets go on."""
    state, liveness = run.state(), run.liveness(now)
    if not liveness.is_alive and liveness.status is not Status.ELSEWHERE:
        return False
    return state.status is Status.PAUSED or is_asked(run, "pause") or is_asked(run, "release")


def resumable(run: RunDirectory, now: float | None = None) -> str | None:
    """None when the run can go on, else why not, in words."""
    now = time.time() if now is None else now
    name = plain(run.short_id)
    state = run.state()
    liveness = run.liveness(now)
    if liveness.status in (Status.FOREIGN, Status.NEWER):
        return f"{name} cannot be gone on with: {liveness.words}"
    if not run.spec_path.is_file():
        return f"{name} has no spec.yaml to go on from"
    if liveness.status is Status.FINISHED:
        return f"{name} is finished: there is nothing left to do"
    if liveness.is_alive or is_locked(run):
        return f"{name} is already running{_pid_words(state)}"
    if liveness.status is Status.ELSEWHERE:
        quiet = silence(state, now)
        if quiet is None or quiet < _ELSEWHERE_SILENCE:
            return f"{name} runs {liveness.words}"
    return None


def _startable(run: RunDirectory) -> str | None:
    if run.state().attempt == 0:
        return None
    name = plain(run.short_id)
    return resumable(run) or f"{name} was started before: `finetune-tui resume {name}` goes on"


def _start_supervisor(run: RunDirectory, command: list[str]) -> int:
    lock = take_lock(run, patience=0.3)
    try:
        take_requests(run)  # a stop that was meant for the attempt before
        supervisor = _spawn(run, command, lock)
    finally:
        lock.close()
    _wait_for_first_state(run, supervisor)
    return supervisor.pid


def _spawn(run: RunDirectory, command: list[str], lock: RunLock) -> "subprocess.Popen[bytes]":
    try:
        return spawn_detached(command, run.log_path, lock.variables, (lock.descriptor,))
    except OSError as error:
        raise WorkFailed(
            f"the supervisor cannot be started ({error.strerror})", where=str(run.path)
        ) from error


def _wait_for_first_state(run: RunDirectory, supervisor: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + _TIME_TO_START
    while time.monotonic() < deadline:
        has_ended = supervisor.poll() is not None  # before the look, so that a short run counts
        written = run.state().supervisor
        if written is not None and written.pid == supervisor.pid:
            return
        if has_ended:
            why = f"the supervisor of {plain(run.short_id)} ended before it began"
            said = last_log_line(run.log_path)
            raise WorkFailed(f"{why}: {said}" if said else why, where=str(run.log_path))
        time.sleep(0.02)


def _pid_words(state: State) -> str:
    process = state.worker or state.supervisor
    return f" (pid {process.pid})" if process else ""
