"""Rows of training data from files of any size: opened in one pass, then read in any order."""

import hashlib
import heapq
import os
import random
from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import overload
from zlib import crc32

from platformdirs import user_cache_path

from finetune_tui.core.data.converting import as_json_lines
from finetune_tui.core.data.finding import find_files
from finetune_tui.core.data.formats import row_from
from finetune_tui.core.data.index import IndexedFile
from finetune_tui.core.data.json_lines import JsonLines
from finetune_tui.core.data.kinds import is_parquet, layout_of, not_readable
from finetune_tui.core.data.rows import BadRow, BadRowError, Format, NotARowError, Row
from finetune_tui.core.errors import UserError

SMALL = 64 * 2**20
"""Bytes up to which every row is read and checked when it is opened."""
CHECKED = 1000
"""Rows from the begin, and as many from anywhere, that are checked of what is larger."""
MOST_HELD_OUT = 2000
"""Rows held out of what is larger: enough for an eval loss, few enough to take it often."""
MOST_BAD = 100_000
MAX_COLUMNS = 64
"""How many different field names are remembered: a broken file may have one per row."""

OnProgress = Callable[[int, int], None]
"""Called with (bytes done, bytes in all) while files are read. What it raises ends the reading."""


class Rows(Sequence[Row]):
    """Rows of one format, in the order of their files; each is read from the disk when asked for.

    sources: what was named. files: what that is on the disk. columns: names of all fields seen in
    usable rows, used or not. bad_rows: the lines known to be unusable; is_checked: those are all there
    are, so that no access raises. notes: remarks in words. Safe for several threads of one process.
    """

    def __init__(
        self,
        sources: tuple[str, ...],
        files: Sequence[IndexedFile],
        kind: Format,
        columns: tuple[str, ...],
        bad_rows: tuple[BadRow, ...],
        is_checked: bool,
        picked: Sequence[int] | None = None,
        notes: tuple[str, ...] = (),
    ) -> None:
        self.sources = sources
        self._indexed = tuple(files)
        self.files = tuple(file.shown for file in files)
        self.format = kind
        self.columns = columns
        self.bad_rows = bad_rows
        self.is_checked = is_checked
        self.bytes = sum(file.length for file in files)
        self.is_large = self.bytes > SMALL
        self.notes = notes
        self._begins = [0]
        for file in files:
            self._begins.append(self._begins[-1] + len(file.index))
        self._picked = range(self._begins[-1]) if picked is None else picked

    def __len__(self) -> int:
        return len(self._picked)

    @overload
    def __getitem__(self, index: int) -> Row: ...

    @overload
    def __getitem__(self, index: slice) -> "Rows": ...

    def __getitem__(self, index: int | slice) -> "Row | Rows":
        """One row, or some of them. Raises BadRowError (never when `is_checked`), IndexError, and
        WorkFailed when the file was changed meanwhile.
        """
        if isinstance(index, slice):
            return self.pick(range(*index.indices(len(self))))
        file, record = self._find(self._picked[index])
        line = file.index.line(record)
        try:
            return row_from(file.value(record), file.shown, line, self.format)
        except NotARowError as error:
            raise BadRowError(BadRow(file.shown, line, str(error))) from None

    def where(self, index: int) -> str:
        """'file:line' of a row, without reading it."""
        file, record = self._find(self._picked[index])
        return f"{file.shown}:{file.index.line(record)}"

    def bytes_of(self, index: int) -> int:
        """How many bytes a row takes in its file, without reading it."""
        file, record = self._find(self._picked[index])
        begin, end = file.index.bounds(record)
        return end - begin

    def sample(self, most: int, seed: int = 0) -> list[int]:
        """Up to `most` places of rows, drawn evenly by `seed`, in order; all of them when that is few."""
        if len(self) <= most:
            return list(range(len(self)))
        return sorted(random.Random(seed).sample(range(len(self)), most))

    def pick(self, indices: Sequence[int], notes: tuple[str, ...] = ()) -> "Rows":
        """Only these rows, in this order."""
        return Rows(
            self.sources,
            self._indexed,
            self.format,
            self.columns,
            self.bad_rows,
            self.is_checked,
            indices if self._is_whole else [self._picked[index] for index in indices],
            (*self.notes, *notes),
        )

    def contents(self) -> Iterator[bytes]:
        """The bytes of each row in order, for comparing them; one pass over the files, nothing parsed."""
        if self._is_whole:
            for file in self._indexed:
                yield from file.contents()
        else:
            for place in self._picked:
                file, record = self._find(place)
                yield file.layout.content(file.raw(record))

    @property
    def _is_whole(self) -> bool:
        """Whether these are all rows of the files, in their order."""
        return self._picked == range(self._begins[-1])

    def _find(self, place: int) -> tuple[IndexedFile, int]:
        number = bisect_right(self._begins, place) - 1
        return self._indexed[number], place - self._begins[number]


