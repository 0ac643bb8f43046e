"""One JSON array in a .json file: its elements, each at the line where it begins."""

import json
import re
from pathlib import Path
from typing import Any

from finetune_tui.core.data.index import Index, IndexBuilder, OnBytes, too_long
from finetune_tui.core.data.json_lines import BOM, json_words
from finetune_tui.core.data.rows import BadRow, NotARowError
from finetune_tui.core.errors import UserError
from finetune_tui.core.text import size

ARRAY_LIMIT = 256 * 2**20
"""The largest array that is read, in bytes: unlike lines, it is held whole while it is looked through."""

_SPACE = re.compile(r"[ \t\r\n]*")


class JsonArray:
    """Elements of an array; what follows broken JSON is not read."""

    def scan(self, path: Path, on_bytes: OnBytes) -> Index:
        text, before = _whole_text(path)
        on_bytes(path.stat().st_size)
        return _Scan(path, text, before).index()

    def value(self, raw: bytes) -> Any:
        try:
            return json.JSONDecoder().raw_decode(raw.decode("utf-8", "replace"))[0]
        except ValueError:  # it was whole when the file was opened
            raise too_long() from None

    def content(self, raw: bytes) -> bytes:
        return raw.strip(b" \t\r\n,")


def is_array(path: Path) -> bool:
    """Whether a .json file holds an array, not lines. Raises OSError."""
    if path.suffix.lower() != ".json":
        return False
    with path.open("rb") as file:
        return file.read(4096).removeprefix(BOM).lstrip().startswith(b"[")


class _Scan:
    """One walk over the text of an array."""

    def __init__(self, path: Path, text: str, before: int) -> None:
        self._path = path
        self._text = text
        self._found = IndexBuilder()
        self._bad: list[BadRow] = []
        self._line = 1  # of `_position`
        self._offset = before  # of `_position`, in bytes of the file
        self._position = 0

    def index(self) -> Index:
        text = self._text
        position = _after_space(text, text.index("[") + 1)
        more = not text.startswith("]", position)
        while more:
            self._go(position)
            begin = self._offset, self._line
            try:
                position = self._element(position)
            except NotARowError as error:
                self._say(str(error))
                return self._found.index(self._offset, self._bad)
            self._go(position)
            self._found.add(*begin)
            position = _after_space(text, position)
            if more := text.startswith(",", position):
                position = _after_space(text, position + 1)
        end = self._offset
        if not text.startswith("]", position) or _after_space(text, position + 1) < len(text):
            self._go(position)
            self._say(_end_of_list(text, position))
        return self._found.index(end, self._bad)

    def _go(self, position: int) -> None:
        passed = self._text[self._position : position]
        self._offset += len(passed) if passed.isascii() else len(passed.encode())
        self._line += passed.count("\n")
        self._position = position

    def _element(self, position: int) -> int:
        """Where the element at `position` ends. Raises NotARowError."""
        try:
            return json.JSONDecoder().raw_decode(self._text, position)[1]
        except json.JSONDecodeError as error:
            place = f"line {error.lineno}, column {error.colno}"
            words = f"broken JSON: {json_words(error)} at {place}"
        except RecursionError:
            words = "brackets are nested too deeply"
        except ValueError:
            words = "holds a number with too many digits"
        raise NotARowError(f"{words}; what follows is not read")

    def _say(self, words: str) -> None:
        self._bad.append(BadRow(self._path, self._line, words))


def _end_of_list(text: str, position: int) -> str:
    if position == len(text):
        return "broken JSON: the list is never closed"
    return "broken JSON: a comma is missing, or text follows the list"


def _whole_text(path: Path) -> tuple[str, int]:
    """The text, and how many bytes of the file stand before it."""
    if path.stat().st_size > ARRAY_LIMIT:
        words = f"a list of more than {size(ARRAY_LIMIT)}"
        hint = "save it as one JSON object per line in a .jsonl file"
        raise UserError(words, where=str(path), hint=hint)
    data = path.read_bytes()
    before = len(BOM) if data.startswith(BOM) else 0
    try:
        return data[before:].decode(), before
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UserError("not UTF-8 text", where=f"{path}:{line}") from error


def _after_space(text: str, position: int) -> int:
    found = _SPACE.match(text, position)
    return found.end() if found else position
