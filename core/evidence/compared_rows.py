"""The rows of a finished comparison, read where they lie: ten thousand open as fast as ten."""

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finetune_tui.core.errors import UserError
from finetune_tui.core.evidence.comparison import Verdict, Which, optional_in, text_in, whole_in
from finetune_tui.core.files import open_plain, read_json

INDEX, ROWS = "index.json", "rows.jsonl"
_LARGEST_INDEX = 64 * 2**20  # bytes
_LARGEST_ROW = 16 * 2**20  # bytes of one line

_LETTERS: Mapping[str, Verdict] = {
    "f": Verdict.FIXED,
    "r": Verdict.REGRESSED,
    "+": Verdict.BOTH_RIGHT,
    "-": Verdict.BOTH_WRONG,
}
LETTER_OF: Mapping[Verdict, str] = {verdict: letter for letter, verdict in _LETTERS.items()}


@dataclass(frozen=True, slots=True)
class RowIndex:
    """Of each row of one set where it begins in rows.jsonl and its verdict, in the rows' order."""

    offsets: Sequence[int]
    verdicts: Sequence[Verdict]

    def __len__(self) -> int:
        return len(self.offsets)

    def only(self, verdict: Verdict | None) -> list[int]:
        """The numbers (from 0) of the rows with this verdict; all without one."""
        return [
            number
            for number, found in enumerate(self.verdicts)
            if verdict is None or found is verdict
        ]


@dataclass(frozen=True, slots=True)
class ComparedRow:
    """One row as both answered it. number: from 0 in its set. where: `file:line` of the data.

    scores: metric → base's and tuned's, 0 or 1 for a yes/no; None where the metric says nothing of it.
    """

    which: Which
    number: int
    where: str
    prompt: str
    expected: str
    base: str
    tuned: str
    verdict: Verdict
    scores: Mapping[str, tuple[float | None, float | None]]


def read_index(folder: Path, which: Which) -> RowIndex:
    """Of every row of a set where it lies; no row is read. Raises UserError."""
    path = folder / INDEX
    value = read_json(path, limit=_LARGEST_INDEX)
    try:
        found = value[which.value]
        offsets, letters = found["offsets"], found["verdicts"]
        verdicts = [_LETTERS[letter] for letter in letters]
        if len(offsets) != len(verdicts) or any(
            type(offset) is not int or offset < 0 for offset in offsets
        ):
            raise ValueError
    except (KeyError, TypeError, ValueError) as error:
        raise UserError("this is no index of a comparison", where=str(path)) from error
    return RowIndex(tuple(offsets), tuple(verdicts))


def read_rows(folder: Path, offsets: Iterable[int]) -> list[ComparedRow]:
    """The rows that begin there; texts up to LONGEST_TEXT characters. Raises UserError."""
    path = folder / ROWS
    try:
        with open_plain(path) as file:
            lines = [_line_at(file.fileno(), offset) for offset in offsets]
    except OSError as error:
        raise UserError(f"cannot be read ({error.strerror})", where=str(path)) from error
    try:
        return [_row(json.loads(line)) for line in lines]
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise UserError("a row of this comparison is broken", where=str(path)) from error


def find_rows(folder: Path, index: RowIndex, text: str, among: Iterable[int]) -> list[int]:
    """The numbers of those rows `among` some in which a text stands, capital or small. Raises UserError."""
    wanted = text.casefold()
    numbers, found = list(among), []
    for start in range(0, len(numbers), 500):
        some = numbers[start : start + 500]
        for number, row in zip(
            some, read_rows(folder, (index.offsets[one] for one in some)), strict=True
        ):
            texts = (row.prompt, row.expected, row.base, row.tuned)
            if any(wanted in one.casefold() for one in texts):
                found.append(number)
    return found


def _line_at(file: int, offset: int) -> bytes:
    data, wanted = b"", 8192
    while b"\n" not in data:
        piece = os.pread(file, wanted, offset + len(data))
        data += piece
        if not piece or len(data) > _LARGEST_ROW:
            break
        wanted *= 4
    return data.partition(b"\n")[0]


def _row(value: Any) -> ComparedRow:
    scores = {
        str(name): (optional_in(base), optional_in(tuned))
        for name, (base, tuned) in value["scores"].items()
    }
    return ComparedRow(
        which=Which(value["set"]),
        number=whole_in(value["number"]),
        where=text_in(value["where"]),
        prompt=text_in(value["prompt"]),
        expected=text_in(value["expected"]),
        base=text_in(value["base"]),
        tuned=text_in(value["tuned"]),
        verdict=Verdict(value["verdict"]),
        scores=scores,
    )
