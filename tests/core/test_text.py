"""Words and numbers for people; nothing foreign reaches the terminal as a command."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune_tui.core.errors import UserError
from finetune_tui.core.text import (
    count,
    duration,
    nearest,
    percent,
    plain,
    plain_lines,
    size,
    visible,
)

ACTING = {*map(chr, range(32)), *map(chr, range(127, 160)), "\u202e", "\u2066", "\u200f", "\ufeff"}


@given(st.text())
def test_plain_text_is_one_line_that_does_nothing(text: str) -> None:
    assert not ACTING & set(plain(text))


@given(st.text())
def test_visible_text_does_nothing_and_drops_nothing(text: str) -> None:
    shown = visible(text)
    assert not (ACTING - {"\n"}) & set(shown)
    assert shown == "".join(map(visible, text))
    assert all(map(visible, set(text)))


@given(st.text(st.sampled_from("\x1b[]31mH;\x07\\x\n")), st.integers(1, 20))
def test_escape_codes_never_survive(text: str, limit: int) -> None:
    shown = plain(text, limit)
    assert len(shown) <= limit
    assert "\x1b" not in shown


@given(st.text())
def test_plain_lines_keep_only_line_breaks(text: str) -> None:
    assert not (ACTING - {"\n"}) & set(plain_lines(text))


def test_markup_is_just_text() -> None:
    assert plain("[bold]x[/bold]") == "[bold]x[/bold]"


@pytest.mark.parametrize(
    ("number", "words"),
    [(0, "0"), (999, "999"), (999_999, "1.00M"), (34_600_000, "34.6M"), (2_779_683_840, "2.78B")],
)
def test_count(number: int, words: str) -> None:
    assert count(number) == words


@pytest.mark.parametrize(
    ("number", "words"), [(10, "10B"), (2**30, "1.0G"), (9556302234, "8.9G"), (150 * 2**30, "150G")]
)
def test_size(number: int, words: str) -> None:
    assert size(number) == words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(12, "12s"), (250, "4m10"), (10260, "2h51"), (273600, "3d04h"), (-1, "0s")],
)
def test_duration(seconds: float, words: str) -> None:
    assert duration(seconds) == words


@pytest.mark.parametrize(
    ("part", "words"),
    [(0, "0%"), (1, ".42%"), (10, "4.2%"), (120, "50%"), (239, "99.6%"), (240, "100%")],
)
def test_percent_of_240(part: int, words: str) -> None:
    assert percent(part, 240) == words


@given(st.text(), st.lists(st.text()))
def test_nearest_is_a_candidate_or_nothing(word: str, candidates: list[str]) -> None:
    found = nearest(word, candidates)
    assert found is None or found in candidates


@given(st.text(), st.none() | st.text(), st.none() | st.text())
def test_an_error_is_one_line(message: str, where: str | None, hint: str | None) -> None:
    assert not ACTING & set(str(UserError(message, where=where, hint=hint)))
