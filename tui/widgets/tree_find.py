"""Finding rows: by name, role, class and mode, and when nothing holds the words, by their letters."""

import re
from collections.abc import Callable, Sequence

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
    for test in (
        lambda word: _holds(word, figures),
        _letters,
    ):
        tests = [test(word) for word in wanted]
        for single in (False, True):
            found = _passing(shape.places, tests, single)
            if found:
                return found
    return []


def _passing(places: Sequence[Place], tests: list[Test], single: bool) -> list[Place]:
    return [
        place
        for place in places
        if place.single is single and place.text and all(test(place) for test in tests)
    ]


def _holds(word: str, figures: Figures | None) -> Test:
    mode = _MODE.fullmatch(word)
    if mode is None or figures is None:
        return lambda place: word in place.text
    return lambda place: word in place.text or _has_mode(place.row, mode, figures)


def _has_mode(row: Row, wanted: re.Match[str], figures: Figures) -> bool:
    """Only rows that train themselves: what lies above them is on the way to them."""
    if row.opens:
        return False
    has = figures.mode_of(row.names[0]) if len(row.names) == 1 else figures.mode(row)
    rank = wanted[2]
    return has.mode is Mode(wanted[1]) and not has.mixed and (not rank or str(has.rank) == rank)


def _letters(word: str) -> Test:
    in_order = re.compile(".*?".join(re.escape(letter) for letter in word)).search
    return lambda place: in_order(place.text) is not None
