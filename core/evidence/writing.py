"""A comparison's result, written aside and renamed: it is there as a whole, or not at all."""

import dataclasses
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from finetune_tui.core.errors import UserError
from finetune_tui.core.evidence.compared_rows import INDEX, LETTER_OF, ROWS, ComparedRow
from finetune_tui.core.evidence.comparison import (
    RESULT,
    VERSION,
    ComparedSet,
    Comparison,
    Which,
    comparisons_of,
)
from finetune_tui.core.files import read_json, sync_folder
from finetune_tui.core.runs.directory import RunDirectory


def folder_for(trained: RunDirectory, compare_run: RunDirectory) -> Path:
    """Where a comparison's result goes: under its short id. A run of another home may have the same one."""
    short = compare_run.short_id
    folder, number = comparisons_of(trained) / short, 1
    while folder.exists() and _written_by(folder) != str(compare_run.path):
        number += 1
        folder = comparisons_of(trained) / f"{short}-{number}"
    return folder


def write_comparison(
    comparison: Comparison, rows: Mapping[Which, Sequence[ComparedRow]], compare_run: RunDirectory
) -> None:
    """Into `comparison.folder`; what lay there before is replaced. Raises OSError (a full disk)."""
    folder = comparison.folder
    folder.parent.mkdir(exist_ok=True)
    aside = folder.parent / f".{folder.name}.partial"
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir()
    try:
        index = _write_rows(aside / ROWS, rows)
        _write(aside / INDEX, [json.dumps(index)])
        _write(aside / RESULT, [json.dumps(_as_json(comparison, compare_run), indent=1)])
        sync_folder(aside)
        shutil.rmtree(folder, ignore_errors=True)
        aside.rename(folder)
        sync_folder(folder.parent)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise


def bytes_of(rows: Mapping[Which, Sequence[ComparedRow]]) -> int:
    """About how many bytes they take on the disk."""
    every = [row for some in rows.values() for row in some]
    texts = sum(len(row.prompt + row.expected + row.base + row.tuned) for row in every)
    return 2**16 + 2 * texts + 400 * len(every)


def _write_rows(path: Path, rows: Mapping[Which, Sequence[ComparedRow]]) -> dict[str, Any]:
    index: dict[str, Any] = {}
    offset = 0

    def lines() -> Iterator[str]:
        nonlocal offset
        for which, some in rows.items():
            offsets = []
            for row in some:
                offsets.append(offset)
                line = _row_line(row)
                offset += len(line)  # ASCII: as many bytes
                yield line
            letters = "".join(LETTER_OF[row.verdict] for row in some)
            index[which] = {"offsets": offsets, "verdicts": letters}

    _write(path, lines())
    return index


def _row_line(row: ComparedRow) -> str:
    values = {
        "set": row.which,
        "number": row.number,
        "verdict": row.verdict,
        "where": row.where,
        "prompt": row.prompt,
        "expected": row.expected,
        "base": row.base,
        "tuned": row.tuned,
        "scores": row.scores,
    }
    return json.dumps(values, allow_nan=False) + "\n"


def _as_json(comparison: Comparison, compare_run: RunDirectory) -> dict[str, Any]:
    """What `read_comparison` reads back, and who wrote it."""
    rest = {
        field.name: getattr(comparison, field.name)
        for field in dataclasses.fields(comparison)
        if field.name not in ("folder", "name", "held_out", "forgetting")
    }
    forgetting = comparison.forgetting
    return {
        "version": VERSION,
        **rest,
        "written_by": str(compare_run.path),
        "held_out": set_to_json(comparison.held_out),
        "forgetting": None if forgetting is None else set_to_json(forgetting),
    }


def set_to_json(compared: ComparedSet) -> dict[str, Any]:
    """The figures of a set under the names of `compare --json`."""
    values = dataclasses.asdict(compared)
    del values["which"]
    values["metrics"] = values.pop("measured")
    return values


def _write(path: Path, pieces: Iterator[str] | Sequence[str]) -> None:
    with path.open("w", encoding="ascii") as file:
        for piece in pieces:
            file.write(piece)
        file.flush()
        os.fsync(file.fileno())


def _written_by(folder: Path) -> str | None:
    try:
        value = read_json(folder / RESULT)
    except UserError:
        return None
    return value.get("written_by") if isinstance(value, dict) else None
