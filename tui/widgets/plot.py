"""Where the dots of a curve go: scaling, bucketing to pixel columns, ticks. No widgets here.

A cell holds 2 × 4 braille dots ("pixels"). A frame looks only at the smallest and largest value of
each pixel column; a series holds some thousands of entries, however long the run is.
"""

import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from finetune_tui.core.runs.series import Points

DOTS_ACROSS = 2
DOTS_DOWN = 4
_BRAILLE = 0x2800
_MINUTE, _HOUR, _DAY = 60.0, 3600.0, 86400.0
_CLOCK_STEPS = (
    *(1.0, 2.0, 5.0, 10.0, 15.0, 30.0),
    *(_MINUTE * step for step in (1, 2, 5, 10, 15, 30)),
    *(_HOUR * step for step in (1, 2, 3, 6, 12)),
    *(_DAY * step for step in (1, 2, 5, 10, 20, 50, 100)),
)
# The bits of a braille cell for four dots of its left column, counted from the bottom.
_LEFT = [
    sum(bit for place, bit in enumerate((0x40, 0x04, 0x02, 0x01)) if dots >> place & 1)
    for dots in range(16)
]
_RIGHT = [
    sum(bit for place, bit in enumerate((0x80, 0x20, 0x10, 0x08)) if dots >> place & 1)
    for dots in range(16)
]


@dataclass(frozen=True, slots=True)
class Axis:
    """Maps values to pixels 0 … pixels - 1; what lies outside goes to the ends.

    A log axis needs low > 0.
    """

    low: float
    high: float
    pixels: int
    log: bool = False

    def pixel(self, value: float) -> int:
        if self.log:
            floor = math.log(self.low)
            share = (math.log(max(value, self.low)) - floor) / (math.log(self.high) - floor)
        else:
            share = (value - self.low) / (self.high - self.low)
        top = self.pixels - 1
        return 0 if share <= 0 else top if share >= 1 else round(share * top)


def axis_over(series: Sequence[Points], pixels: int, log: bool = False) -> Axis | None:
    """An axis that shows every y, with a little air; None when there is nothing to show.

    A log axis is asked for only; where a value is not above 0 the axis is linear.
    """
    ranges = [one.extremes(0, len(one)) for one in series if len(one)]
    if not ranges:
        return None
    low, high = min(low for low, _ in ranges), max(high for _, high in ranges)
    if log and low > 0:
        if low > high / 1.05:
            low, high = low / 1.05, high * 1.05
        return Axis(low, high, pixels, log=True)
    air = (high - low) * 0.02 or abs(high) * 0.1 or 1.0
    floor = 0.0 if low >= 0 else -math.inf
    return Axis(max(low - air, floor), high + air, pixels)


Column = tuple[float, float] | None
"""The smallest and largest value of one pixel column; None where no point lies."""


def columns_of(series: Points, low: float, high: float, pixels: int) -> list[Column]:
    """The series cut into pixel columns over x from `low` to `high`; every point there is in one."""
    if pixels < 1:
        return []
    width = (high - low) / max(pixels - 1, 1) or 1.0
    xs = series.xs
    columns: list[Column] = []
    start = bisect_left(xs, low)
    stop = bisect_right(xs, high)
    for pixel in range(1, pixels + 1):
        end = stop if pixel == pixels else bisect_left(xs, low + (pixel - 0.5) * width, start, stop)
        columns.append(series.extremes(start, end) if end > start else None)
        start = end
    return columns


def dots_of(columns: Sequence[Column], axis: Axis) -> list[int]:
    """Each pixel column's dots as bits, bit 0 at the bottom: a bar joined to its neighbours."""
    dots = [0] * len(columns)
    before: tuple[int, int, int] | None = None  # column, lowest and highest pixel
    for x, column in enumerate(columns):
        if column is None:
            continue
        low = axis.pixel(column[0])
        high = low if column[1] == column[0] else axis.pixel(column[1])
        dots[x] |= _bar(low, high)
        if before is not None:
            _join(dots, before, (x, low, high))
        before = (x, low, high)
    return dots


def _bar(low: int, high: int) -> int:
    return (2 << high) - (1 << low)