def open_rows(
    sources: Sequence[str | Path],
    strict: bool = False,
    progress: OnProgress | None = None,
    cache: Path | None = None,
) -> Rows:
    """Open files, folders or data sets of the Hub, of one common format.

    cache: a folder for what is made of Parquet files, and for records of downloads; None: the platform's.
    The first usable row fixes the format; rows of another are bad rows. Up to SMALL bytes, or when
    `strict`, every row is checked here; of more, the first ones and a sample. Raises UserError or
    WorkFailed for a source that cannot be had or read, UserError when it has no usable row, and, when
    `strict`, for the first bad row.
    """
    if not sources:
        raise UserError("no data file is named")
    cache = cache or user_cache_path("finetune-tui") / "data"
    files = _opened(sources, cache, progress or _nobody)
    every = strict or sum(file.length for file in files) <= SMALL
    check = _Check(strict, progress or _nobody)
    for file in files:
        check.every(file) if every else check.some(file)
    if check.format is None:  # cannot be: each file has a usable row
        raise UserError("no usable row")
    named = tuple(os.fspath(source) for source in sources)
    return Rows(named, files, check.format, check.columns, tuple(check.bad), is_checked=every)


def held_out_size(rows: int, eval_split: float, is_large: bool) -> int:
    """How many rows `split` holds out at most: at least one when there are two, never all.

    Raises UserError for what is no share from 0 up to but not including 1.
    """
    if not 0 <= eval_split < 1:
        raise UserError(f"{eval_split} is not a share from 0 to below 1", where="eval_split")
    if not eval_split or rows < 2:
        return 0
    wanted = min(max(round(rows * eval_split), 1), rows - 1)
    return min(wanted, MOST_HELD_OUT) if is_large else wanted


def split(
    rows: Rows, eval_split: float, seed: int, progress: OnProgress | None = None
) -> tuple[Rows, Rows]:
    """Rows to train on and rows held out, each in their own order; the same for the same seed.

    Which rows depends on their content and the seed, not on their order, and equal rows stay together:
    a held-out row is never one that was trained on, unless all rows are equal. Of more than SMALL bytes
    at most MOST_HELD_OUT rows are held out, and equal means equal bytes; one more pass is made.
    """
    wanted = held_out_size(len(rows), eval_split, rows.is_large)
    if not wanted:
        return rows, rows[:0]
    if rows.is_large:
        held_out = _held_out_of_many(rows, wanted, seed, progress or _nobody)
    else:
        held_out = _held_out(rows, wanted, seed)
    notes = (
        (f"{len(held_out)} rows are held out, the most of a large file",) if rows.is_large else ()
    )
    return rows.pick(_Without(len(rows), held_out)), rows.pick(held_out, notes)


class _Check:
    """Reads rows to know their format, their fields, and which are none."""

    def __init__(self, strict: bool, progress: OnProgress) -> None:
        self._progress = progress
        self.format: Format | None = None
        self.bad: list[BadRow] = []
        self._strict = strict
        self._columns: dict[str, None] = {}

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(self._columns)[:MAX_COLUMNS]

    def every(self, file: IndexedFile) -> None:
        """Leave only usable rows in the file's index."""
        before = len(self.bad)
        usable = self._usable(file, range(len(file.index)))
        file.index = file.index.keep(usable, self.bad[before:])

    def some(self, file: IndexedFile) -> None:
        """Look at the first rows, and at as many from anywhere."""
        number = len(file.index)
        anywhere = random.Random(0).sample(range(number), min(CHECKED, number))
        self._usable(file, sorted({*range(min(CHECKED, number)), *anywhere}))

    def _usable(self, file: IndexedFile, records: Sequence[int]) -> "array[int]":
        before = len(self.bad)
        for bad in file.index.bad:
            self._add_bad(bad)
        usable = array("Q")
        for number, record in enumerate(records):
            if number % 4096 == 0:
                self._progress(file.index.offsets[record], file.length)
            line = file.index.line(record)
            try:
                value = file.value(record)
                self.format = row_from(value, file.shown, line, self.format).kind
                usable.append(record)
                if len(self._columns) < MAX_COLUMNS:
                    self._columns.update(dict.fromkeys(value))
            except NotARowError as error:
                self._add_bad(BadRow(file.shown, line, str(error)))
        self.bad[before:] = sorted(self.bad[before:], key=lambda bad: bad.line)
        if not usable:
            raise _nothing_usable(file.shown, self.bad[before:])
        return usable

    def _add_bad(self, bad: BadRow) -> None:
        self.bad.append(bad)
        if self._strict:
            hint = "mend the line, or read without --strict to use the others"
            raise UserError(bad.error, where=f"{bad.path}:{bad.line}", hint=hint)
        if len(self.bad) > MOST_BAD:
            first = self.bad[0]
            words = f"more than {MOST_BAD} lines are no rows; this one: {first.error}"
            raise UserError(words, where=f"{first.path}:{first.line}")


