"""JSON lines: one value a line, every line number exact, in bounded memory."""

import json
from pathlib import Path
from typing import Any

from finetune_tui.core.data.index import RECORD_LIMIT, Index, IndexBuilder, OnBytes, too_long
from finetune_tui.core.data.rows import NotARowError

BOM = b"\xef\xbb\xbf"
_TOLD_EVERY = 2**23  # bytes
_ERRORS = {
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


class JsonLines:
    """A value a line; blank lines are passed over. Lines end with \\n, not with Unicode's own breaks."""

    def scan(self, path: Path, on_bytes: OnBytes) -> Index:
        found = IndexBuilder()
        add = found.add
        offset = number = 0
        next_word = _TOLD_EVERY
        with path.open("rb", buffering=2**20) as file:
            readline = file.readline
            while line := readline(RECORD_LIMIT + 1):
                number += 1
                # Nearly every line begins with its bracket; only the others may be blank.
                if line[0] == 0x7B or line.removeprefix(BOM).strip():
                    add(offset, number)
                offset += len(line)
                if len(line) > RECORD_LIMIT:
                    while line and not line.endswith(b"\n"):
                        line = readline(2**20)  # the rest of it, in pieces
                        offset += len(line)
                if offset >= next_word:
                    on_bytes(offset)
                    next_word = offset + _TOLD_EVERY
        return found.index(offset)

    def value(self, raw: bytes) -> Any:
        line = raw.partition(b"\n")[0]
        if len(line) > RECORD_LIMIT:
            raise too_long()
        line = line.removeprefix(BOM).strip()
        try:
            return json.loads(line.decode())
        except json.JSONDecodeError as error:
            if b"\0" in line:
                words = "holds NUL bytes: the file was cut off, or is not text"
            else:
                words = f"broken JSON: {json_words(error)} at column {error.pos + 1}"
        except UnicodeDecodeError as error:
            words = f"not UTF-8 text, from byte {error.start + 1} of the line"
        except RecursionError:
            words = "brackets are nested too deeply"
        except ValueError:
            words = "holds a number with too many digits"
        raise NotARowError(words)

    def content(self, raw: bytes) -> bytes:
        return raw.strip()


def json_words(error: json.JSONDecodeError) -> str:
    """What is wrong with it, for a person."""
    return _ERRORS.get(error.msg, error.msg.lower())
