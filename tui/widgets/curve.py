"""The plot of a run: train loss as a braille band, held-out loss as `o`, axes in round numbers."""

from dataclasses import dataclass

from finetune_tui.core.text import duration
from finetune_tui.tui.widgets.lines import Line, Span, fit
from finetune_tui.tui.widgets.plot import (
    DOTS_ACROSS,
    DOTS_DOWN,
    Axis,
    Series,
    axis_over,
    braille,
    columns_of,
    dots_of,
    number,
    x_ticks,
    y_ticks,
)

_LABELS = 5  # cells of a y label
_SMALLEST_WITH_X_AXIS = 6  # rows; a lower plot is a sparkline


@dataclass(frozen=True, slots=True)
class CurveOptions:
    """log: the y axis. time: the x axis counts seconds, not steps. end: where the x axis ends."""

    log: bool = False
    time: bool = False
    end: float | None = None


def curve_lines(
    train: Series,
    evals: Series,
    width: int,
    height: int,
    options: CurveOptions = CurveOptions(),
    empty: str = "no step yet",
) -> list[Line]:
    """Exactly `height` lines. The x axis runs from 0 to the last point, or to `options.end`."""
    has_x_axis = height >= _SMALLEST_WITH_X_AXIS
    rows = height - 2 if has_x_axis else height
    across = width - _LABELS - 1
    axis = axis_over([train, evals], rows * DOTS_DOWN, options.log) if rows > 0 < across else None
    if axis is None:
        return _empty(width, height, empty)
    last = max([*train.xs[-1:], *evals.xs[-1:], options.end or 0])
    dots = dots_of(columns_of(train, 0, last, across * DOTS_ACROSS), axis)
    drawn = braille(dots, rows)
    marks = _marks(evals, last, across, axis, rows)
    labels = y_ticks(axis, rows)
    lines = [_row(drawn[row], marks.get(row, {}), labels.get(row)) for row in range(rows)]
    return lines + (_x_axis(last, across, options.time) if has_x_axis else [])


def sparkline(train: Series, title: str, unit: str, width: int, height: int) -> list[Line]:
    """A small plot under its name and last value."""
    last = "–" if train.last is None else number(train.last)
    head: Line = (Span(f"{title} ", "dim"), Span(f"{last}{unit}", "strong"))
    return [head, *curve_lines(train, Series(), width, height - 1, empty="")]


def _row(dots: str, marks: dict[int, str], label: str | None) -> Line:
    start = Span(f"{label or '':>{_LABELS}}", "dim")
    axis = Span("┤" if label else "│", "rule")
    spans = [start, axis]
    done = 0
    for x, mark in sorted(marks.items()):
        spans += [Span(dots[done:x], "accent"), Span(mark, "warn strong")]
        done = x + 1
    return tuple(span for span in (*spans, Span(dots[done:], "accent")) if span.text)


def _marks(
    evals: Series, last: float, across: int, axis: Axis, rows: int
) -> dict[int, dict[int, str]]:
    """`o` by row and cell. Held-out losses are few; where they are many they share cells."""
    marks: dict[int, dict[int, str]] = {}
    for cell, column in enumerate(columns_of(evals, 0, last, across)):
        if column is not None:
            row = rows - 1 - axis.pixel(column[1]) // DOTS_DOWN
            marks.setdefault(row, {})[cell] = "o"
    return marks


def _x_axis(last: float, across: int, time: bool) -> list[Line]:
    ticks = x_ticks(last, across, time)
    line = ["─"] * across
    words = [" "] * across
    taken = 0
    for cell, value in ticks:
        word = duration(value) if time else f"{value:.0f}"
        start = min(max(cell - len(word) // 2, 0), across - len(word))
        if start < taken:
            continue
        line[cell] = "┬"
        words[start : start + len(word)] = word
        taken = start + len(word) + 1
    indent = " " * _LABELS
    return [
        (Span(indent + "└" + "".join(line), "rule"),),
        (Span(f"{indent} {''.join(words)}", "dim"),),
    ]


def _empty(width: int, height: int, words: str) -> list[Line]:
    lines: list[Line] = [()] * max(height, 0)
    if height and words:
        lines[height // 2] = fit((Span(words.center(width), "dim"),), width)
    return lines
