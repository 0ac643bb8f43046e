from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from finetune_tui.tui.widgets.lines import (
    Line,
    Span,
    cells,
    clip_left,
    difference,
    dim,
    fit,
    line,
    rule,
    spread,
    text_of,
    wrap,
)

TEXT = st.text(st.characters(codec="utf-8", categories=("L", "N", "P", "S", "Zs")), max_size=60)
LINES = st.lists(st.builds(Span, TEXT, st.sampled_from(["", "dim", "bad"])), max_size=5).map(tuple)


@given(LINES, st.integers(0, 80))
def test_a_fitted_line_has_exactly_its_width(of: Line, width: int) -> None:
    assert cells(fit(of, width)) == width


def test_what_does_not_fit_is_cut_with_a_mark() -> None:
    assert text_of(fit(line("abcdef", dim("ghi")), 8)) == "abcdefg…"
    assert text_of(fit(line("abc"), 5)) == "abc  "


@given(TEXT, st.integers(1, 40))
def test_wrapped_text_loses_nothing_but_spaces(text: str, width: int) -> None:
    lines = wrap(text, width)
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")
    assert all(cell_len(one) <= max(width, 2) for one in lines)


def test_a_path_keeps_its_end() -> None:
    assert clip_left("/data/train.jsonl", 12) == "…train.jsonl"
    assert clip_left("short", 12) == "short"


@given(LINES, LINES, st.integers(4, 80))
def test_left_and_right_fill_the_width(left: Line, right: Line, width: int) -> None:
    assert cells(spread(left, right, width)) == width


def test_a_rule_spans_the_width_and_drops_its_right_side_first() -> None:
    assert text_of(rule(24, ["loss"], [line("y log")])) == "─loss────────────y log──"
    assert text_of(rule(10, ["loss"], [line("y log")])) == "─loss─────"


@given(LINES, LINES)
def test_a_difference_covers_every_cell_that_changed(old: Line, new: Line) -> None:
    found = difference(old, new)
    start, end = found or (0, 0)
    before, after = text_of(old), text_of(new)
    if before.isascii() and after.isascii():
        width = max(len(before), len(after))
        before, after = before.ljust(width, "\0"), after.ljust(width, "\0")
        assert before[:start] == after[:start]
        assert before[end:] == after[end:]
    if old == new:
        assert found is None
