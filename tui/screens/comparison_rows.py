"""The rows of a comparison as lines: one in the list, one in full with what differs marked."""

from collections.abc import Sequence
from dataclasses import dataclass

from finetune_tui.core.evidence.compared_rows import ComparedRow
from finetune_tui.core.evidence.comparison import Verdict
from finetune_tui.core.text import plain, plain_lines
from finetune_tui.tui.screens.comparison_figures import MARKS, NARROW, score, verdict_words
from finetune_tui.tui.widgets.answer_marks import DIFFERS, marked, wrapped
from finetune_tui.tui.widgets.lines import (
    Line,
    Span,
    cells,
    dim,
    fit,
    flowed,
    line,
    strong,
    text_of,
)

_BESIDE = 110  # columns from which the answers stand beside each other
_INDENT = 12  # cells before a text: its label and a mark
_NOTHING = "(nothing)"
_NO_MARK = Span("")


def row_line(number: int, row: ComparedRow | None, verdict: Verdict, width: int) -> Line:
    """`▲ fixed  12  Order: three shelves…  {"sku": "shelf"…`; row: None until it was read."""
    word = f" {verdict_words(verdict):<11}" if width >= NARROW else " "
    start = line(" ", MARKS[verdict], word, dim(f"{number + 1:>5}  "))
    if row is None:
        return line(start, dim("…"))
    room = width - cells(start) - 1
    prompt = plain(row.prompt, 400).strip()
    if width < _BESIDE:
        return line(start, fit(line(prompt), room))
    half = room // 2
    answer = plain(row.tuned, 400).strip() or _NOTHING
    return line(start, fit(line(prompt), half - 2), "  ", fit(line(dim(answer)), room - half))


@dataclass(frozen=True, slots=True)
class _Part:
    """One text of a row, wrapped. label: what it is."""

    label: str
    lines: list[Line]
    mark: Span = _NO_MARK


def full_row(row: ComparedRow, width: int) -> list[Line]:
    """Everything of a row: scores, prompt, what was expected, both answers."""
    lines = [*score_lines(row, width), ()]
    if width >= _BESIDE:
        lines += [*_stacked(_prompt(row, width - _INDENT - 3)), ()]
        return lines + _beside(_answers(row, _column(width)), width)
    parts = [_prompt(row, width - _INDENT - 3), *_answers(row, width - _INDENT - 3)]
    for part in parts:
        lines += [*_stacked(part), ()]
    return lines


