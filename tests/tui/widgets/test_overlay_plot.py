import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune_tui.core.runs.series import Points, Series
from finetune_tui.tui.widgets.lines import cells, text_of
from finetune_tui.tui.widgets.overlay_plot import (
    Curve,
    OverlayOptions,
    overlay_lines,
    value_at,
)
from finetune_tui.tui.widgets.run_lines import GLYPHS, MOST, run_style

VALUES = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=200)


def points(values: list[float], every: int = 1) -> Points:
    series = Series()
    for index, value in enumerate(values):
        step = (index + 1) * every
        series.append(step, step * 0.5, step * 1000, value)
    return series.points("step")


def decay(count: int, slope: float) -> Points:
    return points([2.3 * math.exp(-step / slope) + 0.1 for step in range(count)])


def drawn(curves: list[Curve], width: int = 70, height: int = 14, **options: object) -> list[str]:
    lines, _ = overlay_lines(curves, width, height, OverlayOptions(**options))  # type: ignore[arg-type]
    return [text_of(one) for one in lines]


@given(st.lists(VALUES, max_size=MOST), st.integers(0, 120), st.integers(0, 30), st.booleans())
def test_a_plot_fills_its_place_and_no_more(
    runs: list[list[float]], width: int, height: int, log: bool
) -> None:
    curves = [Curve(points(values), place) for place, values in enumerate(runs)]
    lines, frame = overlay_lines(curves, width, height, OverlayOptions(log=log, cursor=width // 2))
    assert len(lines) == height
    assert all(cells(one) <= width for one in lines)
    assert frame is None or frame.indent + frame.cells + 1 == width


@given(VALUES, st.integers(40, 120), st.integers(10, 30), st.integers(0, MOST - 1))
def test_a_curve_of_any_shape_carries_its_glyph(
    values: list[float], width: int, height: int, place: int
) -> None:
    assert GLYPHS[place] in "".join(drawn([Curve(points(values), place)], width, height))


def test_six_runs_are_all_told_apart() -> None:
    curves = [Curve(decay(300, 40 + 30 * place), place) for place in range(MOST)]
    text = "".join(drawn(curves))
    assert all(text.count(glyph) >= 3 for glyph in GLYPHS)


def test_marks_stand_where_the_few_points_are() -> None:
    text = drawn([Curve(points([2.0, 1.0, 0.5], every=100), 2)], width=66)
    marks = sorted(one.index("■") for one in text if "■" in one)
    assert marks == [6 + round(59 * share) for share in (1 / 3, 2 / 3, 1)]


def test_the_first_curve_lies_on_top() -> None:
    below, above = Curve(decay(100, 30), 0), Curve(decay(100, 30), 1)
    for first, last in ((below, above), (above, below)):
        lines, _ = overlay_lines([first, last], 60, 12)
        styles = [span.style for one in lines for span in one if span.style.startswith("run")]
        assert run_style(first.place) in styles
        assert run_style(last.place) not in styles


def test_the_cursor_stands_behind_the_curves_from_top_to_bottom() -> None:
    curve = Curve(points([1.0, 2.0] * 50), 0)
    without, with_cursor = drawn([curve]), drawn([curve], cursor=20)
    rows = with_cursor[:-2]
    assert all(row[26] != " " for row in rows)
    assert [row[:26] + row[27:] for row in rows] == [row[:26] + row[27:] for row in without[:-2]]


@pytest.mark.parametrize(
    ("x", "value"), [(0.0, None), (1.0, 5.0), (1.5, 5.0), (2.0, 6.0), (3.0, 7.0), (3.1, None)]
)
def test_a_readout_takes_the_newest_value_and_invents_none(x: float, value: float | None) -> None:
    assert value_at(points([5.0, 6.0, 7.0]), x) == value


def test_nothing_is_read_off_nothing() -> None:
    assert value_at(Series().points("step"), 1.0) is None


def test_no_curve_says_so() -> None:
    lines, frame = overlay_lines([], 60, 8, empty="no eval yet")
    assert frame is None
    assert "no eval yet" in text_of(lines[4])


@pytest.mark.parametrize(
    ("axis", "word"), [("step", "200"), ("seconds", "1m00"), ("tokens", "200K")]
)
def test_the_axis_is_written_in_its_own_words(axis: str, word: str) -> None:
    series = Series()
    for step in range(1, 301):
        series.append(step, step * 0.5, step * 1000, 1 / step)
    assert word in drawn([Curve(series.points(axis), 0)], axis=axis)[-1]  # type: ignore[arg-type]


def test_long_labels_push_the_plot_aside() -> None:
    lines, frame = overlay_lines([Curve(points([1.5e-4, 1.6e-4, 1.7e-4]), 0)], 60, 14)
    assert frame is not None
    assert frame.indent == max(
        len(text_of(one).partition("┤")[0]) for one in lines if "┤" in text_of(one)
    )
    assert all(cells(one) <= 60 for one in lines)
