"""Processes that go on without whoever started them: in a session, and where needed a scope, of their own."""

import contextlib
import errno
import os
import shutil
import stat
import subprocess
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import BinaryIO


def spawn_detached(
    command: Sequence[str],
    log: Path | None = None,
    variables: Mapping[str, str] | None = None,
    pass_fds: tuple[int, ...] = (),
) -> "subprocess.Popen[bytes]":
    """Start a process that no closed terminal ends and that never waits for a reader. Raises OSError.

    log: where its words go; without it nowhere. variables: beside this process's environment.
    """
    with open_log(log) if log else Path(os.devnull).open("ab") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env={**os.environ, "PYTHONSAFEPATH": "1", **(variables or {})},
            pass_fds=pass_fds,
            start_new_session=True,
        )
    # Reap it when it ends, so that it is no zombie while this process lives.
    threading.Thread(target=process.wait, daemon=True, name="reap").start()
    return process


def open_log(path: Path) -> BinaryIO:
    """A file to append to, made when it is missing. Raises OSError, also where a pipe would block."""
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK | os.O_CLOEXEC
    descriptor = os.open(path, flags, 0o644)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "not a plain file", str(path))
    return os.fdopen(descriptor, "ab", buffering=0)


def outliving_login() -> list[str]:
    """The words before a command that put it outside the login's own group of processes."""
    if shutil.which("systemd-run") and _kills_user_processes():
        return ["systemd-run", "--user", "--scope", "--quiet", "--collect", "--"]
    return []


def ends_at_logout() -> str | None:
    """For `doctor`: the fix, when this machine ends a person's processes as they log out."""
    if not _kills_user_processes() or _lingers():
        return None
    return "runs end when you log out: `loginctl enable-linger` lets them go on"


def _kills_user_processes() -> bool:
    if not Path("/run/systemd/system").is_dir() or not os.environ.get("XDG_RUNTIME_DIR"):
        return False
    return _answer(
        "busctl",
        "get-property",
        "org.freedesktop.login1",
        "/org/freedesktop/login1",
        "org.freedesktop.login1.Manager",
        "KillUserProcesses",
    ).endswith("true")


def _lingers() -> bool:
    return _answer("loginctl", "show-user", str(os.getuid()), "--property=Linger") == "Linger=yes"


def _answer(*command: str) -> str:
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=3
        )
        return done.stdout.strip()
    return ""
