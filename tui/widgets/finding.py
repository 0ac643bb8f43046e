"""Words looked for in lines that are shown: where they stand, and how they are pointed out."""

import re
from collections.abc import Sequence

from finetune_tui.tui.widgets.lines import Line, line, text_of


def matching(lines: Sequence[Line], words: str) -> list[int]:
    """Which lines hold these words, in whatever case."""
    pattern = _pattern(words)
    return [at for at, one in enumerate(lines) if pattern.search(text_of(one))] if words else []


def pointed_out(of: Line, words: str) -> Line:
    """The line with the words underlined wherever they stand."""
    if not words:
        return of
    edges = {edge for found in _pattern(words).finditer(text_of(of)) for edge in found.span()}
    if not edges:
        return of
    spans, at, inside = [], 0, False
    for span in of:
        start = 0
        for index in range(len(span.text)):
            if at + index in edges:
                piece = span.text[start:index]
                spans.append(span._replace(text=piece, style=_style(span.style, inside)))
                start, inside = index, not inside
        spans.append(span._replace(text=span.text[start:], style=_style(span.style, inside)))
        at += len(span.text)
    return line(*spans)


def _style(style: str, inside: bool) -> str:
    return f"{style} under".strip() if inside else style


def _pattern(words: str) -> re.Pattern[str]:
    return re.compile(re.escape(words), re.IGNORECASE)
