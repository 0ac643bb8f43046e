"""What some data files hold, as the `data` command and the Data place show it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finetune_tui.core.data.duplicates import count_duplicates
from finetune_tui.core.data.rows import BadRow, BadRowError, Format, Row
from finetune_tui.core.data.source import OnProgress, Rows, open_rows
from finetune_tui.core.text import count

EXAMPLES = 5
SAMPLED = 2000
"""Rows looked at where there are too many to look at all."""
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

    sources: what was named. files: what that is on the disk. rows: how many are usable.
    duplicates: how many of them repeat an earlier one.
    ends_trained: whether the end-of-turn token is learnt. notes: remarks in words.
    looked_at: how many rows lengths, notes and bad rows speak of; fewer than `rows` when the files are
    large, and `rows` then counts every line that is not known to be bad.
    """

    sources: tuple[str, ...]
    files: tuple[Path, ...]
    format: Format
    rows: int
    bad_rows: tuple[BadRow, ...]
    columns: tuple[str, ...]
    examples: tuple[Row, ...]
    lengths: Lengths
    duplicates: int
    notes: tuple[str, ...]
    looked_at: int
    bytes: int
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
            "looked_at": self.looked_at,
            "bytes": self.bytes,
        }


def report_of(
    sources: Sequence[str | Path],
    strict: bool = False,
    progress: OnProgress | None = None,
    cache: Path | None = None,
) -> DataReport:
    """Read the sources and say what they hold. Raises as `open_rows` does."""
    return report_on(open_rows(sources, strict, progress, cache), progress)


def report_on(rows: Rows, progress: OnProgress | None = None) -> DataReport:
    """What rows that are already open hold; lengths in characters.

    Of large files a sample is looked at, and one pass is made to find what repeats.
    """
    seen, bad = _looked_at(rows)
    duplicates, exactly = count_duplicates(_contents(rows, seen, progress))
    return DataReport(
        sources=rows.sources,
        files=rows.files,
        format=rows.format,
        rows=len(rows),
        bad_rows=bad,
        columns=rows.columns,
        examples=tuple(seen[:EXAMPLES]),
        lengths=lengths_of([row.characters for row in seen], "characters"),
        duplicates=duplicates,
        notes=tuple(_notes(rows, seen, bad, duplicates, exactly)),
        looked_at=len(seen),
        bytes=rows.bytes,
    )


def _looked_at(rows: Rows) -> tuple[list[Row], tuple[BadRow, ...]]:
    """The rows a report speaks of: the first ones and a sample of what is large; and all known bad rows."""
    places: Sequence[int] = range(len(rows))
    if rows.is_large:
        places = sorted({*places[:EXAMPLES], *rows.sample(SAMPLED)})
    seen: list[Row] = []
    bad = {(one.path, one.line): one for one in rows.bad_rows}
    for place in places:
        try:
            seen.append(rows[place])
        except BadRowError as error:
            bad[error.bad.path, error.bad.line] = error.bad
    return seen, tuple(bad.values())


def _contents(rows: Rows, seen: Sequence[Row], progress: OnProgress | None) -> Iterator[bytes]:
    if not rows.is_large:
        yield from (row.content.encode() for row in seen)
        return
    for place, content in enumerate(rows.contents()):
        if progress is not None and place % 2**16 == 0:
            progress(place * rows.bytes // len(rows), rows.bytes)
        yield content


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


def _notes(
    rows: Rows, seen: Sequence[Row], bad: Sequence[BadRow], duplicates: int, exactly: bool
) -> list[str]:
    without_prompt = sum(row.prompt is not None and not row.prompt.strip() for row in seen)
    unanswered = sum(row.messages[-1]["role"] != "assistant" for row in seen if row.messages)
    with_tools = sum(row.tools is not None for row in seen)
    found = (
        (len(bad), "cannot be used", "cannot be used"),
        (duplicates if exactly else 0, "repeats an earlier one", "repeat earlier ones"),
        (without_prompt, "has an empty prompt", "have empty prompts"),
        (unanswered, "ends without an answer", "end without an answer"),
        (with_tools, "offers tools", "offer tools"),
    )
    notes = [
        f"1 row {one}" if number == 1 else f"{number} rows {many}"
        for number, one, many in found
        if number
    ]
    if not exactly and duplicates:
        notes.insert(
            0, f"about {count(duplicates)} rows repeat earlier ones, reckoned from a part of them"
        )
    if len(seen) < len(rows):
        notes.insert(
            0, f"a large file: lengths and notes are those of {len(seen)} rows drawn from all"
        )
    return notes
