import math
from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st

from finetune_tui.core.runs.series import NO_POINTS, Points, Series
from finetune_tui.tui.widgets.curve import CurveOptions, curve_lines, sparkline
from finetune_tui.tui.widgets.lines import cells, text_of


def points(steps: Iterable[int], values: Iterable[float]) -> Points:
    series = Series()
    for step, value in zip(steps, values, strict=True):
        series.append(step, step * 0.5, step * 1000, value)
    return series.points()


LOSS = points(range(1, 301), [2.3 * math.exp(-step / 60) + 0.1 for step in range(1, 301)])
EVALS = points([100, 200, 300], [0.6, 0.3, 0.2])


def drawn(
    train: Points, evals: Points, width: int, height: int, options: CurveOptions
) -> list[str]:
    return [text_of(one) for one in curve_lines(train, evals, width, height, options)]


@given(st.integers(0, 140), st.integers(0, 40), st.booleans(), st.booleans())
def test_a_plot_fills_its_place_and_no_more(width: int, height: int, log: bool, time: bool) -> None:
    lines = curve_lines(LOSS, EVALS, width, height, CurveOptions(log, time))
    assert len(lines) == height
    assert all(cells(one) <= width for one in lines)


def test_held_out_losses_are_marked_at_their_step() -> None:
    lines = drawn(LOSS, EVALS, 66, 12, CurveOptions())
    marks = sorted(one.index("o") for one in lines if "o" in one)
    assert marks[0] == 6 + round(100 / 300 * 59)
    assert sum(one.count("o") for one in lines) == 3


def test_the_axis_runs_to_the_end_of_the_run() -> None:
    halfway = drawn(LOSS, EVALS, 66, 12, CurveOptions(end=600))
    assert "600" in halfway[-1]
    assert all(not one[38:].strip() for one in halfway[:-2])


def test_the_time_axis_counts_seconds() -> None:
    assert "2m00" in drawn(LOSS, EVALS, 66, 12, CurveOptions(time=True))[-1]


def test_a_low_plot_has_no_x_axis() -> None:
    lines = drawn(LOSS, EVALS, 45, 4, CurveOptions())
    assert not any("└" in one for one in lines)
    assert any("┤" in one for one in lines)


def test_no_point_says_so() -> None:
    assert "no step yet" in "".join(drawn(NO_POINTS, NO_POINTS, 60, 8, CurveOptions()))


def test_a_sparkline_names_its_last_value() -> None:
    assert text_of(sparkline(LOSS, "loss", "", 30, 5)[0]) == "loss .115"
    assert text_of(sparkline(NO_POINTS, "loss", "", 30, 5)[0]) == "loss –"


@given(st.floats(1e-9, 1e9), st.floats(1.01, 1e6), st.integers(20, 140), st.integers(3, 40))
def test_labels_of_any_length_keep_the_plot_in_its_place(
    low: float, factor: float, width: int, height: int
) -> None:
    """A learning rate's `1.5e-4` takes more cells than most labels."""
    lines = curve_lines(points([1, 2], [low, low * factor]), NO_POINTS, width, height)
    assert all(cells(one) <= width for one in lines)
