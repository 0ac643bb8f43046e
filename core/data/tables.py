"""CSV and TSV: records may span lines, quotes and line breaks inside them are right, lines are exact.

The first record names the columns. How a record is read is the standard library's csv in its strict
mode: a quote out of place is an error here, not silently part of a text.
"""

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from finetune_tui.core.data.formats import READ_FIELDS
from finetune_tui.core.data.index import RECORD_LIMIT, Index, IndexBuilder, OnBytes, too_long
from finetune_tui.core.data.json_lines import BOM
from finetune_tui.core.data.rows import BadRow, NotARowError
from finetune_tui.core.errors import UserError
from finetune_tui.core.text import plain

_DELIMITERS = (",", ";", "\t", "|")
_TOLD_EVERY = 2**23  # bytes
# An empty cell is the only way a table has to say that there is none.
_MAY_BE_EMPTY = frozenset({"text", "prompt", "completion", "instruction", "output"})
_NEVER_CLOSED = "a quote is opened and never closed; what follows is not read"

# The standard library's limit for a cell, 128 KiB, is one for the whole process.
csv.field_size_limit(max(RECORD_LIMIT, csv.field_size_limit()))


class Table:
    """Records under a line of column names. delimiter: None is found out from that line."""

    def __init__(self, delimiter: str | None) -> None:
        self._delimiters = (delimiter,) if delimiter else _DELIMITERS
        self._delimiter = ""
        self._columns: list[str] = []

    def scan(self, path: Path, on_bytes: OnBytes) -> Index:
        self._read_header(path)
        bad: list[BadRow] = []
        with path.open("rb", buffering=2**20) as file:
            lines = _Lines(file)
            # Bytes as Latin-1: what matters here is ASCII, and in UTF-8 no other byte looks like it.
            records = csv.reader(lines, delimiter=self._delimiter, strict=True)
            while _is_blank(next(records)):
                pass  # until the header is through
            found = IndexBuilder(lines.number + 1)
            next_word = _TOLD_EVERY
            while True:
                begin, line = lines.offset, lines.number + 1
                try:
                    cells = next(records, None)
                except csv.Error as error:
                    if lines.is_cut or _words(error) == _NEVER_CLOSED:
                        bad.append(BadRow(path, line, _NEVER_CLOSED))
                        break
                    found.add(begin, line)  # `value` says the same of it
                    continue
                if cells is None:
                    begin = lines.offset
                    break
                if not _is_blank(cells):
                    found.add(begin, line)
                if lines.offset >= next_word:
                    on_bytes(lines.offset)
                    next_word = lines.offset + _TOLD_EVERY
        return found.index(begin, bad)

    def value(self, raw: bytes) -> Any:
        # What follows the record may be anything; of the record itself every byte must be text.
        text = io.StringIO(raw.decode("utf-8", "surrogateescape"), newline="\n")
        try:
            cells = next(csv.reader(text, delimiter=self._delimiter, strict=True), [])
        except csv.Error as error:
            raise (too_long() if len(raw) > RECORD_LIMIT else NotARowError(_words(error))) from None
        _refuse_bytes(cells)
        if len(cells) != len(self._columns):
            raise NotARowError(f"has {len(cells)} cells, the header names {len(self._columns)}")
        pairs = zip(self._columns, cells, strict=True)
        return {name: cell for name, cell in pairs if cell or name in _MAY_BE_EMPTY}

    def content(self, raw: bytes) -> bytes:
        return raw.strip(b"\r\n")

    def _read_header(self, path: Path) -> None:
        headers: dict[str, list[str]] = {}
        refused: csv.Error | None = None
        for delimiter in self._delimiters:
            try:
                headers[delimiter] = _header(path, delimiter)
            except csv.Error as error:
                refused = refused or error
        if not headers and refused:
            where = f"{path}:1"
            raise UserError(f"not a table: {_words(refused)}", where=where) from refused
        # A file in another language's habit is told by the names it then has.
        self._delimiter = max(headers, key=lambda each: len(READ_FIELDS & set(headers[each])))
        self._columns = headers[self._delimiter]
        for name in READ_FIELDS & set(self._columns):
            if self._columns.count(name) > 1:
                raise UserError(f"two columns are called '{plain(name)}'", where=f"{path}:1")


class _Lines:
    """The lines of a file for csv, which takes as many as a record needs and no more.

    offset: bytes taken so far. number: lines taken. is_cut: whether a line was over the limit.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.offset = 0
        self.number = 0
        self.is_cut = False
        if file.read(len(BOM)) == BOM:
            self.offset = len(BOM)
        file.seek(self.offset)

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self._file.readline(RECORD_LIMIT + 1)
        if not line:
            raise StopIteration
        if len(line) > RECORD_LIMIT:
            self.is_cut = True
            raise csv.Error("line over the limit")
        self.offset += len(line)
        self.number += 1
        return line.decode("latin-1")


def _header(path: Path, delimiter: str) -> list[str]:
    """The names in the first record. Raises csv.Error when it is none with this delimiter."""
    with path.open("rb") as file:
        cells: list[str] = []
        for cells in csv.reader(_Lines(file), delimiter=delimiter, strict=True):
            if not _is_blank(cells):
                break
    if _is_blank(cells):
        raise UserError("the file holds only blank lines", where=str(path))
    try:
        names = [cell.encode("latin-1").decode().strip() for cell in cells]
    except UnicodeDecodeError as error:
        hint = "save it as UTF-8"
        raise UserError("not UTF-8 text", where=f"{path}:1", hint=hint) from error
    if any("\0" in name for name in names):
        raise UserError("holds NUL bytes: not a table of text", where=f"{path}:1")
    return names


def _is_blank(cells: list[str]) -> bool:
    return not cells or (len(cells) == 1 and not cells[0].strip())


def _refuse_bytes(cells: list[str]) -> None:
    text = "".join(cells)
    if "\0" in text:
        raise NotARowError("holds NUL bytes: the file was cut off, or is not text")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise NotARowError("not UTF-8 text") from None


def _words(error: csv.Error) -> str:
    said = str(error)
    if "expected after" in said:
        return "text follows a closing quote; a quote inside a cell is written twice"
    if "new-line character" in said:
        return "a carriage return outside quotes"
    if "limit" in said or "end of data" in said:
        return _NEVER_CLOSED
    return said
