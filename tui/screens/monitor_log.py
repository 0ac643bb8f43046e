"""What the worker printed, as lines to read: the end of a log of any length, redrawn lines as they ended."""

import io
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import cast

from finetune_tui.core.files import open_plain
from finetune_tui.core.text import plain
from finetune_tui.tui.widgets.lines import Line, dim, line

_TAIL = 64 * 1024  # bytes of a log that are shown, however long it is
_LONGEST = 64 * 1024  # characters of one line
_REDRAWS = 50  # the last of a line, which decide what is seen of it
_ERASES = re.compile(r"\x1b\[[02]?K")


def read_tail(path: Path) -> str:
    """The end of a file, from a line's start where there is one."""
    try:
        with open_plain(path) as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(size - _TAIL, 0))
            text = file.read(_TAIL).decode("utf-8", "replace")
    except OSError:
        return ""
    if size <= _TAIL:
        return text
    begin = re.search(r"[\n\r]", text)
    return text[begin.end() :] if begin else text


def whole_log(path: Path) -> Iterator[str]:
    """Every line of a log as it is shown, one at a time; ends where the file cannot be read."""
    try:
        with open_plain(path) as raw, io.BufferedReader(cast("io.RawIOBase", raw)) as file:
            while text := file.readline(_LONGEST):
                yield redrawn(text.decode("utf-8", "replace").rstrip("\n"))
    except OSError:
        return


def shown(text: str, empty: str) -> list[Line]:
    """Lines of a text that was printed, or the words for none."""
    printed = text.removesuffix("\n").split("\n") if text else []
    return [line(f" {redrawn(one)}") for one in printed] or [line(dim(f" {empty}"))]


def redrawn(text: str) -> str:
    """One line as a terminal shows it in the end: a carriage return writes over what was there."""
    seen = ""
    for part in text.rstrip("\r").split("\r")[-_REDRAWS:]:
        written = plain(part.replace("\t", "    "))
        seen = written + ("" if _ERASES.search(part) else seen[len(written) :])
    return seen
