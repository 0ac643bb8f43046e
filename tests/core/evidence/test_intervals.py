"""Intervals: what every one of them promises, and figures that others have published."""

import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finetune_tui.core.evidence.intervals import (
    influence,
    mean_score,
    paired_difference,
    share,
    weighted_score,
)

counts = st.integers(1, 10_000).flatmap(
    lambda total: st.tuples(st.integers(0, total), st.just(total))
)
scores = st.lists(st.floats(0, 1), min_size=1, max_size=80)
outcomes = st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=90)


@settings(max_examples=50)
@given(counts)
def test_a_share_lies_in_its_interval_and_that_within_nothing_and_all(
    pair: tuple[int, int],
) -> None:
    hits, total = pair
    found = share(hits, total)
    assert 0 <= found.low <= found.value <= found.high <= 1
    assert found.low < found.high


@settings(max_examples=50)
@given(counts, st.integers(2, 50))
def test_more_rows_with_the_same_share_say_more(pair: tuple[int, int], times: int) -> None:
    hits, total = pair
    few, many = share(hits, total), share(hits * times, total * times)
    assert many.high - many.low < few.high - few.low
    assert few.low <= many.low + 1e-12
    assert many.high <= few.high + 1e-12


@settings(max_examples=50)
@given(counts)
def test_misses_mirror_hits(pair: tuple[int, int]) -> None:
    hits, total = pair
    found, mirrored = share(hits, total), share(total - hits, total)
    assert found.low == pytest.approx(1 - mirrored.high, abs=1e-12)


def test_wilson_as_published() -> None:
    """Newcombe (1998), "Two-sided confidence intervals for the single proportion", table I, method 3."""
    for hits, total, low, high in (
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0, 0.1611),
    ):
        found = share(hits, total)
        assert found.low == pytest.approx(low, abs=5e-5)
        assert found.high == pytest.approx(high, abs=5e-5)


def test_without_rows_nothing_is_known() -> None:
    assert (share(0, 0).low, share(0, 0).high) == (0, 1)
    assert (mean_score([]).low, mean_score([]).high) == (0, 1)
    assert (paired_difference([]).low, paired_difference([]).high) == (-1, 1)


@settings(max_examples=50)
@given(scores)
def test_a_mean_score_lies_in_its_interval(values: list[float]) -> None:
    found = mean_score(values)
    assert 0 <= found.low <= found.value <= found.high <= 1
    assert found.value == pytest.approx(math.fsum(values) / len(values))
    assert found.hits is None


@settings(max_examples=50)
@given(st.lists(st.booleans(), min_size=30, max_size=90))
def test_scores_of_0_and_1_are_a_share(values: list[bool]) -> None:
    found, expected = (
        mean_score([float(value) for value in values]),
        share(sum(values), len(values)),
    )
    assert found.low == pytest.approx(expected.low, abs=1e-9)
    assert found.high == pytest.approx(expected.high, abs=1e-9)


def test_scores_that_hardly_vary_are_known_better_than_yes_and_no() -> None:
    even = mean_score([0.4, 0.6] * 50)
    yes_no = mean_score([0.0, 1.0] * 50)
    assert even.value == yes_no.value == pytest.approx(0.5)
    assert even.high - even.low < 0.3 * (yes_no.high - yes_no.low)


@settings(max_examples=50)
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(1, 5)), min_size=1, max_size=60))
def test_a_weighted_score_is_the_quotient_of_sums_and_its_influences_average_to_it(
    pairs: list[tuple[int, int]],
) -> None:
    gained = [float(min(pair)) for pair in pairs]
    most = [float(pair[1]) for pair in pairs]
    found = weighted_score(gained, most)
    assert found.value == pytest.approx(sum(gained) / sum(most))
    assert 0 <= found.low <= found.value <= found.high <= 1
    assert math.fsum(influence(gained, most)) / len(most) == pytest.approx(found.value)


@settings(max_examples=50)
@given(outcomes)
def test_a_difference_lies_in_its_interval_and_turns_with_its_sides(
    rows: list[tuple[bool, bool]],
) -> None:
    found = paired_difference([float(tuned) - float(base) for base, tuned in rows])
    turned = paired_difference([float(base) - float(tuned) for base, tuned in rows])
    assert -1 <= found.low <= found.value <= found.high <= 1
    assert found.value == pytest.approx(
        (sum(t for _, t in rows) - sum(b for b, _ in rows)) / len(rows)
    )
    assert found.low == pytest.approx(-turned.high)


@settings(max_examples=50)
@given(outcomes)
def test_the_difference_is_bonett_and_prices(rows: list[tuple[bool, bool]]) -> None:
    fixed = sum(tuned and not base for base, tuned in rows)
    regressed = sum(base and not tuned for base, tuned in rows)
    p12, p21 = (fixed + 1) / (len(rows) + 2), (regressed + 1) / (len(rows) + 2)
    half = 1.959964 * math.sqrt((p12 + p21 - (p12 - p21) ** 2) / (len(rows) + 2))
    found = paired_difference([float(tuned) - float(base) for base, tuned in rows])
    assert found.low == pytest.approx(max(p12 - p21 - half, -1), abs=1e-6)
    assert found.high == pytest.approx(min(p12 - p21 + half, 1), abs=1e-6)


def test_intervals_hold_what_they_promise() -> None:
    """Of many small samples about 95 in 100 hold the true share and the true difference."""
    draw = random.Random(7)
    held = {"share": 0, "difference": 0}
    times = 1000
    for _ in range(times):
        rows = [(draw.random() < 0.3, draw.random() < 0.45) for _ in range(60)]
        found = share(sum(tuned for _, tuned in rows), len(rows))
        held["share"] += found.low <= 0.45 <= found.high
        change = paired_difference([float(tuned) - float(base) for base, tuned in rows])
        held["difference"] += change.low <= 0.15 <= change.high
    for name, number in held.items():
        assert 0.93 <= number / times <= 0.975, name
