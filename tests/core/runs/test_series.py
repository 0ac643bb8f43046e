"""Values by step: bounded, and nothing that a plot would show is lost."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune_tui.core.runs.series import AXES, Points, Series

VALUES = st.lists(st.floats(-1e6, 1e6), max_size=200)


def series_of(values: list[float], most: int = 8) -> Series:
    series = Series(most)
    for step, value in enumerate(values, 1):
        series.append(step, step / 2, step * 100, value)
    return series


@given(VALUES)
def test_few_points_stay_what_they_are(values: list[float]) -> None:
    points = series_of(values, most=200).points()
    assert list(points.xs) == list(range(1, len(values) + 1))
    for column in (points.lows, points.highs, points.means, points.lasts):
        assert list(column) == values


@given(VALUES.filter(bool), st.sampled_from([2, 8, 32]))
def test_however_many_points_entries_are_bounded_and_no_extreme_is_lost(
    values: list[float], most: int
) -> None:
    series = series_of(values, most)
    points = series.points()
    assert len(points) <= most
    assert series.latest == points.last == values[-1]
    assert len(points) >= min(len(values), most // 2)
    assert points.extremes(0, len(points)) == (min(values), max(values))
    seconds, tokens = series.end or (0.0, 0.0)
    assert (seconds, tokens) == (len(values) / 2, len(values) * 100)
    # Each entry stands for the points up to its x that those before it do not reach.
    starts = [0, *map(int, points.xs)]
    for index, (start, end) in enumerate(pairwise(starts)):
        part = values[start:end]
        assert points.extremes(index, index + 1) == (min(part), max(part))
        assert points.means[index] == pytest.approx(sum(part) / len(part), abs=1e-3)


@given(VALUES, st.integers(-1, 210), VALUES)
def test_going_back_shows_nothing_that_was_taken_back(
    values: list[float], step: int, after: list[float]
) -> None:
    series = series_of(values, most=16)
    each = series.points().each
    series.truncate(step)
    xs = list(series.points().xs)
    assert all(x <= step for x in xs)
    left = min(max(step, 0), len(values))
    assert left - (xs[-1] if xs else 0) < each  # of one entry at most
    for number, value in enumerate(after, 1):
        series.append(left + number, 1e6 + number, 1e6 + number, value)
    for axis in AXES:
        along = list(series.points(axis).xs)
        assert along == sorted(along)
    if after:
        assert series.latest == after[-1]


@given(st.lists(st.floats(0, 10), min_size=1, max_size=60))
def test_smoothing_starts_at_the_first_value_and_stays_between_the_extremes(
    values: list[float],
) -> None:
    smooth = series_of(values, most=64).points().smoothed()
    assert smooth.lasts[0] == pytest.approx(values[0])
    assert min(values) - 1e-6 <= min(smooth.lasts) <= max(smooth.lasts) <= max(values) + 1e-6


def test_smoothing_counts_the_points_that_an_entry_stands_for() -> None:
    one_by_one = series_of([float(step) for step in range(4096)], most=4096).points().smoothed()
    merged = series_of([float(step) for step in range(4096)], most=256).points().smoothed()
    assert merged.lasts[-1] == pytest.approx(one_by_one.lasts[-1], rel=0.01)


def test_a_copy_does_not_grow_with_its_series() -> None:
    series = series_of([1.0, 2.0])
    copy = series.points().copy()
    series.append(3, 2, 300, 9.0)
    assert isinstance(copy, Points)
    assert (len(copy), copy.last) == (2, 2.0)
