"""Reading training data: every line is a row, a bad row with its reason, or blank."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from finetune_tui.core.data.lines import values_in
from finetune_tui.core.data.rows import BadRow, Format, NotARowError, Row, row_from
from finetune_tui.core.errors import UserError

MAX_COLUMNS = 64
"""How many different field names are remembered: a broken file may have one per row."""


@dataclass(frozen=True, slots=True)
class DataSet:
    """What some files hold: usable rows in the order of the files, and the lines that are not.

    columns: the names of all fields seen in usable rows, used or not, in order of appearance.
    """

    rows: list[Row]
    bad_rows: list[BadRow]
    format: Format
    files: tuple[Path, ...]
    columns: tuple[str, ...]


def read_rows(paths: Sequence[Path], strict: bool = False) -> DataSet:
    """Read .jsonl files (or .json files that hold one array) of one common format.

    The first usable row fixes the format; rows of another are bad rows. Raises UserError for a
    file that cannot be read or has no usable row, and, when `strict`, for the first bad row.
    """
    if not paths:
        raise UserError("no data file is named")
    rows: list[Row] = []
    bad_rows: list[BadRow] = []
    columns: dict[str, None] = {}
    for path in paths:
        rows_before, bad_before = len(rows), len(bad_rows)
        for line, value in values_in(path):
            try:
                if isinstance(value, NotARowError):
                    raise value
                rows.append(row_from(value, path, line, rows[0].kind if rows else None))
                if len(columns) < MAX_COLUMNS:
                    columns.update(dict.fromkeys(value))
            except NotARowError as error:
                bad_rows.append(BadRow(path, line, str(error)))
                if strict:
                    raise _refusal(bad_rows[-1]) from None
        if len(rows) == rows_before:
            raise _nothing_usable(path, bad_rows[bad_before:])
    return DataSet(rows, bad_rows, rows[0].kind, tuple(paths), tuple(columns)[:MAX_COLUMNS])


def split_rows(
    rows: Sequence[Row], eval_split: float, seed: int
) -> tuple[tuple[Row, ...], tuple[Row, ...]]:
    """Rows to train on and rows held out, each in their own order; the same for the same seed.

    eval_split: the share held out, from 0 up to but not including 1. At least one row is held out
    when it is above 0 and there are two rows. Which rows depends on their content and the seed, not
    on their order, and equal rows stay together: a held-out row is never one that was trained on,
    unless all rows are equal.
    """
    if not 0 <= eval_split < 1:
        raise UserError(f"{eval_split} is not a share from 0 to below 1", where="eval_split")
    if not eval_split or len(rows) < 2:
        return tuple(rows), ()
    wanted = min(max(round(len(rows) * eval_split), 1), len(rows) - 1)
    held_out = _held_out(rows, wanted, seed)
    return (
        tuple(row for index, row in enumerate(rows) if index not in held_out),
        tuple(row for index, row in enumerate(rows) if index in held_out),
    )


def _held_out(rows: Sequence[Row], wanted: int, seed: int) -> set[int]:
    ranks = [_rank(row, seed) for row in rows]
    ranked = sorted(range(len(rows)), key=ranks.__getitem__)
    groups = [list(group) for _, group in groupby(ranked, key=ranks.__getitem__)]
    if len(groups) == 1:
        return set(groups[0][:wanted])
    chosen: set[int] = set()
    for group in groups:
        if len(chosen) + len(group) <= wanted:
            chosen.update(group)
    smallest = min(groups, key=len)
    return chosen or set(smallest)


def _rank(row: Row, seed: int) -> bytes:
    """A number drawn by seed and content alone, so that no library's shuffle is part of it."""
    return hashlib.blake2b(f"{seed}\n{row.content}".encode(), digest_size=16).digest()


def _refusal(bad: BadRow) -> UserError:
    hint = "mend the line, or read without --strict to use the others"
    return UserError(bad.error, where=f"{bad.path}:{bad.line}", hint=hint)


def _nothing_usable(path: Path, bad_rows: Sequence[BadRow]) -> UserError:
    if not bad_rows:
        return UserError(
            "the file holds no rows, only blank lines or an empty list", where=str(path)
        )
    first = bad_rows[0]
    others = f" (and {len(bad_rows) - 1} more)" if len(bad_rows) > 1 else ""
    return UserError(f"no usable row: {first.error}{others}", where=f"{path}:{first.line}")