def short_row(row: ComparedRow, width: int, height: int) -> list[Line]:
    """A row in so many lines: the longest parts give way first."""
    if width >= _BESIDE:
        prompt = _prompt(row, width - _INDENT - 3)
        answers = _answers(row, _column(width))
        tallest = max(len(part.lines) for part in answers)
        rows = min(tallest, max(height - 2, height // 2))  # 1 for their head
        prompt = _cut(prompt, max(height - rows - 1, 1))
        return [*_stacked(prompt), *_beside([_cut(part, rows) for part in answers], width)][:height]
    expected, *said = _answers(row, width - _INDENT - 3)
    as_expected = [line(dim("as expected"))]
    said = [
        _Part(part.label, as_expected, part.mark) if part.lines == expected.lines else part
        for part in said
    ]
    parts = [_prompt(row, width - _INDENT - 3), expected, *said]
    room = _shares([len(part.lines) for part in parts], height)
    lines: list[Line] = []
    for part, most in zip(parts, room, strict=True):
        lines += _stacked(_cut(part, most)) if most else []
    return lines[:height]


def row_text(row: ComparedRow) -> str:
    """A row to be copied."""
    parts = (
        ("prompt", row.prompt),
        ("expected", row.expected),
        ("base", row.base),
        ("tuned", row.tuned),
    )
    return "\n\n".join(f"{name}:\n{plain_lines(text)}" for name, text in parts)


def score_lines(row: ComparedRow, width: int) -> list[Line]:
    """`exact ✗ → ✓ · fields .50 → 1.00`: what each metric says of the base and of the tuned model."""
    parts = [
        line(dim(f"{plain(name, 20)} "), _score(base), dim(" → "), _score(tuned))
        for name, (base, tuned) in row.scores.items()
    ]
    return flowed(parts, width, 2)


def _score(value: float | None) -> Span:
    if value is None:
        return dim("–")
    if value in (0.0, 1.0):
        return Span("✓", "good") if value else Span("✗", "bad")
    return strong(score(value))


def _prompt(row: ComparedRow, width: int) -> _Part:
    return _Part("prompt", _wrapped(line(plain_lines(row.prompt).strip("\n")), width))


def _answers(row: ComparedRow, width: int) -> list[_Part]:
    """Expected, base and tuned. What differs from the expected answer is underlined in the answers, and in
    the expected one what the tuned model did not say."""
    wanted, base, tuned = (
        plain_lines(text).strip() for text in (row.expected, row.base, row.tuned)
    )
    base_right = row.verdict in (Verdict.BOTH_RIGHT, Verdict.REGRESSED)
    tuned_right = row.verdict in (Verdict.BOTH_RIGHT, Verdict.FIXED)
    missed = tuned if not tuned_right else base
    return [
        _Part("expected", _wrapped(marked(wanted, missed), width)),
        _Part("base", _wrapped(marked(base, wanted), width), _mark(base_right)),
        _Part("tuned", _wrapped(marked(tuned, wanted), width), _mark(tuned_right)),
    ]


def _mark(is_right: bool) -> Span:
    return Span("✓", "good") if is_right else Span("✗", "bad")


def _wrapped(of: Line, width: int) -> list[Line]:
    """Wrapped line by line of its text; nothing is said in words."""
    if not text_of(of):
        return [line(dim(_NOTHING))]
    return [piece for one in _split(of) for piece in wrapped(one, max(width, 10))]


def _split(of: Line) -> list[Line]:
    """The text's own lines."""
    lines: list[list[Span]] = [[]]
    for span in of:
        first, *rest = span.text.split("\n")
        lines[-1].append(span._replace(text=first))
        lines += [[span._replace(text=text)] for text in rest]
    return [line(*spans) for spans in lines]


def _stacked(part: _Part) -> list[Line]:
    label = fit(line(dim(f" {part.label:<9}"), part.mark), _INDENT)
    return [line(label if at == 0 else " " * _INDENT, one) for at, one in enumerate(part.lines)]


def _column(width: int) -> int:
    return (width - 3 * 2) // 3 - 1


def _beside(parts: Sequence[_Part], width: int) -> list[Line]:
    """In columns with a head each."""
    each = _column(width)
    rows: list[list[Line]] = [[line(strong(part.label), " ", part.mark) for part in parts]]
    for at in range(max(len(part.lines) for part in parts)):
        rows.append([part.lines[at] if at < len(part.lines) else () for part in parts])
    return [line(*(line(" ", fit(cell, each), "  ") for cell in row)) for row in rows]


def _cut(part: _Part, most: int) -> _Part:
    """At most so many lines, with what differs among them and a sign where there are more."""
    if len(part.lines) <= most:
        return part
    differs = next((at for at, one in enumerate(part.lines) if _differs(one)), 0)
    first = 0 if differs < most else min(differs, len(part.lines) - most)
    kept = part.lines[first : first + most]
    if first:
        kept[0] = line(dim("… "), kept[0])
    if first + most < len(part.lines):
        kept[-1] = line(kept[-1], dim(" …"))
    return _Part(part.label, kept, part.mark)


def _differs(of: Line) -> bool:
    return any(span.style == DIFFERS for span in of)


def _shares(wanted: Sequence[int], height: int) -> list[int]:
    """How many of `height` lines each part gets: one at least, then in turn as long as they want more."""
    given = [0] * len(wanted)
    order = sorted(
        range(len(wanted)), key=lambda at: (at == 0, at)
    )  # of too few the prompt has none
    left = height
    while left and any(given[at] < wanted[at] for at in order):
        for at in order:
            if left and given[at] < wanted[at]:
                given[at] += 1
                left -= 1
    return given
