"""Parquet, once: turned into JSON lines in a cache folder, by a process of its own.

The name there says which file it was: path, size and time of its last change. What is in the folder may
be deleted at any time; it is made again.
"""

import errno
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from finetune_tui.core.errors import UserError, WorkFailed
from finetune_tui.core.text import plain

_VERSION = 1  # of how rows are written


def as_json_lines(path: Path, cache: Path, on_bytes: Callable[[int], None]) -> Path:
    """The JSON lines of a Parquet file: line n is row n. Converted first when there are none yet.

    on_bytes: called with the share done, in bytes of `path`; what it raises ends the work. Raises
    UserError for a file that cannot be read, WorkFailed for a full disk.
    """
    place, state = _keys(path)
    kept = cache / "parquet" / f"{place}-{state}.jsonl"
    if kept.is_file():
        return kept
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".", dir=kept.parent) as folder:
            half = Path(folder) / "half.jsonl"
            _convert(path, half, on_bytes)
            half.replace(kept)
        for old in kept.parent.glob(f"{place}-*.jsonl"):
            if old != kept:
                old.unlink(missing_ok=True)
    except OSError as error:
        raise _disk(error.errno, cache, error.strerror) from error
    return kept


def _keys(path: Path) -> tuple[str, str]:
    """(which file it is, in what state), each as letters for a file's name."""
    whole = path.resolve()
    status = whole.stat()
    state = f"{_VERSION} {status.st_size} {status.st_mtime_ns}"
    return _digest(os.fsencode(whole)), _digest(state.encode())


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:20]


def _convert(path: Path, half: Path, on_bytes: Callable[[int], None]) -> None:
    command = [
        sys.executable,
        "-m",
        "finetune_tui.core.data.parquet",
        str(path.resolve()),
        str(half),
    ]
    length = path.stat().st_size
    last: dict[str, Any] = {}
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONSAFEPATH": "1"},
        encoding="utf-8",
    ) as process:
        try:
            for line in process.stdout or ():
                last = json.loads(line)
                if last.get("total"):
                    on_bytes(length * last["done"] // last["total"])
        except BaseException:
            process.kill()
            raise
    if "error" in last:
        if last.get("errno") in (errno.ENOSPC, errno.EDQUOT):
            raise _disk(last["errno"], half.parent, last["error"])
        raise _damaged(path, last["error"])
    if process.returncode or "done" not in last or last["done"] != last["total"]:
        raise _damaged(path, "it ends the program that reads it")


def _damaged(path: Path, why: str) -> UserError:
    hint = "download it again, or write it again with another program"
    return UserError(f"not readable as Parquet ({plain(why, 160)})", where=str(path), hint=hint)


def _disk(number: int | None, cache: Path, why: str | None) -> WorkFailed:
    if number in (errno.ENOSPC, errno.EDQUOT):
        hint = "make room: a Parquet file is unpacked once before it is read"
        return WorkFailed("the disk is full", where=str(cache), hint=hint)
    return WorkFailed(f"cannot be written ({why})", where=str(cache))