class _Without(Sequence[int]):
    """The numbers from 0 to below `total` but some, without listing them. removed: in order."""

    def __init__(self, total: int, removed: Sequence[int]) -> None:
        self._length = total - len(removed)
        self._gaps = array("Q", (place - number for number, place in enumerate(removed)))

    def __len__(self) -> int:
        return self._length

    @overload
    def __getitem__(self, index: int) -> int: ...

    @overload
    def __getitem__(self, index: slice) -> "list[int]": ...

    def __getitem__(self, index: int | slice) -> "int | list[int]":
        if isinstance(index, slice):
            return [self[one] for one in range(*index.indices(self._length))]
        if not -self._length <= index < self._length:
            raise IndexError(index)
        index %= self._length
        return index + bisect_right(self._gaps, index)


def _held_out(rows: Rows, wanted: int, seed: int) -> list[int]:
    ranks = [_rank(f"{seed}\n{row.content}".encode()) for row in rows]
    ranked = sorted(range(len(ranks)), key=ranks.__getitem__)
    groups = [list(group) for _, group in groupby(ranked, key=ranks.__getitem__)]
    if len(groups) == 1:
        return sorted(groups[0][:wanted])
    smallest: list[int] = min(groups, key=len)
    return sorted(_whole_groups(groups, wanted) or smallest)


def _held_out_of_many(rows: Rows, wanted: int, seed: int, progress: OnProgress) -> list[int]:
    """The groups of equal rows that rank lowest, found in one pass with `wanted` groups in memory."""
    drawn = hashlib.blake2b(str(seed).encode(), digest_size=8).digest()
    begin, factor = int.from_bytes(drawn[:4]), int.from_bytes(drawn[4:]) | 1
    groups: dict[int, list[int]] = {}
    highest: list[int] = []  # a heap of the negated ranks in `groups`
    bound = 2**32
    for place, content in enumerate(rows.contents()):
        if place % 2**16 == 0:
            progress(place * rows.bytes // len(rows), rows.bytes)
        # A third of what a digest costs. Two rows that fall together by chance only stay together.
        rank = crc32(content, begin) * factor % 2**32
        if rank > bound:
            continue
        if rank not in groups:
            groups[rank] = []
            heapq.heappush(highest, -rank)
            if len(groups) > wanted:
                del groups[-heapq.heappop(highest)]
                bound = -highest[0]
        if (group := groups.get(rank)) is not None and len(group) <= wanted:
            group.append(place)
    return sorted(_whole_groups([groups[rank] for rank in sorted(groups)], wanted))


def _whole_groups(groups: Sequence[Sequence[int]], wanted: int) -> list[int]:
    """As many of the first groups as fit, each whole."""
    chosen: list[int] = []
    for group in groups:
        if len(chosen) + len(group) <= wanted:
            chosen.extend(group)
    return chosen


def _rank(content: bytes) -> bytes:
    """A number drawn by seed and content alone, so that no library's shuffle is part of it."""
    return hashlib.blake2b(content, digest_size=16).digest()


def _opened(sources: Sequence[str | Path], cache: Path, progress: OnProgress) -> list[IndexedFile]:
    """Fetch, convert and index what the sources name; each of these is told from 0 to its own total."""
    paths = [path for source in sources for path in find_files(source, cache, progress)]
    read = [_converted(path, cache, progress) if is_parquet(path) else path for path in paths]
    total = sum(path.stat().st_size for path in read)
    files: list[IndexedFile] = []
    for path, shown in zip(read, paths, strict=True):
        before = sum(file.length for file in files)

        def so_far(now: int, before: int = before) -> None:
            progress(before + now, total)

        try:
            layout = JsonLines() if is_parquet(shown) else layout_of(path)
            files.append(IndexedFile(path, shown, layout, so_far))
        except OSError as error:
            raise not_readable(shown, error) from error
    return files


def _converted(path: Path, cache: Path, progress: OnProgress) -> Path:
    length = path.stat().st_size
    return as_json_lines(path, cache, lambda done: progress(done, length))


def _nobody(_done: int, _total: int) -> None:
    return


def _nothing_usable(path: Path, bad_rows: Sequence[BadRow]) -> UserError:
    if not bad_rows:
        return UserError(
            "the file holds no rows, only blank lines or an empty list", where=str(path)
        )
    first = bad_rows[0]
    others = f" (and {len(bad_rows) - 1} more)" if len(bad_rows) > 1 else ""
    return UserError(f"no usable row: {first.error}{others}", where=f"{path}:{first.line}")
