"""One worker at a time on a run: a lock that lives exactly as long as the processes that hold it.

Whoever starts a supervisor takes the lock and hands it on; the supervisor hands it to its worker.
All of them hold one open file, so that the lock is free only when the last of them is gone, however
it went.
"""

import contextlib
import errno
import fcntl
import os
import time
from dataclasses import dataclass

from finetune_tui.core.errors import UserError
from finetune_tui.core.runs.directory import RunDirectory
from finetune_tui.core.text import plain

LOCK_VARIABLE = "FINETUNE_TUI_LOCK_FD"

_CANNOT_LOCK = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)


@dataclass(frozen=True, slots=True)
class RunLock:
    """The open file that holds the lock; pass it on with `pass_fds` and LOCK_VARIABLE."""

    descriptor: int

    @property
    def variables(self) -> dict[str, str]:
        """What a child that inherits the file needs in its environment."""
        return {LOCK_VARIABLE: str(self.descriptor)}

    def close(self) -> None:
        """Let go in this process alone: whoever inherited the lock still holds it."""
        with contextlib.suppress(OSError):
            os.close(self.descriptor)


def take_lock(run: RunDirectory, patience: float = 0.0) -> RunLock:
    """Take the lock or raise UserError, after trying for `patience` seconds."""
    try:
        descriptor = os.open(run.lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise UserError(f"cannot be opened ({error.strerror})", where=str(run.lock_path)) from error
    deadline = time.monotonic() + patience
    try:
        while not _try_lock(run, descriptor):
            if time.monotonic() >= deadline:
                raise UserError(f"{plain(run.short_id)} is already running{_holder(descriptor)}")
            time.sleep(0.05)
        _sign(descriptor)
    except BaseException:
        os.close(descriptor)
        raise
    return RunLock(descriptor)


def adopt_or_take_lock(run: RunDirectory) -> RunLock:
    """The lock that the parent handed on, else a new one. Raises UserError when another holds it.

    Keep the result for the life of the process. Processes started from here do not inherit it.
    """
    handed = os.environ.pop(LOCK_VARIABLE, None)
    if handed is None:
        return take_lock(run)
    if handed.isascii() and handed.isdigit() and _is_lock_of(run, int(handed)):
        lock = RunLock(int(handed))
        os.set_inheritable(lock.descriptor, False)
        _sign(lock.descriptor)
        return lock
    # Something between parent and child closed the file: the parent lets go when it has started us.
    return take_lock(run, patience=15.0)


def is_locked(run: RunDirectory) -> bool:
    """Whether any process holds the run now. Never raises."""
    try:
        descriptor = os.open(run.lock_path, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return not _try_lock(run, descriptor)
    finally:
        os.close(descriptor)


def _try_lock(run: RunDirectory, descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _CANNOT_LOCK:
            raise UserError(
                f"cannot be locked ({error.strerror})", where=str(run.lock_path)
            ) from error
        # A network disk without locks: the pids in the state are the next best.
        state = run.state()
        return not ((state.supervisor or state.worker) and run.liveness().is_alive)
    return True


def _is_lock_of(run: RunDirectory, descriptor: int) -> bool:
    try:
        ours, theirs = os.fstat(descriptor), run.lock_path.stat()
    except (OSError, OverflowError):
        return False
    return (ours.st_dev, ours.st_ino) == (theirs.st_dev, theirs.st_ino)


def _sign(descriptor: int) -> None:
    """Leave our pid for the words of whoever is refused; on a full disk there is none."""
    with contextlib.suppress(OSError):
        os.pwrite(descriptor, f"{os.getpid():<10}\n".encode(), 0)


def _holder(descriptor: int) -> str:
    with contextlib.suppress(OSError, ValueError):
        return f" (pid {int(os.pread(descriptor, 11, 0))})"
    return ""
