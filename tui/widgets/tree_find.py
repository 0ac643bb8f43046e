"""Finding rows: by name, role, class and mode, and when nothing holds the words, by their letters."""

import re
from collections.abc import Callable

from finetune_tui.core.tuning.modes import Mode
from finetune_tui.tui.widgets.tree_figures import Figures
from finetune_tui.tui.widgets.tree_shape import Place, Row, TreeShape

Test = Callable[[Place], bool]
_MODE = re.compile(r"(lora|full|bias|frozen)(\d*)")


def find_places(shape: TreeShape, words: str, figures: Figures | None = None) -> list[Place]:
    """Rows that every one of the words is true of: folded ones, or when there are none, single blocks.

    A word is true where name, role or class holds it, or where it is the mode of the row (`full`,
    `lora8`). When nothing is found so, letters in order are enough: `lyr31fc` finds `layers.31.mlp.fc1`.
    """
    wanted = words.lower().split()
    if not wanted:
        return []
    for made in (lambda word: _holds(word, figures), _letters):
        tests = [made(word) for word in wanted]
        for single in (False, True):
            found = [place for place in shape.places if place.single is single and place.text]
            for test in tests:
                found = list(filter(test, found))
            if found:
                return found
    return []


def _holds(word: str, figures: Figures | None) -> Test:
    wanted = _MODE.fullmatch(word)
    if wanted is None or figures is None:
        return lambda place: word in place.text
    mode, rank = Mode(wanted[1]), int(wanted[2]) if wanted[2] else None
    return lambda place: word in place.text or _has_mode(place.row, mode, rank, figures)


def _has_mode(row: Row, mode: Mode, rank: int | None, figures: Figures) -> bool:
    """Only rows that train themselves: what lies above them is on the way to them."""
    if row.opens:
        return False
    if len(row.names) == 1:
        return figures.is_in(row.names[0], mode, rank)
    has = figures.mode(row)
    return has.mode is mode and not has.mixed and rank in (None, has.rank)


def _letters(word: str) -> Test:
    """Whether the name has these letters in this order."""

    def in_order(place: Place) -> bool:
        name, at = place.text[: place.text.find(" ")], -1
        for letter in word:
            at = name.find(letter, at + 1)
            if at < 0:
                return False
        return True

    return in_order
