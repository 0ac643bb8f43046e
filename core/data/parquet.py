"""A Parquet file as JSON lines. Starred: the only module that imports pyarrow, in a process of its own.

    python -m finetune_tui.core.data.parquet SOURCE TARGET

writes row n of SOURCE to line n of TARGET, a few hundred rows at a time, and says on stdout, a JSON
object a line: {"done", "total"} in rows while it works, {"error"} when it cannot.
"""

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from finetune_tui.core.limits import bounded_memory

_ROWS = 256  # at a time; a row may be a long document


def convert(source: Path, target: Path, say: Callable[[int, int], None]) -> None:
    """Write the rows as JSON lines. Null fields are left out, but for the content of a message; columns
    of bytes (images, sound) are left out whole. Raises ValueError, OSError or MemoryError.
    """
    with (
        pq.ParquetFile(source, buffer_size=2**20, pre_buffer=False) as file,
        target.open("wb") as out,
    ):
        names = [field.name for field in file.schema_arrow if not _holds_bytes(field.type)]
        if not names:
            raise ValueError("no column that is text")
        total, done = file.metadata.num_rows, 0
        for row in _rows(file, names):
            out.write(json.dumps(_without_nulls(row), default=str, ensure_ascii=False).encode())
            out.write(b"\n")
            done += 1
            if done % _ROWS == 0:
                say(done, total)
        say(done, total)


def _rows(file: pq.ParquetFile, names: list[str]) -> Iterator[dict[str, Any]]:
    for batch in file.iter_batches(batch_size=_ROWS, columns=names, use_threads=False):
        yield from batch.to_pylist()


def _holds_bytes(kind: pa.DataType) -> bool:
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind):
        return True
    if pa.types.is_fixed_size_binary(kind):
        return True
    return any(_holds_bytes(kind.field(number).type) for number in range(kind.num_fields))


def _without_nulls(value: Any) -> Any:
    """Parquet gives each object of a column every field that any of them has, null where it had none."""
    if isinstance(value, dict):
        return {
            name: _without_nulls(field)
            for name, field in value.items()
            if field is not None or name == "content"
        }
    if isinstance(value, list):
        return [_without_nulls(item) for item in value]
    return value


def _main(source: str, target: str) -> None:
    def say(done: int, total: int) -> None:
        print(json.dumps({"done": done, "total": total}), flush=True)

    try:
        with bounded_memory():
            convert(Path(source), Path(target), say)
    except OSError as error:
        # pyarrow's own errors of damaged data are OSErrors without a number.
        print(json.dumps({"error": str(error), "errno": error.errno}), flush=True)
    except (pa.ArrowException, ValueError, TypeError, KeyError, OverflowError) as error:
        print(json.dumps({"error": str(error) or type(error).__name__}), flush=True)
    except (MemoryError, RecursionError):
        print(json.dumps({"error": "too much memory for one group of rows"}), flush=True)


if __name__ == "__main__":
    _main(*sys.argv[1:])
