"""What kind of file holds the data: by its name, and by its first bytes where those disagree."""

from collections.abc import Callable, Mapping
from pathlib import Path
from stat import S_ISREG

from finetune_tui.core.data.index import Layout
from finetune_tui.core.data.json_array import JsonArray, is_array
from finetune_tui.core.data.json_lines import JsonLines
from finetune_tui.core.data.tables import Table
from finetune_tui.core.errors import UserError

PARQUET = ".parquet"
_LAYOUTS: Mapping[str, Callable[[], Layout]] = {
    ".jsonl": JsonLines,
    ".ndjson": JsonLines,
    ".json": JsonLines,
    ".csv": lambda: Table(None),
    ".tsv": lambda: Table("\t"),
}

_UTF_16 = (b"\xff\xfe", b"\xfe\xff")
_PACKED = (b"\x1f\x8b", b"PK\x03\x04", b"\x28\xb5\x2f\xfd", b"BZh", b"\xfd7zXZ")
_PARQUET_BEGINS = b"PAR1"
_OTHER_KINDS = {
    ".arrow": "Arrow is not read; save it as Parquet",
    ".txt": 'plain text is not read; save it as {"text": …}, one JSON object per line in a .jsonl file',
    ".xlsx": "a spreadsheet is not read; save it as CSV",
    ".pkl": "pickle can run code, so it is not read; save it as .jsonl or Parquet",
}


def check_file(path: Path) -> None:
    """Raise UserError for a file that is no data whatever it is called."""
    try:
        status = path.stat()
        if not S_ISREG(status.st_mode):
            raise UserError("not a regular file", where=str(path))
        if hint := _OTHER_KINDS.get(path.suffix.lower()):
            raise UserError("not a kind of file that is read", where=str(path), hint=hint)
        if not status.st_size:
            raise UserError("the file is empty", where=str(path))
        with path.open("rb") as file:
            begin = file.read(8)
    except ValueError as error:
        raise UserError("not the name of a file", where=str(path)) from error
    except OSError as error:
        raise not_readable(path, error) from error
    if begin.startswith(_UTF_16):
        raise UserError("the file is UTF-16", where=str(path), hint="save it as UTF-8")
    if begin.startswith(_PACKED):
        raise UserError("the file is compressed", where=str(path), hint="unpack it first")
    if begin.startswith(_PARQUET_BEGINS) != is_parquet(path):
        words = "called Parquet and is none" if is_parquet(path) else "a Parquet file"
        hint = "download it again" if is_parquet(path) else f"call it {path.stem}{PARQUET}"
        raise UserError(words, where=str(path), hint=hint)


def is_parquet(path: Path) -> bool:
    return path.suffix.lower() == PARQUET


def layout_of(path: Path) -> Layout:
    """How records lie in a file that `check_file` passed and that is not Parquet. Raises OSError."""
    if is_array(path):
        return JsonArray()
    return _LAYOUTS.get(path.suffix.lower(), JsonLines)()


def not_readable(path: Path, error: OSError) -> UserError:
    if isinstance(error, FileNotFoundError):
        return UserError("there is no such file", where=str(path))
    return UserError(f"cannot be read: {error.strerror}", where=str(path))
