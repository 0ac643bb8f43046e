"""The plot of a run: train loss as a braille band, held-out loss as `o`, axes in round numbers."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from finetune_tui.core.runs.series import NO_POINTS, Points
from finetune_tui.core.text import duration
from finetune_tui.tui.widgets.lines import Line, Span, fit
from finetune_tui.tui.widgets.plot import (
    DOTS_ACROSS,
    DOTS_DOWN,
    Axis,
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
    train: Points,
    evals: Points,
    width: int,
    height: int,
    options: CurveOptions = CurveOptions(),
    empty: str = "no step yet",
) -> list[Line]:
    """Exactly `height` lines. The x axis runs from 0 to the last point, or to `options.end`."""
    has_x_axis = height >= _SMALLEST_WITH_X_AXIS
    rows = height - 2 if has_x_axis else height
    axis = axis_over([train, evals], rows * DOTS_DOWN, options.log) if rows > 0 else None
    labels = y_ticks(axis, rows) if axis else {}
    indent = label_cells(labels)
    across = width - indent - 1
    if axis is None or across < 1:
        return empty_lines(width, height, empty)
    last = max([*train.xs[-1:], *evals.xs[-1:], options.end or 0])
    dots = dots_of(columns_of(train, 0, last, across * DOTS_ACROSS), axis)
    drawn = braille(dots, rows)
    marks = _marks(evals, last, across, axis, rows)
    lines = [_row(drawn[row], marks.get(row, {}), labels.get(row), indent) for row in range(rows)]
    words = duration if options.time else _whole
    return lines + (x_axis_lines(last, across, indent, words, options.time) if has_x_axis else [])


def sparkline(train: Points, title: str, unit: str, width: int, height: int) -> list[Line]:
    """A small plot under its name and last value."""
    last = "–" if train.last is None else number(train.last)
    head: Line = (Span(f"{title} ", "dim"), Span(f"{last}{unit}", "strong"))
    return [head, *curve_lines(train, NO_POINTS, width, height - 1, empty="")]


def label_cells(labels: Mapping[int, str]) -> int:
    """How wide the y labels are: most are short, a learning rate may be `1.5e-4`."""
    return max([_LABELS, *map(len, labels.values())])


def y_axis(label: str | None, indent: int) -> Line:
    """One row of the y axis, with its label where there is one."""
    return (Span(f"{label or '':>{indent}}", "dim"), Span("┤" if label else "│", "rule"))


def _row(dots: str, marks: dict[int, str], label: str | None, indent: int) -> Line:
    spans = [*y_axis(label, indent)]
    done = 0
    for x, mark in sorted(marks.items()):
        spans += [Span(dots[done:x], "accent"), Span(mark, "warn strong")]
        done = x + 1
    return tuple(span for span in (*spans, Span(dots[done:], "accent")) if span.text)


def _marks(
    evals: Points, last: float, across: int, axis: Axis, rows: int
) -> dict[int, dict[int, str]]:
    """`o` by row and cell. Held-out losses are few; where they are many they share cells."""
    marks: dict[int, dict[int, str]] = {}
    for cell, column in enumerate(columns_of(evals, 0, last, across)):
        if column is not None:
            row = rows - 1 - axis.pixel(column[1]) // DOTS_DOWN
            marks.setdefault(row, {})[cell] = "o"
    return marks


def x_axis_lines(
    last: float, across: int, indent: int, word_of: Callable[[float], str], time: bool = False
) -> list[Line]:
    """The axis from 0 to `last` under a plot of `across` cells, and its labels. time: in seconds."""
    ticks = x_ticks(last, across, time)
    line = ["─"] * across
    words = [" "] * across
    taken = 0
    for cell, value in ticks:
        word = word_of(value)
        start = min(max(cell - len(word) // 2, 0), across - len(word))
        if start < taken:
            continue
        line[cell] = "┬"
        words[start : start + len(word)] = word
        taken = start + len(word) + 1
    return [
        (Span(" " * indent + "└" + "".join(line), "rule"),),
        (Span(" " * indent + " " + "".join(words), "dim"),),
    ]


def _whole(value: float) -> str:
    return f"{value:.0f}"


def empty_lines(width: int, height: int, words: str) -> list[Line]:
    """Words in the middle of `height` lines."""
    lines: list[Line] = [()] * max(height, 0)
    if height and words:
        lines[height // 2] = fit((Span(words.center(width), "dim"),), width)
    return lines
