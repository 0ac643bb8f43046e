"""Answers as they come, on disk: a comparison that was killed goes on behind the last one it wrote.

<compare run>/answers.jsonl   first what was asked, as a digest; then one line an answer
"""

import contextlib
import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

from finetune_tui.core.evidence.comparison import Which
from finetune_tui.core.files import open_plain
from finetune_tui.core.runs.directory import RunDirectory

Who = Literal["base", "tuned"]
Key = tuple[Which, Who, int]
"""Of which set, by whom, and the row's number in it."""


class Answers:
    """Every answer there is. asked: a digest of all that they depend on; with another one nothing is kept."""

    def __init__(self, path: Path, asked: str) -> None:
        self._path = path
        self._asked = asked
        self._texts: dict[Key, str] = {}
        self._is_begun = False
        whole = 0
        with contextlib.suppress(OSError), open_plain(path) as file:
            whole = self._read(file.read())
        if self._is_begun:
            os.truncate(path, whole)  # a torn line at the end

    def __len__(self) -> int:
        return len(self._texts)

    def __getitem__(self, key: Key) -> str:
        return self._texts[key]

    def missing(self, which: Which, who: Who, rows: int) -> list[int]:
        """The numbers below `rows` without an answer."""
        return [number for number in range(rows) if (which, who, number) not in self._texts]

    def add(self, which: Which, who: Who, numbers: Sequence[int], texts: Sequence[str]) -> None:
        """Write them down; they stay when the process dies. Raises OSError, and then nothing is kept."""
        lines = b""
        if not self._is_begun:
            lines += _line({"asked": self._asked})
        for number, text in zip(numbers, texts, strict=True):
            lines += _line({"set": which, "who": who, "number": number, "text": text})
        self._append(lines)
        self._is_begun = True
        for number, text in zip(numbers, texts, strict=True):
            self._texts[which, who, number] = text

    def _append(self, lines: bytes) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC
        flags |= os.O_APPEND if self._is_begun else os.O_TRUNC
        file = os.open(self._path, flags, 0o644)
        before = os.fstat(file).st_size
        try:
            left = lines
            while left:
                left = left[os.write(file, left) :]
        except OSError:
            os.ftruncate(file, before)
            raise
        finally:
            os.close(file)

    def _read(self, data: bytes) -> int:
        """Take what is whole; how many bytes that are."""
        whole = 0
        for line in data.splitlines(keepends=True):
            if not line.endswith(b"\n"):
                break
            try:
                self._take(json.loads(line))
            except (ValueError, KeyError, TypeError, RecursionError):
                break
            if not self._is_begun:
                break
            whole += len(line)
        return whole

    def _take(self, value: Any) -> None:
        if not self._is_begun:
            self._is_begun = value["asked"] == self._asked
            return
        who: Who = "base" if value["who"] == "base" else "tuned"
        self._texts[Which(value["set"]), who, int(value["number"])] = str(value["text"])


def digest_of(parts: Iterable[Any]) -> str:
    """Of values that JSON holds."""
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        digest.update(json.dumps(part).encode() + b"\n")
    return digest.hexdigest()


def stamp_of(run: RunDirectory) -> list[list[Any]]:
    """What tells that a run's result is still the same: name, size and time of its files."""
    files = [run.trained, *(run.adapter.glob("*") if run.adapter.is_dir() else ())]
    found = []
    for path in sorted(files):
        with contextlib.suppress(OSError):
            stat = path.stat()
            found.append([path.name, stat.st_size, stat.st_mtime_ns])
    return found


def _line(value: Any) -> bytes:
    return json.dumps(value).encode() + b"\n"
