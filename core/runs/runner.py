"""The queue's runner: takes waiting specs in order and starts each as soon as there is room for it.

    python -m finetune_tui.core.runs.runner HOME

One for a home: it is locked. It holds no torch, outlives the app and the login, and ends when nothing
is left to do. Runs have their own supervisors, so that they go on when it is killed; the next runner
finds them again.
"""

import contextlib
import fcntl
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from finetune_tui.core.errors import UserError
from finetune_tui.core.files import write_atomically
from finetune_tui.core.runs.directory import RunDirectory
from finetune_tui.core.runs.processes import boot_id, host_name, pid_namespace, this_process
from finetune_tui.core.runs.queue import (
    ItemStatus,
    Queue,
    QueueItem,
    changing,
    list_queue,
    queue_folder,
)
from finetune_tui.core.runs.running_queue import RECORD, runner_state
from finetune_tui.core.runs.slots import place, slots_of, visible_gpus
from finetune_tui.core.runs.start import start_run
from finetune_tui.core.runs.state import Status
from finetune_tui.core.runs.untold import notice_ends, runs_under_way
from finetune_tui.core.text import plain
from finetune_tui.core.tuning.task_spec import AnySpec, read_task_spec

_LOOK_EVERY = 1.0  # seconds
_SIGN_EVERY = 5.0
_NOTICE_EVERY = 10.0
_PATIENCE = 1.0

Make = Callable[[Path, AnySpec], RunDirectory]
Begin = Callable[[RunDirectory, bool], object]
"""make: a run of the spec, not yet started; begin: starts it, or goes on with it when the flag is set."""


class Runner:
    """One look after the other; everything it knows between two of them lies on disk."""

    def __init__(
        self, home: Path, make: Make, begin: Begin, read_gpus: Callable[[], Sequence[str]]
    ) -> None:
        self.home = home
        self._make = make
        self._begin = begin
        self._read_gpus = read_gpus
        self._gpus: tuple[str, ...] = ()

    def look(self) -> bool:
        """Take note of what ended, start what there is room for. False when nothing is left to do."""
        for item in list_queue(self.home).of(ItemStatus.RUNNING):
            self._look_at(item)
        queue = list_queue(self.home)
        if not queue.is_held:
            self._gpus = tuple(self._read_gpus()) or self._gpus  # a driver that reloads shows none
            for item in queue.of(ItemStatus.WAITING):
                if not list_queue(self.home).is_held:  # an item before it may have failed
                    self._start_if_room(item)
        return _is_needed(list_queue(self.home))

    def _look_at(self, item: QueueItem) -> None:
        if item.run is None:  # the runner was killed while it made the run
            self._set(item.changed(status=ItemStatus.WAITING))
            return
        run = RunDirectory(self.home / "runs" / item.run)
        if not run.path.is_dir():
            self._drop(item)
            return
        state, liveness = run.state(), run.liveness()
        if state.attempt == 0:  # the runner was killed before it began the run
            self._begin_or_fail(item, run, resume=False)
        elif liveness.status is Status.DEAD and state.boot_id not in (None, boot_id()):
            self._begin_or_fail(item, run, resume=True)
        elif liveness.status in (Status.FAILED, Status.KILLED, Status.DEAD, Status.BROKEN):
            self._fail(item, f"{run.short_id} {liveness.status.value}: {liveness.words}")
        elif not liveness.is_alive and liveness.status is not Status.ELSEWHERE:
            self._drop(item)  # finished; or stopped or released by a person, who knows

    def _start_if_room(self, item: QueueItem) -> None:
        try:
            asked = read_task_spec(item.path)
        except UserError as error:
            self._fail(item, str(error))
            return
        spec = place(asked, self._gpus, self._busy())
        if spec is None:
            return
        taken = item.changed(status=ItemStatus.RUNNING, gpus=spec.gpus, why=None)
        if not self._set(taken):
            return  # removed meanwhile
        try:
            run = self._make(self.home, spec)
        except Exception as error:  # whatever it is, the next item has its turn
            self._fail(item, str(error) if isinstance(error, UserError) else repr(error))
            return
        taken = taken.changed(run=run.id)
        self._set(taken)
        self._begin_or_fail(taken, run, resume=False)

    def _begin_or_fail(self, item: QueueItem, run: RunDirectory, resume: bool) -> None:
        try:
            self._begin(run, resume)
            _say(f"{item.id} {'goes on' if resume else 'runs'} as {run.id}")
        except UserError as error:
            self._fail(item, str(error))

    def _busy(self) -> frozenset[str]:
        """The places of all runs of this home on this machine, whoever started them."""
        busy: set[str] = set()
        for run in runs_under_way(self.home):
            with contextlib.suppress(UserError):
                busy |= slots_of(run.task_spec(), self._gpus)
        return frozenset(busy)

    def _fail(self, item: QueueItem, why: str) -> None:
        _say(f"{item.id} failed: {why}")
        with changing(self.home) as change:
            failed = item.changed(status=ItemStatus.FAILED, why=plain(why, 500))
            change.queue = change.queue.with_item(failed)
            if change.queue.stops_on_failure:
                because = f"held because {item.id} failed; `finetune-tui queue start` goes on"
                change.queue = change.queue.changed(is_held=True, held_because=because)

    def _drop(self, item: QueueItem) -> None:
        _say(f"{item.id} is done")
        with changing(self.home) as change:
            change.queue = change.queue.without(item.id)
            change.unneeded.append(item.path)

    def _set(self, item: QueueItem) -> bool:
        """Write how far an item is; False when it is not in the queue any more."""
        with changing(self.home) as change:
            is_there = any(other.id == item.id for other in change.queue.items)
            change.queue = change.queue.with_item(item)
        return is_there


