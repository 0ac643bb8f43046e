"""ROUGE-L against the table that defines it."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finetune_tui.core.evidence.rouge import MOST_WORDS, longest_common, rouge_l, words

few_words = st.lists(st.sampled_from("abcd"), max_size=14)


def by_table(a: list[str], b: list[str]) -> int:
    rows = [[0] * (len(b) + 1) for _ in range(len(a) + 1)]
    for i, one in enumerate(a, 1):
        for j, other in enumerate(b, 1):
            rows[i][j] = (
                rows[i - 1][j - 1] + 1 if one == other else max(rows[i - 1][j], rows[i][j - 1])
            )
    return rows[-1][-1]


@settings(max_examples=60)
@given(few_words, few_words)
def test_the_longest_common_subsequence_is_the_tables(a: list[str], b: list[str]) -> None:
    assert longest_common(a, b) == by_table(a, b) == longest_common(b, a)


@settings(max_examples=60)
@given(st.text(max_size=60), st.text(max_size=60))
def test_it_is_between_0_and_1_and_the_same_both_ways(a: str, b: str) -> None:
    assert 0 <= rouge_l(a, b) <= 1
    assert rouge_l(a, b) == rouge_l(b, a)
    assert rouge_l(a, a) == 1


def test_an_example_of_lins() -> None:
    """The phrase "police killed the gunman" against two that share as many words, in and out of order."""
    wanted = "police killed the gunman"
    assert rouge_l(wanted, "police kill the gunman") == pytest.approx(0.75)
    assert rouge_l(wanted, "the gunman kill police") == pytest.approx(0.5)


def test_words_are_letters_and_digits_of_any_script() -> None:
    assert words("Don't PANIC, 42 straße_Öl") == ["don", "t", "panic", "42", "straße", "öl"]
    assert words("東京は晴れ") == list("東京は晴れ")
    assert rouge_l("東京は晴れ", "京都は晴れ") == pytest.approx(0.8)


def test_no_answer_costs_minutes() -> None:
    began = time.process_time()
    long = "word " * (3 * MOST_WORDS)
    assert rouge_l(long, " ".join(str(n) for n in range(3 * MOST_WORDS))) == 0
    assert rouge_l(long, long) == 1
    assert time.process_time() - began < 3
