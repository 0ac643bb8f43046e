"""Markdown as plain styled lines: the little of it that our own reports are written in.

Headings, paragraphs, lists, tables, fenced code, `code` and **bold**. Anything else shows as it is typed.
"""

import re
from collections.abc import Iterator
from itertools import groupby

from finetune_tui.core.text import plain, plain_lines
from finetune_tui.tui.widgets.lines import Line, Span, cells, dim, fit, line, rule, strong, wrap

_INLINE = re.compile(r"`([^`]+)`|\*\*([^*]+)\*\*")
_HEADING = re.compile(r"(#{1,6})\s+(.*)")
_ITEM = re.compile(r"(\s*)([-*]|\d+\.)\s+(.*)")
_RULED = re.compile(r"\|?[\s:|-]+\|?")
_SHORTEST_CELL = 6


def markdown_lines(text: str, width: int) -> list[Line]:
    """The text in this width; one empty line between parts, none at the start."""
    made: list[Line] = []
    for kind, part in _parts(plain_lines(text)):
        if made:
            made.append(())
        made += _MAKERS[kind](part, width)
    return made


def inline(text: str, style: str = "") -> Line:
    """One line with its `code` and **bold** parts styled."""
    spans: list[Span] = []
    end = 0
    for found in _INLINE.finditer(text):
        spans.append(Span(text[end : found.start()], style))
        spans.append(Span(found[1], "accent") if found[1] else strong(found[2]))
        end = found.end()
    return line(*spans, Span(text[end:], style))


def _parts(text: str) -> Iterator[tuple[str, list[str]]]:
    """Runs of lines of one kind; each heading and each list is a part."""
    fenced = False

    def kind_of(row: str) -> str:
        nonlocal fenced
        if row.lstrip().startswith("```"):
            fenced = not fenced
            return "fence"
        if fenced:
            return "code"
        if not row.strip():
            return ""
        if _HEADING.match(row):
            return "heading"
        if row.lstrip().startswith("|"):
            return "table"
        return "list" if _ITEM.match(row) or row.startswith("  ") else "words"

    kinds = [(kind_of(row), row) for row in text.splitlines()]
    for kind, rows in groupby(kinds, key=lambda each: each[0]):
        found = [row for _, row in rows]
        if kind == "heading":
            yield from ((kind, [row]) for row in found)
        elif kind in _MAKERS:
            yield kind, found


def _heading(rows: list[str], width: int) -> list[Line]:
    found = _HEADING.match(rows[0])
    assert found is not None  # it is a heading by that
    title = line(*(strong(span.text) for span in inline(found[2])))
    return [rule(width, [title]) if len(found[1]) <= 2 else title]


def _words(rows: list[str], width: int) -> list[Line]:
    return list(_wrapped(" ".join(row.strip() for row in rows), width, ""))


def _list(rows: list[str], width: int) -> list[Line]:
    """Items hang behind their marks; an indented line goes on with the item above it."""
    items: list[list[str]] = []
    for row in rows:
        if _ITEM.match(row) or not items:
            items.append([row])
        else:
            items[-1].append(row.strip())
    made: list[Line] = []
    for item in items:
        found = _ITEM.match(" ".join(item))
        indent, mark, words = found.groups() if found else ("", " ", " ".join(item).strip())
        start = f"{indent}{'·' if mark in '-*' else mark} "
        made += _wrapped(words, width, start)
    return made


def _wrapped(text: str, width: int, start: str) -> Iterator[Line]:
    """Broken into lines, the first behind `start` and the others under it.

    Code and bold are kept whole over a break by parting the styled text, not the marks.
    """
    room = max(width - len(start), 8)
    styled = inline(text)
    shown = "".join(span.text for span in styled)
    at = 0
    for number, words in enumerate(wrap(shown, room)):
        at = shown.find(words, at)
        yield line(start if number == 0 else " " * len(start), _cut(styled, at, at + len(words)))
        at += len(words)


def _cut(of: Line, start: int, end: int) -> Line:
    """The characters from `start` to `end`, with their styles."""
    spans, at = [], 0
    for span in of:
        text = span.text[max(start - at, 0) : max(end - at, 0)]
        spans.append(span._replace(text=text))
        at += len(span.text)
    return line(*spans)


def _table(rows: list[str], width: int) -> list[Line]:
    """Columns as wide as they need; too wide a table gives way in its widest column."""
    table = [
        [inline(cell.strip()) for cell in row.strip().strip("|").split("|")]
        for row in rows
        if not _RULED.fullmatch(row.strip())
    ]
    columns = max(map(len, table), default=0)
    for row in table:
        row += [()] * (columns - len(row))
    widths = [max(cells(row[at]) for row in table) for at in range(columns)]
    while sum(widths) + 2 * (columns - 1) > width and max(widths, default=0) > _SHORTEST_CELL:
        widths[widths.index(max(widths))] -= 1
    right = [_is_number_column([row[at] for row in table[1:]]) for at in range(columns)]
    made = []
    for number, row in enumerate(table):
        parts: list[Line | str] = []
        for at, cell in enumerate(row):
            shown = line(*(dim(span.text) for span in cell)) if number == 0 else cell
            room = widths[at] - cells(shown)
            padded = line(" " * max(room, 0), shown) if right[at] else fit(shown, widths[at])
            parts += [padded if room >= 0 else fit(shown, widths[at]), "  "]
        made.append(line(*parts))
    return made


def _is_number_column(column: list[Line]) -> bool:
    texts = ["".join(span.text for span in cell) for cell in column]
    numbers = [text for text in texts if text]
    return bool(numbers) and all(text[0].isdigit() or text[0] in "+−-~." for text in numbers)


def _code(rows: list[str], _width: int) -> list[Line]:
    return [line("  ", Span(plain(row), "accent")) for row in rows]


_MAKERS = {
    "heading": _heading,
    "words": _words,
    "list": _list,
    "table": _table,
    "code": _code,
}
