import math

from hypothesis import given
from hypothesis import strategies as st

from finetune_tui.tui.widgets.curve import CurveOptions, curve_lines, sparkline
from finetune_tui.tui.widgets.lines import cells, text_of
from finetune_tui.tui.widgets.plot import Series, series_of

LOSS = series_of(range(1, 301), [2.3 * math.exp(-step / 60) + 0.1 for step in range(1, 301)])
EVALS = series_of([100, 200, 300], [0.6, 0.3, 0.2])


def drawn(
    train: Series, evals: Series, width: int, height: int, options: CurveOptions
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
    assert "no step yet" in "".join(drawn(Series(), Series(), 60, 8, CurveOptions()))


def test_a_sparkline_names_its_last_value() -> None:
    assert text_of(sparkline(LOSS, "loss", "", 30, 5)[0]) == "loss .115"
    assert text_of(sparkline(Series(), "loss", "", 30, 5)[0]) == "loss –"
