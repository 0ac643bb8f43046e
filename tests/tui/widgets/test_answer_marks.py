"""What differs between an answer and what was expected, and breaking it into lines."""

import time

from hypothesis import given
from hypothesis import strategies as st

from finetune_tui.tui.widgets.answer_marks import DIFFERS, marked, wrapped
from finetune_tui.tui.widgets.lines import Line, Span, cells, line, text_of

words = st.text(st.sampled_from('ab1 ,"{}:é漢'), max_size=60)


def differing(of: Line) -> list[str]:
    return [span.text for span in of if span.style == DIFFERS]


def test_only_what_differs_is_marked_in_both() -> None:
    wanted, said = '{"qty": 3, "to": "Ghent"}', '{"qty": 3, "to": "Oslo"}'
    assert differing(marked(said, wanted)) == ["Oslo"]
    assert differing(marked(wanted, said)) == ["Ghent"]
    assert differing(marked(wanted, wanted)) == []


def test_what_is_missing_is_marked_where_it_was_expected() -> None:
    assert differing(marked("three red shelves", "three shelves")) == ["red "]
    assert differing(marked("three shelves", "three red shelves")) == []
    assert differing(marked("three", "")) == ["three"]


@given(words, words)
def test_no_letter_is_lost_and_equal_texts_have_no_marks(text: str, other: str) -> None:
    assert text_of(marked(text, other)) == text
    assert (text == other) <= (differing(marked(text, other)) == [])
    if text and not set(text) & set(other):
        assert "".join(differing(marked(text, other))) == text


@given(words, words, st.integers(1, 30))
def test_lines_keep_their_words_and_marks(text: str, other: str, width: int) -> None:
    of = marked(text, other)
    lines = wrapped(of, width)
    assert "".join(map(text_of, lines)).replace(" ", "") == text.replace(" ", "")
    assert all(cells(one) <= max(width, 2) for one in lines)
    told = "".join(part for one in lines for part in differing(one))
    assert told.replace(" ", "") == "".join(differing(of)).replace(" ", "")


def test_a_styled_line_is_broken_where_its_text_is() -> None:
    of = line("one ", Span("two three", "bad"), " four")
    assert wrapped(of, 8) == [
        (Span("one "), Span("two", "bad")),
        (Span("three", "bad"),),
        (Span("four"),),
    ]


def test_long_answers_that_differ_everywhere_take_no_time() -> None:
    said = " ".join(f"word{number % 500}" for number in range(20_000))
    wanted = " ".join(f"other{number % 700}" for number in range(20_000))
    began = time.process_time()
    assert text_of(marked(said, wanted)) == said
    assert time.process_time() - began < 1
