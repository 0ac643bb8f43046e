"""What the kernel's control groups say about memory: a container's real limit, and kills."""

import contextlib
from dataclasses import dataclass
from pathlib import Path

_NO_LIMIT = 2**60  # cgroup v1 writes "no limit" as a number near 2**63


@dataclass(frozen=True, slots=True)
class MemoryGroup:
    """Bytes, None where the kernel does not say. `used` leaves out file cache it can drop."""

    limit: int | None
    used: int | None


def memory_group(proc: Path = Path("/proc/self"), root: Path | None = None) -> MemoryGroup:
    """The tightest memory limit on this process, with what is used under it. Never raises."""
    tightest = MemoryGroup(None, None)
    for folder in _memory_folders(proc, root):
        limit = _number(folder / "memory.max", folder / "memory.limit_in_bytes")
        if limit is None or limit >= _NO_LIMIT:
            continue
        if tightest.limit is None or limit < tightest.limit:
            tightest = MemoryGroup(limit, _used(folder))
    return tightest


def oom_kills(proc: Path = Path("/proc/self"), root: Path | None = None) -> int | None:
    """How many processes the kernel has killed here for want of memory; None when it does not say.

    Only a difference between two readings means anything. The counter of a group covers the groups
    below it; where no group has one (the root group), the machine's own counter is read.
    """
    for folder in _memory_folders(proc, root):
        for name in ("memory.events", "memory.oom_control"):
            found = _keyed_number(folder / name, "oom_kill")
            if found is not None:
                return found
    return _keyed_number(proc.parent / "vmstat", "oom_kill")


def _memory_folders(proc: Path, root: Path | None) -> list[Path]:
    """The folders that count this process's memory, the innermost first, the mount point last.

    Inside a container the path in /proc may be the host's, which the container cannot see: then
    only the mount point exists, and it is the container's own group.
    """
    top = root or Path("/sys/fs/cgroup")
    folders: list[Path] = []
    for line in _lines(proc / "cgroup"):
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        mounts = [top, top / "unified"] if not controllers else [top / "memory"]
        if controllers and "memory" not in controllers.split(","):
            continue
        for mount in mounts:
            inner = mount / path.lstrip("/")
            while inner != mount and mount in inner.parents:
                folders.append(inner)
                inner = inner.parent
            folders.append(mount)
    return folders


def _used(folder: Path) -> int | None:
    used = _number(folder / "memory.current", folder / "memory.usage_in_bytes")
    if used is None:
        return None
    for key in ("total_inactive_file", "inactive_file"):
        cache = _keyed_number(folder / "memory.stat", key)
        if cache is not None:
            return max(used - cache, 0)
    return used


def _number(*paths: Path) -> int | None:
    for path in paths:
        with contextlib.suppress(OSError, ValueError):
            return int(path.read_text())
    return None


def _keyed_number(path: Path, key: str) -> int | None:
    for line in _lines(path):
        name, _, value = line.partition(" ")
        if name == key:
            with contextlib.suppress(ValueError):
                return int(value)
    return None


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(errors="replace").splitlines()
    except OSError:
        return []
