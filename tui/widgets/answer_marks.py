"""What an answer says otherwise than was expected: the words that differ, underlined in both."""

import re
from collections.abc import Sequence
from difflib import SequenceMatcher
from functools import lru_cache

from finetune_tui.tui.widgets.lines import Line, Span, line, text_of, wrap

_PIECE = re.compile(r"\w+|\s+|[^\w\s]")
_MOST = 40_000  # pairs of pieces that are held against each other: some milliseconds

DIFFERS = "under"
"""The style of what differs: no colour, so that it is seen without any."""


@lru_cache(maxsize=64)
def marked(text: str, other: str) -> Line:
    """The text, with the pieces that `other` does not have at that place in the style DIFFERS.

    Of two long texts that differ nearly everywhere, those that it has nowhere.
    """
    pieces, others = _PIECE.findall(text), _PIECE.findall(other)
    start = _common(pieces, others)
    end = _common(pieces[start:][::-1], others[start:][::-1])
    inner = pieces[start : len(pieces) - end]
    theirs = others[start : len(others) - end]
    common = (
        _in_order(inner, theirs) if len(inner) * len(theirs) <= _MOST else _anywhere(inner, theirs)
    )
    is_common = [True] * start + common + [True] * end
    return _joined(pieces, is_common)


def wrapped(of: Line, width: int) -> list[Line]:
    """The line broken as `wrap` breaks its text, styles kept."""
    text, at, lines = text_of(of), 0, []
    for piece in wrap(text, width):
        at = text.index(piece, at)
        lines.append(_cut(of, at, at + len(piece)))
        at += len(piece)
    return lines


def _common(one: Sequence[str], other: Sequence[str]) -> int:
    """How many pieces both begin with."""
    for index, (left, right) in enumerate(zip(one, other, strict=False)):
        if left != right:
            return index
    return min(len(one), len(other))


def _in_order(pieces: Sequence[str], others: Sequence[str]) -> list[bool]:
    common = [False] * len(pieces)
    for block in SequenceMatcher(None, pieces, others, autojunk=False).get_matching_blocks():
        for index in range(block.a, block.a + block.size):
            common[index] = True
    return common


def _anywhere(pieces: Sequence[str], others: Sequence[str]) -> list[bool]:
    known = set(others)
    return [piece in known for piece in pieces]


def _joined(pieces: Sequence[str], is_common: Sequence[bool]) -> Line:
    """Neighbours that differ as one span; space between two of them differs with them."""
    spans: list[Span] = []
    for piece, common in zip(pieces, is_common, strict=True):
        style = "" if common else DIFFERS
        if spans and spans[-1].style == style:
            spans[-1] = Span(spans[-1].text + piece, style)
        else:
            spans.append(Span(piece, style))
    return line(*spans)


def _cut(of: Line, start: int, end: int) -> Line:
    cut, at = [], 0
    for span in of:
        cut.append(span._replace(text=span.text[max(start - at, 0) : max(end - at, 0)]))
        at += len(span.text)
    return line(*cut)