def run_queue(runner: Runner) -> None:
    """Look until nothing is left to do. Raises UserError when another runner has this home."""
    post = _Post(runner.home)
    next_notice = 0.0
    try:
        while True:
            is_needed = runner.look()
            if time.monotonic() >= next_notice:
                notice_ends(runner.home)
                next_notice = time.monotonic() + _NOTICE_EVERY
            if not is_needed and post.leave_if_done():
                return
            time.sleep(_LOOK_EVERY)
    finally:
        post.stop_signing()


def main(arguments: Sequence[str] | None = None) -> int:
    words = list(sys.argv[1:] if arguments is None else arguments)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        run_queue(Runner(Path(words[0]), _make, _begin, visible_gpus))
    except (UserError, OSError) as error:
        _say(str(error))
        return getattr(error, "exit_code", 1)
    return 0


def _make(home: Path, spec: AnySpec) -> RunDirectory:
    from finetune_tui.core.calls.client import inspect_folder
    from finetune_tui.core.runs.launch import make_any_run

    return make_any_run(home, spec, inspect_folder)


def _begin(run: RunDirectory, resume: bool) -> None:
    start_run(run, resume=resume)


def _is_needed(queue: Queue) -> bool:
    return bool(
        queue.of(ItemStatus.RUNNING) or (queue.of(ItemStatus.WAITING) and not queue.is_held)
    )


class _Post:
    """What keeps a second runner away: a lock, and a record that is signed every few seconds."""

    def __init__(self, home: Path) -> None:
        """Raises UserError when another runner has this home."""
        self._home = home
        self._record = queue_folder(home) / RECORD
        self._record.parent.mkdir(parents=True, exist_ok=True)
        self._lock = _take_lock(self._record.with_name("runner.lock"))
        if (
            other := runner_state(home)
        ).is_alive:  # on a disk that does not lock, or not everywhere
            raise UserError(f"the queue has a runner: it {other.words}")
        self._over = threading.Event()
        self._sign()
        self._thread = threading.Thread(target=self._sign_on, name="sign", daemon=True)
        self._thread.start()

    def leave_if_done(self) -> bool:
        """Leave while nobody can add anything: who adds afterwards finds no runner and starts one."""
        with changing(self._home) as change:
            if _is_needed(change.queue):
                return False
            self.stop_signing()
            self._record.unlink(missing_ok=True)
            os.close(self._lock)
        return True

    def stop_signing(self) -> None:
        self._over.set()
        self._thread.join()

    def _sign_on(self) -> None:
        while not self._over.wait(_SIGN_EVERY):
            with contextlib.suppress(OSError):
                self._sign()

    def _sign(self) -> None:
        record = {
            "host": host_name(),
            "boot_id": boot_id(),
            "pid_namespace": pid_namespace(),
            "process": this_process().to_json(),
            "heartbeat": time.time(),
        }
        write_atomically(self._record, json.dumps(record) + "\n", durable=False)


def _take_lock(path: Path) -> int:
    """Raises UserError when another process holds it, after a moment: that one may be leaving."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return descriptor
        except BlockingIOError:
            if time.monotonic() >= deadline:
                os.close(descriptor)
                raise UserError("the queue has a runner") from None
        except OSError:  # a network disk without locks: the record is the next best
            return descriptor
        time.sleep(0.05)


def _say(words: str) -> None:
    print(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {plain(words, 500)}", flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
