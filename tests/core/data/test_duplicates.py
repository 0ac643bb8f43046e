"""Counting what repeats: exact while all fits, reckoned from a fair part beyond."""

import random
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from finetune_tui.core.data.duplicates import count_duplicates


@given(st.lists(st.binary(max_size=2)))
def test_exact_while_everything_is_remembered(contents: list[bytes]) -> None:
    repeats = sum(number - 1 for number in Counter(contents).values())
    assert count_duplicates(contents) == (repeats, True)


def test_reckoned_from_a_part_when_there_are_more() -> None:
    rng = random.Random(3)
    contents = [b"%d" % rng.randrange(60_000) for _ in range(90_000)]
    true = len(contents) - len(set(contents))
    found, exactly = count_duplicates(contents, most=3000)
    assert not exactly
    assert abs(found - true) < 0.1 * true
