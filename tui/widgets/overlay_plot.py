"""Several runs in one plot: braille lines in colours, told apart by glyphs where there is no colour."""

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from finetune_tui.core.runs.series import Points, X
from finetune_tui.core.text import count, duration
from finetune_tui.tui.widgets.curve import empty_lines, label_cells, x_axis_lines, y_axis
from finetune_tui.tui.widgets.lines import Line, Span, line
from finetune_tui.tui.widgets.plot import (
    DOTS_ACROSS,
    DOTS_DOWN,
    axis_over,
    braille,
    columns_of,
    dots_of,
    y_ticks,
)
from finetune_tui.tui.widgets.run_lines import glyph_of, run_style

_APART = 5  # marks along a line, about
_CLOSEST = 6  # cells between two marks of one line

WORDS: Mapping[X, Callable[[float], str]] = {
    "step": lambda value: f"{value:.0f}",
    "seconds": duration,
    "tokens": count,
}
"""How a place on each x axis is written."""


@dataclass(frozen=True, slots=True)
class Curve:
    """One run's line. place: 0 to 5, which glyph and colour are its own."""

    series: Points
    place: int


@dataclass(frozen=True, slots=True)
class OverlayOptions:
    """axis: a key of WORDS. cursor: the cell of the readout, counted from the y axis; None: none."""

    axis: X = "step"
    log: bool = False
    cursor: int | None = None


@dataclass(frozen=True, slots=True)
class OverlayFrame:
    """Where the plot lies. indent: cells before its first one; cells: its width; last: its last x."""

    indent: int
    cells: int
    last: float

    def x_at(self, cell: int) -> float:
        return self.last * cell / max(self.cells - 1, 1)


def value_at(series: Points, x: float) -> float | None:
    """The newest value at or before `x`; None before the first point and after the last."""
    if not len(series) or not series.xs[0] <= x <= series.xs[-1]:
        return None
    return series.means[bisect_right(series.xs, x) - 1]


def overlay_lines(
    curves: Sequence[Curve],
    width: int,
    height: int,
    options: OverlayOptions = OverlayOptions(),
    empty: str = "nothing to show",
) -> tuple[list[Line], OverlayFrame | None]:
    """Exactly `height` lines, and where in them the plot is; None when there is nothing to plot.

    The first curve lies on top where several share a cell.
    """
    rows = height - 2
    axis = None
    if rows > 0:
        axis = axis_over([curve.series for curve in curves], rows * DOTS_DOWN, options.log)
    labels = y_ticks(axis, rows) if axis else {}
    indent = label_cells(labels)
    across = width - indent - 1
    if axis is None or across < 1:
        return empty_lines(width, height, empty), None
    last = max(curve.series.xs[-1] for curve in curves if len(curve.series))
    canvas = _Canvas(rows, across)
    drawn = []
    for curve in curves:
        dots = dots_of(columns_of(curve.series, 0, last, across * DOTS_ACROSS), axis)
        canvas.draw(dots, run_style(curve.place))
        drawn.append((curve, dots))
    for order, (curve, dots) in enumerate(drawn):
        for cell in _marked(curve.series, last, across, order / len(drawn)):
            canvas.mark(cell, dots, glyph_of(curve.place), run_style(curve.place))
    canvas.draw_cursor(options.cursor)
    lines = [line(y_axis(labels.get(row), indent), canvas.line(row)) for row in range(rows)]
    below = x_axis_lines(last, across, indent, WORDS[options.axis], options.axis == "seconds")
    return lines + below, OverlayFrame(indent, across, last)


def _marked(series: Points, last: float, across: int, shift: float) -> list[int]:
    """The cells that carry a curve's glyph: every point where points are few, else now and then."""
    columns = columns_of(series, 0, last, across) if len(series) else []
    filled = [cell for cell, column in enumerate(columns) if column is not None]
    if len(filled) <= across // 3:
        return filled
    apart = max(across // _APART, _CLOSEST)
    at = [filled[0] + round((shift + turn) * apart) for turn in range(_APART + 1)]
    return [*(cell for cell in at if cell < filled[-1]), filled[-1]]


class _Canvas:
    """Cells that several curves share: the dots of all, in the colour of the one on top."""

    def __init__(self, rows: int, cells: int) -> None:
        self._texts = [[" "] * cells for _ in range(rows)]
        self._styles = [[""] * cells for _ in range(rows)]
        self._marks: set[tuple[int, int]] = set()

    def draw(self, dots: Sequence[int], style: str) -> None:
        for row, text in enumerate(braille(dots, len(self._texts))):
            texts, styles = self._texts[row], self._styles[row]
            for cell, character in enumerate(text):
                if character == " ":
                    continue
                if texts[cell] == " ":
                    texts[cell], styles[cell] = character, style
                else:
                    texts[cell] = chr(ord(texts[cell]) | ord(character))

    def mark(self, cell: int, dots: Sequence[int], glyph: str, style: str) -> None:
        """A glyph on a curve; one that is in the way is not covered, its neighbour is taken."""
        for beside in (cell, cell - 1, cell + 1, cell - 2, cell + 2):
            pixels = dots[max(beside, 0) * DOTS_ACROSS : (beside + 1) * DOTS_ACROSS]
            column = max(pixels, default=0)
            if not column:
                continue
            middle = (column.bit_length() - 1 + _lowest_bit(column)) // 2
            row = len(self._texts) - 1 - middle // DOTS_DOWN
            if (row, beside) not in self._marks:
                self._marks.add((row, beside))
                self._texts[row][beside], self._styles[row][beside] = glyph, f"{style} strong"
                return

    def draw_cursor(self, cell: int | None) -> None:
        """A line from top to bottom, behind what is drawn."""
        for texts, styles in zip(self._texts, self._styles, strict=True):
            if cell is not None and 0 <= cell < len(texts) and texts[cell] == " ":
                texts[cell], styles[cell] = "│", "dim"

    def line(self, row: int) -> Line:
        """Neighbours of one style as one span."""
        spans: list[Span] = []
        for text, style in zip(self._texts[row], self._styles[row], strict=True):
            if spans and spans[-1].style == style:
                spans[-1] = Span(spans[-1].text + text, style)
            else:
                spans.append(Span(text, style))
        return tuple(spans)


def _lowest_bit(bits: int) -> int:
    return (bits & -bits).bit_length() - 1
