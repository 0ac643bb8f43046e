"""What some data files hold, as the `data` command and the Data place show it."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from finetune_tui.core.data.reading import DataSet, read_rows
from finetune_tui.core.data.rows import BadRow, Format, Row

EXAMPLES = 5
MAX_BARS = 12


@dataclass(frozen=True, slots=True)
class Lengths:
    """How long rows are. unit: "characters" or "tokens".

    histogram: pairs of upper bound (inclusive) and number of rows, in order, without gaps.
    """

    unit: str
    min: int
    median: int
    p95: int
    max: int
    histogram: tuple[tuple[int, int], ...]

    def to_json(self) -> dict[str, Any]:
        return {
            "unit": self.unit,
            "min": self.min,
            "median": self.median,
            "p95": self.p95,
            "max": self.max,
            "histogram": [list(bar) for bar in self.histogram],
        }


@dataclass(frozen=True, slots=True)
class DataReport:
    """What is in the files. The three token fields are None until a tokenizer has counted.

    rows: how many are usable. duplicates: how many of them repeat an earlier one.
    ends_trained: whether the end-of-turn token is learnt. notes: remarks in words.
    """

    files: tuple[Path, ...]
    format: Format
    rows: int
    bad_rows: tuple[BadRow, ...]
    columns: tuple[str, ...]
    examples: tuple[Row, ...]
    lengths: Lengths
    duplicates: int
    notes: tuple[str, ...]
    tokens: int | None = None
    trained_tokens: int | None = None
    ends_trained: bool | None = None

    def to_json(self) -> dict[str, Any]:
        return {
            "format": str(self.format),
            "rows": self.rows,
            "bad_rows": [
                {"file": str(bad.path), "line": bad.line, "error": bad.error}
                for bad in self.bad_rows
            ],
            "tokens": self.tokens,
            "trained_tokens": self.trained_tokens,
            "lengths": self.lengths.to_json(),
            "ends_trained": self.ends_trained,
            "files": [str(path) for path in self.files],
            "columns": list(self.columns),
            "duplicates": self.duplicates,
            "notes": list(self.notes),
        }


def report_of(paths: Sequence[Path], strict: bool = False) -> DataReport:
    """Read the files and say what they hold. Raises UserError as read_rows does."""
    return report_on(read_rows(paths, strict))


def report_on(data: DataSet) -> DataReport:
    """What rows that are already read hold; lengths in characters."""
    duplicates = len(data.rows) - len({row.content for row in data.rows})
    return DataReport(
        files=data.files,
        format=data.format,
        rows=len(data.rows),
        bad_rows=tuple(data.bad_rows),
        columns=data.columns,
        examples=tuple(islice(data.rows, EXAMPLES)),
        lengths=lengths_of([row.characters for row in data.rows], "characters"),
        duplicates=duplicates,
        notes=tuple(_notes(data, duplicates)),
    )


def lengths_of(lengths: Sequence[int], unit: str) -> Lengths:
    """Summarise at least one length."""
    ordered = sorted(lengths)
    return Lengths(
        unit=unit,
        min=ordered[0],
        median=ordered[(len(ordered) - 1) // 2],
        p95=ordered[-(-95 * len(ordered) // 100) - 1],
        max=ordered[-1],
        histogram=_histogram(ordered),
    )


def _histogram(ordered: Sequence[int]) -> tuple[tuple[int, int], ...]:
    """Bars of equal, round width from the shortest row to the longest."""
    width = _round_width(ordered[-1] - ordered[0])
    first, last = ordered[0] // width, ordered[-1] // width
    counts = dict.fromkeys(range(first, last + 1), 0)
    for length in ordered:
        counts[length // width] += 1
    return tuple(((bar + 1) * width - 1, number) for bar, number in counts.items())


def _round_width(span: int) -> int:
    """The smallest of 1, 2, 5, 10, 20, 50… that needs no more than MAX_BARS bars."""
    power = 1
    while True:
        for digit in (1, 2, 5):
            if span // (digit * power) + 2 <= MAX_BARS:
                return digit * power
        power *= 10


def _notes(data: DataSet, duplicates: int) -> list[str]:
    rows = data.rows
    without_prompt = sum(row.prompt is not None and not row.prompt.strip() for row in rows)
    unanswered = sum(row.messages[-1]["role"] != "assistant" for row in rows if row.messages)
    with_tools = sum(row.tools is not None for row in rows)
    found = (
        (len(data.bad_rows), "cannot be used", "cannot be used"),
        (duplicates, "repeats an earlier one", "repeat earlier ones"),
        (without_prompt, "has an empty prompt", "have empty prompts"),
        (unanswered, "ends without an answer", "end without an answer"),
        (with_tools, "offers tools", "offer tools"),
    )
    return [
        f"1 row {one}" if number == 1 else f"{number} rows {many}"
        for number, one, many in found
        if number
    ]
