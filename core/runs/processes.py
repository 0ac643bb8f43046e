"""Processes by more than their number: a pid is reused, a pid with its start time is not."""

import functools
import os
import socket
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class ProcessId:
    """start_time: kernel ticks since boot on Linux, seconds since 1970 elsewhere; only compared."""

    pid: int
    start_time: str

    def to_json(self) -> dict[str, Any]:
        return {"pid": self.pid, "start_time": self.start_time}

    @staticmethod
    def from_json(value: Any) -> "ProcessId | None":
        """The process a state file names, or None when it names none."""
        if not isinstance(value, dict):
            return None
        pid, start_time = value.get("pid"), value.get("start_time")
        if type(pid) is not int or not 0 < pid < 2**31 or not isinstance(start_time, str):
            return None
        return ProcessId(pid, start_time)


def this_process() -> ProcessId:
    return process_of(os.getpid()) or ProcessId(os.getpid(), "")


def process_of(pid: int) -> ProcessId | None:
    """The live process with this number, or None: gone, or a zombie that waits to be reaped."""
    start_time = _start_time(pid)
    return None if start_time is None else ProcessId(pid, start_time)


def is_alive(process: ProcessId) -> bool:
    """Whether this very process lives on this machine, not another one that got its number."""
    return process_of(process.pid) == process


def host_name() -> str:
    return socket.gethostname()


@functools.cache
def boot_id() -> str:
    """Changes with every start of the machine."""
    try:
        return (_PROC / "sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        import psutil

        return str(int(psutil.boot_time()))


@functools.cache
def pid_namespace() -> str | None:
    """Containers count their own pids: two of them on one machine differ here. None: not Linux."""
    try:
        return str((_PROC / "self/ns/pid").readlink())
    except OSError:
        return None


def _start_time(pid: int) -> str | None:
    if not sys.platform.startswith("linux"):
        return _start_time_elsewhere(pid)
    try:
        stat = (_PROC / str(pid) / "stat").read_bytes()
    except OSError:
        return None
    # The command's name stands in brackets and may itself hold brackets and spaces.
    fields = stat.rpartition(b")")[2].split()
    if len(fields) < 20 or fields[0] in (b"Z", b"X", b"x"):
        return None
    return fields[19].decode("ascii", "replace")


def _start_time_elsewhere(pid: int) -> str | None:
    import psutil

    try:
        process = psutil.Process(pid)
        if process.status() in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD):
            return None
        return f"{process.create_time():.2f}"
    except psutil.Error:
        return None
