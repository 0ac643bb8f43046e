"""Files that are complete or absent, never half written."""

import contextlib
import errno
import json
import os
import stat
import tempfile
from pathlib import Path
from typing import Any, BinaryIO

from finetune_tui.core.errors import UserError


def write_atomically(path: Path, content: str | bytes, durable: bool = True) -> None:
    """Write beside and rename over. `durable`: survive a power cut, not only a crash.

    Raises OSError (a full disk); the old content is then untouched and nothing is left beside it.
    """
    data = content.encode() if isinstance(content, str) else content
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(name).unlink()
        raise
    if durable:
        sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make a rename or a new file in `folder` survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def open_plain(path: Path) -> BinaryIO:
    """A file for reading without a buffer; never waits for anybody. Raises OSError, also for what is
    no plain file: opening a named pipe would block until somebody writes to it, a device may never end.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "not a plain file", str(path))
        return os.fdopen(descriptor, "rb", buffering=0)
    except BaseException:
        os.close(descriptor)
        raise


def read_json(path: Path, limit: int = 64 * 2**20) -> Any:
    """A JSON file's value. Raises UserError naming file and line; refuses files over `limit` bytes."""
    try:
        with open_plain(path) as file:
            if os.fstat(file.fileno()).st_size > limit:
                raise UserError(f"larger than {limit} bytes, so it is not read", where=str(path))
            return json.loads(file.read())
    except OSError as error:
        raise UserError(f"cannot be read ({error.strerror})", where=str(path)) from error
    except json.JSONDecodeError as error:
        raise UserError(f"not JSON ({error.msg})", where=f"{path}:{error.lineno}") from error
    except (ValueError, RecursionError) as error:  # bad UTF-8, thousands of digits, of brackets
        raise UserError(f"not JSON ({type(error).__name__})", where=str(path)) from error
