"""Answers that are worth training on, kept as rows of a JSONL file: added whole, or not at all."""

import contextlib
import errno
import fcntl
import json
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

from finetune_tui.core.errors import UserError, WorkFailed

_LOOKED_AT = 2**20  # bytes of a file's first line


def keep_example(path: Path, example: Mapping[str, Any]) -> int:
    """Add one row to the end of the file, made when it is not there; how many lines it has now.

    Raises UserError when its rows are of another kind (a run takes one kind from a file), WorkFailed when
    it cannot be written; the file is then as it was.
    """
    line = (json.dumps(example, ensure_ascii=False) + "\n").encode("utf-8", "replace")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(
            path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK | os.O_CLOEXEC, 0o644
        )
        with os.fdopen(descriptor, "rb+", buffering=0) as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise UserError("not a plain file", where=str(path))
            with contextlib.suppress(OSError):  # some network disks cannot lock
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            _require_same_kind(file, example, path)
            return _append(file, line)
    except OSError as error:
        raise WorkFailed(
            f"the example cannot be kept ({error.strerror})",
            where=str(path),
            hint="choose another file",
        ) from error


def _require_same_kind(file: BinaryIO, example: Mapping[str, Any], path: Path) -> None:
    file.seek(0)
    first = file.read(_LOOKED_AT).partition(b"\n")[0]
    if not first.strip():
        return
    try:
        keys = json.loads(first).keys()
    except (ValueError, AttributeError, RecursionError):
        raise UserError("its first line is no JSON row", where=str(path)) from None
    for kind in ("messages", "prompt"):
        if kind in example and kind not in keys:
            has = ", ".join(sorted(map(str, keys))[:5])
            raise UserError(
                f"its rows have {has}; this one has {' and '.join(example)}",
                where=str(path),
                hint="a file holds rows of one kind: choose another",
            )


def _append(file: BinaryIO, line: bytes) -> int:
    """All of the line, or the file as it was."""
    size = file.seek(0, os.SEEK_END)
    if size:
        file.seek(size - 1)
        line = line if file.read(1) == b"\n" else b"\n" + line
    try:
        if file.write(line) != len(line):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.fsync(file.fileno())
    except OSError:
        file.truncate(size)
        raise
    return _lines(file)


def _lines(file: BinaryIO) -> int:
    file.seek(0)
    found = 0
    while piece := file.read(2**20):
        found += piece.count(b"\n")
    return found
