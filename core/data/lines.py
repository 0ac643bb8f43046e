"""The JSON values of a file, each with its exact line number, in bounded memory."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from stat import S_ISDIR, S_ISREG
from typing import Any

from finetune_tui.core.data.rows import NotARowError
from finetune_tui.core.errors import UserError
from finetune_tui.core.text import size

LINE_LIMIT = 16 * 2**20
"""The longest line that is read, in bytes: more text than any model's context takes."""
ARRAY_LIMIT = 256 * 2**20
"""The largest .json array that is read, in bytes: unlike lines, it is held whole."""

_BOM = b"\xef\xbb\xbf"
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")
_SPACE = re.compile(r"[ \t\r\n]*")
_ONE_PER_LINE = "one JSON object per line in a .jsonl file"
_OTHER_KINDS = {
    ".parquet": f"Parquet is not read; save it as {_ONE_PER_LINE}",
    ".arrow": f"Arrow is not read; save it as {_ONE_PER_LINE}",
    ".csv": f"CSV is not read; save it as {_ONE_PER_LINE}",
    ".tsv": f"TSV is not read; save it as {_ONE_PER_LINE}",
    ".txt": f'plain text is not read; save it as {{"text": …}}, {_ONE_PER_LINE}',
    ".gz": "compressed; unpack it first",
    ".zip": "compressed; unpack it first",
    ".zst": "compressed; unpack it first",
}
_JSON_ERRORS = {
    "Expecting value": "a value is missing or cut off",
    "Expecting property name enclosed in double quotes": 'a name in "double quotes" is missing',
    "Illegal trailing comma before end of object": "a comma too many",
    "Illegal trailing comma before end of array": "a comma too many",
    "Expecting ':' delimiter": "a colon is missing",
    "Expecting ',' delimiter": "a comma or a closing bracket is missing",
    "Unterminated string starting at": "a quote is opened and never closed",
    "Invalid control character at": "a raw control character inside quotes",
    "Extra data": "more than one value",
}

Found = tuple[int, Any | NotARowError]
"""A line number from 1, and the JSON value on it or why there is none."""


def values_in(path: Path) -> Iterator[Found]:
    """Every JSON value of a .jsonl file, or of the array in a .json file; blank lines are skipped.

    Raises UserError for a file that cannot be read at all.
    """
    try:
        _check(path)
        yield from _array(path) if _is_array(path) else _lines(path)
    except OSError as error:
        reason = "there is no such file" if isinstance(error, FileNotFoundError) else error.strerror
        raise UserError(f"cannot be read: {reason}", where=str(path)) from error


def _check(path: Path) -> None:
    try:
        status = path.stat()
    except ValueError as error:
        raise UserError("not the name of a file", where=str(path)) from error
    if S_ISDIR(status.st_mode):
        raise UserError("a folder, not a file", where=str(path), hint=_files_in(path))
    if not S_ISREG(status.st_mode):
        raise UserError("not a regular file", where=str(path))
    if hint := _OTHER_KINDS.get(path.suffix.lower()):
        raise UserError("not a JSON lines file", where=str(path), hint=hint)
    if not status.st_size:
        raise UserError("the file is empty", where=str(path))
    with path.open("rb") as file:
        if file.read(2) in _UTF_16:
            raise UserError("the file is UTF-16", where=str(path), hint="save it as UTF-8")


def _files_in(folder: Path) -> str | None:
    names = sorted(entry.name for entry in folder.iterdir() if entry.suffix in (".jsonl", ".json"))
    return f"did you mean {folder / names[0]}?" if names else None


def _is_array(path: Path) -> bool:
    if path.suffix.lower() != ".json":
        return False
    with path.open("rb") as file:
        return file.read(4096).removeprefix(_BOM).lstrip().startswith(b"[")


def _lines(path: Path) -> Iterator[Found]:
    """One value per line. A line over the limit is passed over in pieces, never held whole."""
    with path.open("rb") as file:
        number = 0
        while line := file.readline(LINE_LIMIT + 1):
            number += 1
            if len(line) > LINE_LIMIT:
                while line and not line.endswith(b"\n"):
                    line = file.readline(2**16)
                yield number, NotARowError(f"the line is longer than {size(LINE_LIMIT)}")
            elif line := line.removeprefix(_BOM).strip():
                yield number, _value(line)


def _value(line: bytes) -> Any | NotARowError:
    try:
        return json.loads(line.decode())
    except json.JSONDecodeError as error:
        if b"\0" in line:
            return NotARowError("holds NUL bytes: the file was cut off, or is not text")
        return NotARowError(f"broken JSON: {_words(error)} at column {error.pos + 1}")
    except UnicodeDecodeError as error:
        return NotARowError(f"not UTF-8 text, from byte {error.start + 1} of the line")
    except RecursionError:
        return NotARowError("brackets are nested too deeply")
    except ValueError:
        return NotARowError("holds a number with too many digits")


def _array(path: Path) -> Iterator[Found]:
    """The elements of one array, each at the line where it begins; nothing after broken JSON."""
    text = _whole_text(path)
    line, counted = 1, 0
    position = _after_space(text, text.index("[") + 1)
    more = not text.startswith("]", position)
    while more:
        line, counted = line + text.count("\n", counted, position), position
        value, position = _element(text, position)
        yield line, value
        if isinstance(value, NotARowError):
            return
        position = _after_space(text, position)
        if more := text.startswith(",", position):
            position = _after_space(text, position + 1)
    if text.startswith("]", position) and _after_space(text, position + 1) == len(text):
        return
    line += text.count("\n", counted, position)
    yield line, NotARowError(_end_of_list(text, position))


def _end_of_list(text: str, position: int) -> str:
    if position == len(text):
        return "broken JSON: the list is never closed"
    return "broken JSON: a comma is missing, or text follows the list"


def _element(text: str, position: int) -> tuple[Any | NotARowError, int]:
    """A value and where it ends; for a broken one the end means nothing."""
    try:
        return json.JSONDecoder().raw_decode(text, position)
    except json.JSONDecodeError as error:
        words = f"broken JSON: {_words(error)} at line {error.lineno}, column {error.colno}"
    except RecursionError:
        words = "brackets are nested too deeply"
    except ValueError:
        words = "holds a number with too many digits"
    return NotARowError(f"{words}; what follows is not read"), position


def _whole_text(path: Path) -> str:
    if path.stat().st_size > ARRAY_LIMIT:
        words = f"a list of more than {size(ARRAY_LIMIT)}"
        raise UserError(words, where=str(path), hint=f"save it as {_ONE_PER_LINE}")
    data = path.read_bytes().removeprefix(_BOM)
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UserError("not UTF-8 text", where=f"{path}:{line}") from error


def _after_space(text: str, position: int) -> int:
    found = _SPACE.match(text, position)
    return found.end() if found else position


def _words(error: json.JSONDecodeError) -> str:
    return _JSON_ERRORS.get(error.msg, error.msg.lower())
