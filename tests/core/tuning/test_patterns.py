"""Patterns expand to names and names fold to patterns."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune_tui.core.errors import UserError
from finetune_tui.core.models.catalog import catalog
from finetune_tui.core.tuning.patterns import expand, fold

NAMES = sorted(catalog()["microsoft/phi-2"].manifest().by_name)


def test_ranges_and_lists() -> None:
    assert expand("a.{0..2}.{x,y}") == ["a.0.x", "a.0.y", "a.1.x", "a.1.y", "a.2.x", "a.2.y"]
    assert expand("lm_head") == ["lm_head"]


@pytest.mark.parametrize(
    "pattern",
    ["a.{0..2", "a.0}", "{}", "{a,}", "{3..1}", "{0..999999}", "{0..999}{0..999}", "{{a}}"],
)
def test_braces_that_make_no_sense_are_named(pattern: str) -> None:
    with pytest.raises(UserError) as refused:
        expand(pattern)
    assert refused.value.where == pattern


@given(st.sets(st.sampled_from(NAMES)))
def test_fold_then_expand_is_the_same_set(names: set[str]) -> None:
    expanded = [name for pattern in fold(sorted(names)) for name in expand(pattern)]
    assert sorted(expanded) == sorted(names)


PARTS = st.integers(0, 10**7).map(str) | st.text(
    st.characters(codec="ascii", exclude_characters="{},."), min_size=1, max_size=4
).filter(lambda part: part == part.strip())


@given(st.lists(st.lists(PARTS, min_size=1, max_size=5).map(".".join), unique=True))
def test_fold_keeps_any_names(names: list[str]) -> None:
    expanded = [name for pattern in fold(names) for name in expand(pattern)]
    assert sorted(expanded) == sorted(names)


def test_folding_reads_like_a_person_wrote_it() -> None:
    trio = [name for name in NAMES if name.endswith(("q_proj", "k_proj", "v_proj"))]
    assert fold(trio) == ["model.layers.{0..31}.self_attn.{k_proj,q_proj,v_proj}"]


@given(st.text(max_size=60))
def test_any_text_expands_or_is_refused(pattern: str) -> None:
    try:
        assert expand(pattern)
    except UserError as refused:
        assert refused.message
