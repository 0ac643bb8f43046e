"""The supervisor: starts a worker, waits for it, and writes once how it ended, whatever happened.

    python -m finetune_tui.core.runs.supervisor RUN_DIR [--resume] [--quiet] [-- COMMAND …]

It holds no torch, opens no terminal, and outlives the app and the login that started it. COMMAND
stands in for the worker's own.
"""

import argparse
import contextlib
import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from finetune_tui.core.cgroups import oom_kills
from finetune_tui.core.errors import UserError
from finetune_tui.core.runs.detached import open_log
from finetune_tui.core.runs.directory import RunDirectory
from finetune_tui.core.runs.endings import Ending, ending_of, final_state, not_started
from finetune_tui.core.runs.events import append_event, last_ending, last_step
from finetune_tui.core.runs.lock import RunLock, adopt_or_take_lock
from finetune_tui.core.runs.processes import boot_id, host_name, pid_namespace, this_process
from finetune_tui.core.runs.state import State, Status, write_state
from finetune_tui.core.runs.untold import expect_end, tell_own_end

WORKER = "finetune_tui.core.training.worker"

_PATIENCE_WITH_DISK = 20.0  # seconds to wait for room for the last words
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)


def supervise(run: RunDirectory, command: Sequence[str], tells: bool = True) -> Status:
    """Run `command` as the worker of `run` to its end. Returns the status written last.

    tells: the person's hook runs at the end.

    Raises UserError when another worker is on the run; nothing is written then.
    """
    lock = adopt_or_take_lock(run)
    signals = _Signals()
    starting = _starting(run)
    is_expected = tells and expect_end(run, starting.attempt)
    _write(run, starting)
    ending = _work(run, command, lock, signals)
    if not ending.is_told:
        _append_failed(run, ending)
    last = run.state()
    last = starting if last.status is Status.BROKEN else last
    if not ending.is_told:  # the state of one that was killed is a heartbeat old
        last = last.changed(step=last_step(run.events_path) or last.step)
    last = final_state(last, ending)
    try:
        _write(run, last, durable=True)
    finally:
        lock.close()  # the run can go on while its hook still runs
        if tells:
            tell_own_end(run, last, is_expected)
    return ending.status


def worker_command(run: RunDirectory, resume: bool) -> list[str]:
    """How the worker of a run is started."""
    return [sys.executable, "-m", WORKER, str(run.path), *(["--resume"] if resume else [])]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="supervisor", description="Starts and reaps a worker.")
    parser.add_argument("run", type=Path)
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--quiet", action="store_true", help="no hook at the end")
    words = list(sys.argv[1:] if arguments is None else arguments)
    end = words.index("--") if "--" in words else len(words)
    options, command = parser.parse_args(words[:end]), words[end + 1 :]
    run = RunDirectory(options.run.absolute())
    try:
        status = supervise(
            run, command or worker_command(run, options.resume), tells=not options.quiet
        )
    except (UserError, OSError) as error:
        print(f"supervisor: {error}", file=sys.stderr)
        return getattr(error, "exit_code", 1)
    return 0 if status in (Status.FINISHED, Status.STOPPED, Status.PAUSED) else 1


class _Signals:
    """Requests to end are the worker's to answer; a closed terminal is nobody's business."""

    def __init__(self) -> None:
        self._worker: int | None = None
        self._early: list[int] = []
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._pass_on)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # the worker inherits this

    def worker_started(self, pid: int) -> None:
        self._worker = pid
        for number in self._early:
            self._pass_on(number, None)

    def worker_ended(self) -> None:
        """Its number may be another process's now."""
        self._worker = None

    def _pass_on(self, number: int, _: FrameType | None) -> None:
        if self._worker is None:
            self._early.append(number)
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._worker, number)


def _work(run: RunDirectory, command: Sequence[str], lock: RunLock, signals: _Signals) -> Ending:
    """Start the worker, wait for its end, and say how it was."""
    told_before = _size(run.events_path)
    killed_before = oom_kills()
    try:
        worker = _start(run, command, lock)
    except Exception as error:  # whatever it is, the run ends with words
        return not_started(run, error)
    signals.worker_started(worker.pid)
    exit_code = worker.wait()
    signals.worker_ended()
    _end_group(worker.pid)
    killed_after = oom_kills()
    return ending_of(
        run,
        exit_code,
        last_ending(run.events_path, told_before),
        out_of_memory=None not in (killed_before, killed_after) and killed_before != killed_after,
    )


def _start(run: RunDirectory, command: Sequence[str], lock: RunLock) -> "subprocess.Popen[bytes]":
    environment = {
        # OpenMP's threads spin while they wait. With anything else on the same cores (the app is
        # enough) that makes a step on the CPU five times slower; never spinning costs half again on
        # an idle machine. A short spin has neither cost (measured: 93 ms a step idle, 141 shared).
        "GOMP_SPINCOUNT": "10000",
        **os.environ,
        "PYTHONSAFEPATH": "1",
        **lock.variables,
        **_devices(run),
    }
    with open_log(run.log_path) as log:
        return subprocess.Popen(
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=environment,
            pass_fds=(lock.descriptor,),
            process_group=0,
        )


def _devices(run: RunDirectory) -> dict[str, str]:
    """CUDA_VISIBLE_DEVICES for the GPUs the spec names; a wrong spec is the worker's to report."""
    try:
        gpus = run.task_spec().gpus
    except UserError:
        return {}
    return {"CUDA_VISIBLE_DEVICES": ",".join(str(gpu) for gpu in gpus)} if gpus else {}


def _end_group(pid: int) -> None:
    """What the worker started and left behind would keep GPU memory, and with it the lock."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def _starting(run: RunDirectory) -> State:
    before = run.state()
    now = time.time()
    return State(
        created=before.created or now,
        task=before.task,
        target=before.target,
        model=before.model,
        preset=before.preset,
        step=before.step,
        total_steps=before.total_steps,
        eval_loss=before.eval_loss,
        best_eval_loss=before.best_eval_loss,
        best_step=before.best_step,
        phase="starting",
        started=now,
        heartbeat=now,
        host=host_name(),
        boot_id=boot_id(),
        pid_namespace=pid_namespace(),
        supervisor=this_process(),
        attempt=before.attempt + 1,
    )


def _append_failed(run: RunDirectory, ending: Ending) -> None:
    with contextlib.suppress(OSError):  # the state says the same
        append_event(run, "failed", message=ending.why, hint=ending.hint, where=ending.where)


def _write(run: RunDirectory, state: State, durable: bool = False) -> None:
    """Write the state, waiting a while for room on a full disk. Raises OSError."""
    deadline = time.monotonic() + _PATIENCE_WITH_DISK
    while True:
        try:
            return write_state(run.state_path, state, durable=durable)
        except OSError as error:
            if error.errno not in _DISK_FULL or time.monotonic() >= deadline:
                raise
        time.sleep(0.25)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


if __name__ == "__main__":
    raise SystemExit(main())
