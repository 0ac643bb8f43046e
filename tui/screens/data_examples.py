"""Rows as the model reads them: what trains is bold and underlined, everything else dim."""

import re
from collections.abc import Iterable, Iterator
from itertools import islice

from rich.cells import cell_len, chop_cells

from finetune_tui.core.data.rows import Row
from finetune_tui.core.data.token_report import TokenExample
from finetune_tui.core.text import plain, visible
from finetune_tui.core.tuning.spec import Spec
from finetune_tui.tui.pieces import Piece, merged
from finetune_tui.tui.widgets.lines import Line, Span, clip_left, dim, line

_LONGEST = 20_000  # characters of a row
_MOST_LINES = 2000
_CHUNK = re.compile(r"\n|[^\S\n]+|\S+")
_BORDER = Span("│", "rule")


def counted_example(example: TokenExample, width: int, with_borders: bool) -> list[Line]:
    """One row token by token. with_borders: a bar between any two tokens."""
    trained = sum(trains for _, trains in example.tokens)
    number = len(example.tokens)
    more = f"; {example.cut} more are cut off" if example.cut else ""
    lines = [
        line(dim(f" {clip_left(plain(example.where), width - 2)}")),
        line(dim(f" {number} tokens, {trained} trained{more}")),
        _legend(width),
        (),
    ]
    pieces = example.tokens if with_borders else merged(example.tokens)
    lines += _body(pieces, width, with_borders)
    if example.cut:
        lines += [line(Span(f" … {example.cut} tokens are cut off at max_length", "warn"))]
    return lines


def raw_example(row: Row, spec: Spec, width: int) -> list[Line]:
    """One row as the file has it, before a model's template and tokens."""
    where = f"{plain(row.path.name)}:{row.line}"
    lines = [
        line(dim(f" {clip_left(where, width - 2)}")),
        line(dim(" as the file has it, no template yet")),
        _legend(width),
        (),
    ]
    parts = [(text.rstrip("\n") + "\n", trains) for text, trains in _parts(row, spec)]
    return [*lines, *_body(parts, width, False)]


def _body(pieces: Iterable[Piece], width: int, with_borders: bool) -> list[Line]:
    """As much of a row as anyone reads."""
    kept: list[Piece] = []
    room = _LONGEST
    for text, trains in pieces:
        kept.append((text[:room], trains))
        room -= len(text)
        if room < 0:
            break
    lines = list(islice(_flowed(kept, width, with_borders), _MOST_LINES + 1))
    if room < 0 or len(lines) > _MOST_LINES:
        lines[_MOST_LINES:] = []
        lines.append(line(dim(" … the rest of this row is not shown")))
    return lines


def _legend(width: int) -> Line:
    trained = line(" ", Span("trained", "under"), dim("  read only"))
    return line(trained, dim("  ⏎ line break")) if width >= 40 else trained


def _parts(row: Row, spec: Spec) -> Iterator[Piece]:
    """The texts of a row in order."""
    if row.text is not None:
        yield row.text, True
    elif row.messages is None:
        yield row.prompt or "", not spec.completion_only_loss
        yield row.completion or "", True
    answers = [i for i, turn in enumerate(row.messages or ()) if turn.get("role") == "assistant"]
    learnt = set(answers[-1:] if spec.last_turn_only else answers)
    for index, message in enumerate(row.messages or ()):
        content = message.get("content")
        said = content if isinstance(content, str) and content else "(calls a tool)"
        trains = index in learnt or not spec.assistant_only_loss
        yield f"{message.get('role')}: {said}", trains


def _flowed(pieces: Iterable[Piece], width: int, with_borders: bool) -> Iterator[Line]:
    """Broken at white space where that can be, at line breaks always; every character is shown."""
    room = max(width - 2, 8)
    current: list[Span] = []
    used = 0
    for number, (text, trains) in enumerate(pieces):
        style = "under" if trains else "dim"
        chunks = [(visible(chunk), style) for chunk in _CHUNK.findall(text)]
        if with_borders and number:
            chunks.insert(0, (_BORDER.text, _BORDER.style))
        for chunk, chunk_style in chunks:
            is_break = chunk == "\n"
            shown = "⏎" if is_break else chunk
            if used + cell_len(shown) > room and current:
                yield line(" ", tuple(current))
                current, used = [], 0
            *full, shown = _chopped(shown, room)
            yield from (line(" ", Span(part, chunk_style)) for part in full)
            current.append(Span(shown, chunk_style))
            used += cell_len(shown)
            if is_break:
                yield line(" ", tuple(current))
                current, used = [], 0
    if current:
        yield line(" ", tuple(current))


def _chopped(text: str, room: int) -> list[str]:
    return chop_cells(text, room) if cell_len(text) > room else [text]
