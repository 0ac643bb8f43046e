"""Where each record of a file lies: one pass over its bytes, then any record in any order.

Kept in memory are 8 bytes a record, and 8 more when a record's line number is not its place in the file
(lines are blank, bad, or several to a record). Records themselves stay on the disk.
"""

import os
import weakref
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from operator import sub
from pathlib import Path
from typing import Any, Protocol

from finetune_tui.core.data.rows import BadRow, NotARowError
from finetune_tui.core.errors import WorkFailed
from finetune_tui.core.text import size

RECORD_LIMIT = 16 * 2**20
"""The longest record that is read, in bytes: more text than any model's context takes."""
_READ = RECORD_LIMIT + 4  # bytes: enough to see that a record is over the limit

OnBytes = Callable[[int], None]
"""Called every few MB with the bytes of this file done so far. What it raises ends the pass."""


class Layout(Protocol):
    """How records lie in one kind of file.

    scan: one pass over the file; raises UserError for a file that cannot be used at all.
    value: what the bytes from the begin of one record to the begin of the next hold; raises
    NotARowError.
    content: those bytes without what only stands between two records: equal for equal records.
    """

    def scan(self, path: Path, on_bytes: OnBytes) -> "Index": ...

    def value(self, raw: bytes) -> Any: ...

    def content(self, raw: bytes) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Index:
    """Records of one file. offsets: where each begins, in bytes; `end`: where the last one ends.

    lines: the line each begins on; None when record i is on line `first_line` + i.
    bad: what the pass itself found to be no record.
    """

    offsets: "array[int]"
    end: int
    lines: "array[int] | None"
    first_line: int
    bad: tuple[BadRow, ...]

    def __len__(self) -> int:
        return len(self.offsets)

    def line(self, record: int) -> int:
        return self.first_line + record if self.lines is None else self.lines[record]

    def bounds(self, record: int) -> tuple[int, int]:
        """(begin, end) in bytes; what lies between two records belongs to the first."""
        following = record + 1
        return self.offsets[record], (
            self.offsets[following] if following < len(self.offsets) else self.end
        )

    def keep(self, records: Sequence[int], bad: Sequence[BadRow]) -> "Index":
        """The same with only these records, and more known to be bad."""
        found = sorted((*self.bad, *bad), key=lambda one: one.line)
        if len(records) == len(self):
            return Index(self.offsets, self.end, self.lines, self.first_line, tuple(found))
        offsets = array("Q", (self.offsets[record] for record in records))
        lines = array("Q", (self.line(record) for record in records))
        end = self.bounds(records[-1])[1] if records else self.end
        return Index(offsets, end, lines, self.first_line, tuple(found))


class IndexBuilder:
    """Collects the records of a pass."""

    def __init__(self, first_line: int = 1) -> None:
        self._offsets = array("Q")
        self._lines: array[int] | None = None
        self._first_line = first_line

    def add(self, offset: int, line: int) -> None:
        offsets = self._offsets
        if self._lines is not None:
            self._lines.append(line)
        elif line != self._first_line + len(offsets):
            first = self._first_line
            self._lines = array("Q", range(first, first + len(offsets)))
            self._lines.append(line)
        offsets.append(offset)

    def index(self, end: int, bad: Sequence[BadRow] = ()) -> Index:
        return Index(self._offsets, end, self._lines, self._first_line, tuple(bad))


class IndexedFile:
    """A file whose records can be read in any order, from several threads of one process.

    path: the file read. shown: the file a person knows it by (a Parquet file is read as JSON lines).
    """

    def __init__(self, path: Path, shown: Path, layout: Layout, on_bytes: OnBytes) -> None:
        self.path = path
        self.shown = shown
        self.layout = layout
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        weakref.finalize(self, os.close, descriptor)
        self._descriptor = descriptor
        self._state = _state(descriptor)
        self.index = layout.scan(path, on_bytes)
        self._require_unchanged()

    @property
    def length(self) -> int:
        """Bytes of the file."""
        return self._state[0]

    def value(self, record: int) -> Any:
        """The value of a record. Raises NotARowError, or WorkFailed when the file was written to."""
        return self.layout.value(self.raw(record))

    def raw(self, record: int) -> bytes:
        """Bytes of a record; raises as `value` does."""
        begin, end = self.index.bounds(record)
        self._require_unchanged()
        # One record may stand before a long gap or a line over the limit: never hold that whole.
        return os.pread(self._descriptor, min(end - begin, _READ), begin)

    def contents(self) -> Iterator[bytes]:
        """What each record holds, in order, read in one go; for comparing records.

        Of a record over the limit only the begin counts.
        """
        content = self.layout.content
        begins = self.index.offsets
        ends = chain(islice(begins, 1, None), [self.index.end])
        with self.path.open("rb", buffering=2**20) as file:  # with a place of its own in the file
            self._require_unchanged(file.fileno())
            file.seek(begins[0] if begins else 0)
            for length in map(sub, ends, begins):  # each record ends where the next begins
                yield content(file.read(min(length, _READ)))
                if length > _READ:
                    file.seek(length - _READ, os.SEEK_CUR)

    def _require_unchanged(self, descriptor: int | None = None) -> None:
        if _state(self._descriptor if descriptor is None else descriptor) != self._state:
            raise WorkFailed(
                "the file was changed while it was in use",
                where=str(self.shown),
                hint="leave data alone until the run is over, then start again",
            )


def too_long() -> NotARowError:
    return NotARowError(f"the line is longer than {size(RECORD_LIMIT)}")


def _state(descriptor: int) -> tuple[int, int]:
    status = os.fstat(descriptor)
    return status.st_size, status.st_mtime_ns
