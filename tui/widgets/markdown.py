"""Markdown as plain styled lines: the little of it that our own reports are written in.

Headings, paragraphs, lists, tables, fenced code, `code` and **bold**. Anything else shows as it is typed.
"""

import re
from collections.abc import Iterator, Sequence
from itertools import groupby, zip_longest

from finetune_tui.core.text import plain, plain_lines
from finetune_tui.tui.widgets.lines import Line, Span, cells, dim, line, rule, strong, wrap

_INLINE = re.compile(r"`([^`]+)`|\*\*([^*]+)\*\*")
_HEADING = re.compile(r"(#{1,6})\s+(.*)")
_ITEM = re.compile(r"(\s*)([-*]|\d+\.)\s+(.*)")
_NARROW_CELL = 18  # cells below which a column is not worth breaking its words
_RULED = re.compile(r"\|?[\s:|-]+\|?")


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
    """Columns as wide as they need, numbers to the right; words are broken where there is no room."""
    table = [
        [inline(cell.strip()) for cell in row.strip().strip("|").split("|")]
        for row in rows
        if not _RULED.fullmatch(row.strip())
    ]
    columns = max(map(len, table), default=0)
    for row in table:
        row += [()] * (columns - len(row))
    widths = [max(cells(row[at]) for row in table) for at in range(columns)]
    room = width - 2 * (columns - 1)
    if room < sum(min(each, _NARROW_CELL) for each in widths):
        return _stacked(table, width)
    while sum(widths) > room:
        widths[widths.index(max(widths))] -= 1
    right = [_is_number_column([row[at] for row in table[1:]]) for at in range(columns)]
    made = []
    for number, row in enumerate(table):
        shown = [line(*(dim(span.text) for span in cell)) for cell in row] if not number else row
        broken = [_broken(cell, room) for cell, room in zip(shown, widths, strict=True)]
        for parts in zip_longest(*broken, fillvalue=()):
            made.append(_row_line(parts, widths, right))
    return made


def _broken(cell: Line, width: int) -> list[Line]:
    """A cell in as many lines as it needs."""
    text = "".join(span.text for span in cell)
    found, at = [], 0
    for words in wrap(text, width):
        at = text.find(words, at)
        found.append(_cut(cell, at, at + len(words)))
        at += len(words)
    return found


def _row_line(parts: Sequence[Line], widths: list[int], right: list[bool]) -> Line:
    made: list[Line] = []
    for part, width, is_number in zip(parts, widths, right, strict=True):
        gap = line("  ") if made else ()
        padding = line(" " * (width - cells(part)))
        made.append(line(gap, padding, part) if is_number else line(gap, part, padding))
    return line(*made)


def _stacked(table: list[list[Line]], width: int) -> list[Line]:
    """A table that is too wide: each row's first cell, and under it the others by their columns' names."""
    head, *rows = (["".join(span.text for span in cell) for cell in row] for row in table)
    made: list[Line] = []
    for row in rows:
        if row[0]:
            made += [line(Span(words, "accent")) for words in wrap(row[0], width)]
        named = [f"{name} {value}" for name, value in zip(head[1:], row[1:], strict=True) if value]
        made += [line("  ", dim(words)) for words in wrap(" · ".join(named), max(width - 2, 8))]
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
