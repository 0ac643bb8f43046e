import math
import time
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune_tui.core.runs.series import NO_POINTS, Points, Series
from finetune_tui.tui.widgets.plot import (
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

VALUES = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=400)


def by_index(values: list[float]) -> Points:
    series = Series()
    for index, value in enumerate(values):
        series.append(index, index, index, value)
    return series.points()


@given(VALUES, st.integers(1, 300))
def test_every_point_lies_in_one_column(values: list[float], pixels: int) -> None:
    series = by_index(values)
    columns = [column for column in columns_of(series, 0, len(values) - 1, pixels) if column]
    assert min(low for low, _ in columns) == min(values)
    assert max(high for _, high in columns) == max(values)


@given(st.floats(-1e9, 1e9), st.floats(1e-3, 1e6), st.integers(1, 200), st.floats(-2e9, 2e9))
def test_a_pixel_is_always_on_the_axis(low: float, span: float, pixels: int, value: float) -> None:
    assert 0 <= Axis(low, low + span, pixels).pixel(value) < pixels


@given(VALUES)
def test_an_axis_shows_every_value_and_grows_upwards(values: list[float]) -> None:
    axis = axis_over([by_index(values)], 40)
    assert axis is not None
    assert axis.low <= min(values)
    assert axis.high >= max(values)
    assert axis.pixel(min(values)) <= axis.pixel(max(values))


def test_a_log_axis_needs_values_above_zero() -> None:
    positive, mixed = by_index([0.1, 10.0]), by_index([0.0, 1.0])
    on_log, linear = axis_over([positive], 41, log=True), axis_over([mixed], 41, log=True)
    assert on_log is not None
    assert on_log.pixel(1.0) == 20
    assert linear is not None
    assert not linear.log


def test_nothing_to_show_has_no_axis() -> None:
    assert axis_over([NO_POINTS, NO_POINTS], 40) is None


@given(VALUES, st.integers(2, 120), st.integers(1, 20))
def test_a_curve_has_no_gap_between_its_first_and_last_column(
    values: list[float], cells: int, rows: int
) -> None:
    series = by_index(values)
    axis = axis_over([series], rows * DOTS_DOWN)
    assert axis is not None
    columns = columns_of(series, 0, max(len(values) - 1, 1), cells * 2)
    dots = dots_of(columns, axis)
    drawn = [index for index, bits in enumerate(dots) if bits]
    assert drawn == list(range(drawn[0], drawn[-1] + 1))
    for left, right in zip(dots[drawn[0] : drawn[-1]], dots[drawn[0] + 1 :], strict=False):
        assert left & (right | right << 1 | right >> 1)
    assert all(bits < 1 << rows * DOTS_DOWN for bits in dots)


def test_braille_dots_lie_where_the_bits_are() -> None:
    assert braille([0b0001, 0b1000], 1) == ["⡈"]
    assert braille([0b1_0000, 0], 2) == ["⡀", " "]


@given(VALUES, st.integers(1, 40), st.booleans())
def test_labels_never_share_or_touch_a_row(values: list[float], rows: int, log: bool) -> None:
    axis = axis_over([by_index([abs(value) for value in values])], rows * DOTS_DOWN, log)
    assert axis is not None
    labels = y_ticks(axis, rows)
    assert all(0 <= row < rows for row in labels)
    assert rows < 3 or len(labels) >= 2
    ordered = sorted(labels)
    if len(ordered) > 2:
        assert all(below - above >= 2 for above, below in pairwise(ordered))


def test_ticks_are_round() -> None:
    narrow = list(y_ticks(Axis(6.379, 6.421, 20 * DOTS_DOWN), 20).values())
    assert len(set(narrow)) == len(narrow) > 2
    assert sorted(y_ticks(Axis(0.0, 2.6, 10 * DOTS_DOWN), 10).values()) == ["0", "1", "2"]
    assert sorted(y_ticks(Axis(0.01, 2, 12 * DOTS_DOWN, log=True), 12).values()) == [
        ".01",
        ".03",
        ".1",
        ".3",
        "1",
    ]
    assert [value for _, value in x_ticks(1044, 74)] == [0, 200, 400, 600, 800, 1000]


@given(st.floats(1e-9, 1e12) | st.floats(-1e12, -1e-9))
def test_a_number_takes_few_cells_and_says_the_value(value: float) -> None:
    text = number(value)
    assert len(text) <= 8
    assert float(text) == pytest.approx(value, rel=0.06, abs=1e-300)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (0.4123, ".412"), (2.1, "2.1"), (7.4e-5, "7.4e-5"), (2e-4, "2e-4"), (1234, "1234")],
)
def test_numbers_as_people_write_them(value: float, text: str) -> None:
    assert number(value) == text


def test_a_hundred_thousand_points_are_bucketed_within_a_frame() -> None:
    series = by_index([math.sin(index / 999) for index in range(100_000)])
    axis = axis_over([series], 80)
    assert axis is not None
    best = min(_seconds(series, axis) for _ in range(20))
    assert best < 0.005  # measured about 0.0006; the bound leaves room for a busy machine


def _seconds(series: Points, axis: Axis) -> float:
    began = time.perf_counter()
    braille(dots_of(columns_of(series, 0, 99_999, 228), axis), 20)
    return time.perf_counter() - began