def _join(dots: list[int], left: tuple[int, int, int], right: tuple[int, int, int]) -> None:
    """A line from the edge of one bar to the nearest edge of the next, over empty columns too."""
    (x0, low0, high0), (x1, low1, high1) = left, right
    if x1 == x0 + 1 and low1 <= high0 + 1 and low0 <= high1 + 1:
        return  # they touch
    y0, y1 = (high0, low1) if low1 > high0 else (low0, high1) if high1 < low0 else (high0, high0)
    if low1 <= y0 <= high1:
        y1 = y0
    previous = y0
    for x in range(x0 + 1, x1 + 1):
        y = round(y0 + (y1 - y0) * (x - x0) / (x1 - x0))
        dots[x] |= _bar(min(previous, y), max(previous, y))
        previous = y


def braille(dots: Sequence[int], rows: int) -> list[str]:
    """Two pixel columns a cell, four pixels a row, the top row first; empty cells are spaces."""
    width = (len(dots) + 1) // DOTS_ACROSS
    grid = [[" "] * width for _ in range(rows)]
    for cell in range(width):
        left = dots[2 * cell]
        right = dots[2 * cell + 1] if 2 * cell + 1 < len(dots) else 0
        row = rows - 1
        while (left or right) and row >= 0:
            bits = _LEFT[left & 15] | _RIGHT[right & 15]
            if bits:
                grid[row][cell] = chr(_BRAILLE + bits)
            left >>= DOTS_DOWN
            right >>= DOTS_DOWN
            row -= 1
    return ["".join(row) for row in grid]


def y_ticks(axis: Axis, rows: int) -> dict[int, str]:
    """Labels by row of cells from the top: as many round values as leave a row between them and differ."""
    for values in _log_ticks(axis) if axis.log else _even_choices(axis.low, axis.high, rows // 2):
        at = [rows - 1 - axis.pixel(value) // DOTS_DOWN for value in values]
        apart = all(above - below >= 2 for above, below in pairwise(at))
        labels = [number(value) for value in values]
        if len(values) >= 2 and apart and len(set(labels)) == len(labels):
            return dict(zip(at, labels, strict=True))
    # Round values all fall outside: the ends say where the curve lies.
    return {0: number(axis.high), rows - 1: number(axis.low)}


def x_ticks(high: float, cells: int, time: bool = False) -> list[tuple[int, float]]:
    """Cell and value of each tick from 0 to `high`: whole round values, a label's width apart.

    time: values are seconds, round as clocks are.
    """
    if high <= 0:
        return [(0, 0.0)]
    most = max(cells // 11, 1)
    steps = (
        _CLOCK_STEPS
        if time
        else (digit * 10.0**power for power in range(16) for digit in (1, 2, 5))
    )
    step = next((step for step in steps if high / step <= most), high)
    values = [index * step for index in range(math.floor(high / step) + 1)]
    return [(round(value / high * (cells - 1)), value) for value in values]


def number(value: float) -> str:
    """Three digits that matter, never more than six characters: '1200', '2.1', '.042', '5e-5'."""
    if value == 0:
        return "0"
    size = abs(value)
    if size >= 1e5 or size < 1e-3:
        mantissa, _, exponent = f"{value:.1e}".partition("e")
        return f"{mantissa.removesuffix('.0')}e{int(exponent)}"
    if size >= 100:
        return f"{value:.0f}"
    text = f"{value:.3g}"
    return text.replace("0.", ".", 1) if text.startswith(("0.", "-0.")) else text


def _even_choices(low: float, high: float, wanted: int) -> list[list[float]]:
    """Multiples of round steps between low and high, the finest first, around the wanted number."""
    span = high - low
    if span <= 0 or not math.isfinite(span):
        return [[low]]
    power = 10.0 ** math.floor(math.log10(span / max(wanted, 1)))
    choices = []
    for step in (power * digit for digit in (0.5, 1, 2, 5, 10, 20)):
        first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
        choices.append([round(index * step, 12) for index in range(first, last + 1)])
    return choices


def _log_ticks(axis: Axis) -> list[list[float]]:
    """Round values of every decade, the finest choice first."""
    decades = range(math.floor(math.log10(axis.low)), math.ceil(math.log10(axis.high)) + 1)
    choices = []
    for digits in ((1, 2, 3, 5), (1, 2, 5), (1, 3), (1,)):
        values = [digit * 10.0**decade for decade in decades for digit in digits]
        choices.append([value for value in values if axis.low <= value <= axis.high])
    return choices
