"""Printing for people and for programs: foreign text is shown, never obeyed; errors are one line."""

import itertools
import json
import os
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from finetune_tui.core.errors import UserError
from finetune_tui.core.text import plain, plain_lines

_GAP = "  "  # between two columns
_LEAST_COLUMN = 8  # characters


def say(text: str = "") -> None:
    """Lines for a person."""
    print(plain_lines(text), flush=True)


def say_json(answer: Any) -> None:
    """One JSON object on a line of its own; ASCII, so that no byte of it acts on a terminal."""
    print(json.dumps(answer, allow_nan=False), flush=True)


def say_error(error: UserError, as_json: bool) -> None:
    if as_json:
        say_json({"error": error.to_json()})
    else:
        print(f"finetune-tui: {error}", file=sys.stderr, flush=True)


def say_table(
    head: Sequence[str],
    rows: Iterable[Sequence[str]],
    right: frozenset[int],
    measured: int | None = None,
) -> None:
    """Columns as wide as they need to be; those in `right` are flush right. The last may be long.

    On a terminal the widest give way until a row fits. measured: so many rows say how wide; the others are
    shown as they come.
    """
    every = ([plain(cell) for cell in row] for row in itertools.chain([head], rows))
    cells = list(itertools.islice(every, None if measured is None else measured + 1))
    widths = [max(len(row[column]) for row in cells) for column in range(len(head))]
    room = terminal_width()
    if room is not None:
        widths = _narrowed(widths, right, room)
    for row in itertools.chain(cells, every):
        cut = [plain(cell, width) for cell, width in zip(row, widths, strict=True)]
        padded = [
            cell.rjust(widths[column]) if column in right else cell.ljust(widths[column])
            for column, cell in enumerate(row if room is None else cut)
        ]
        print(_GAP.join(padded).rstrip(), flush=True)


def _narrowed(widths: Sequence[int], right: frozenset[int], room: int) -> list[int]:
    """Columns that take no more than `room` cells together, where that leaves something to read."""
    narrowed = list(widths)
    gives = [column for column in range(len(widths)) if column not in right]
    while sum(narrowed) + len(_GAP) * (len(widths) - 1) > room:
        widest = max(gives, key=lambda column: narrowed[column])
        if narrowed[widest] <= _LEAST_COLUMN:
            break
        narrowed[widest] -= 1
    return narrowed


def terminal_width() -> int | None:
    """Columns of the terminal that reads this; None where it is a file or another program."""
    return os.get_terminal_size().columns if on_terminal() else None


def on_terminal() -> bool:
    """Whether a person watches: a pipe or a CI log gets plain lines instead of a moving bar."""
    return sys.stdout.isatty() and os.environ.get("TERM") != "dumb"


class ProgressLine:
    """One line that is rewritten in place on a terminal, and not shown at all elsewhere."""

    def __init__(self) -> None:
        self._shown = False
        self._moves = on_terminal()

    def show(self, text: str) -> None:
        if self._moves:
            width = os.get_terminal_size().columns - 1 if sys.stdout.isatty() else 79
            print("\r\x1b[K" + plain(text, max(width, 20)), end="", flush=True)
            self._shown = True

    def clear(self) -> None:
        if self._shown:
            print("\r\x1b[K", end="", flush=True)
            self._shown = False
