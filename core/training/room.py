"""Room on the disk: how a full one is recognised, and a little kept back so that it can be said."""

import contextlib
import errno
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

_FULL = (errno.ENOSPC, errno.EDQUOT)
_FULL_WORDS = ("No space left on device", "Disk quota exceeded", "os error 28", "os error 122")


def is_disk_full(error: BaseException) -> bool:
    """Whether a write failed for want of room; safetensors says so in words alone."""
    if isinstance(error, OSError):
        return error.errno in _FULL
    return any(words in str(error) for words in _FULL_WORDS)


def free_bytes(folder: Path) -> int | None:
    """What the file system still takes; a quota may be narrower. None: it cannot be asked."""
    try:
        return shutil.disk_usage(folder).free
    except OSError:
        return None


@dataclass(frozen=True, slots=True)
class Ballast:
    """A file that is given up when the disk is full: its room is for the words that say so."""

    path: Path
    bytes: int = 2**18

    def lay(self) -> bool:
        """Take the room; False when there is none."""
        if self.path.exists():
            return True
        try:
            self.path.write_bytes(os.urandom(self.bytes))  # zeros may take no room at all
        except OSError:
            self.free()
            return False
        return True

    def free(self) -> None:
        with contextlib.suppress(OSError):
            self.path.unlink()
