"""In which settings two runs differ."""

from dataclasses import fields, replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from finetune_tui.core.runs.difference import Difference, spec_difference
from finetune_tui.core.tuning.modes import Choice, Mode
from finetune_tui.core.tuning.spec import Spec, demo_spec

LORA, FULL = Choice(Mode.LORA), Choice(Mode.FULL)


def test_each_key_that_differs_with_both_values_in_words() -> None:
    left = demo_spec()
    right = left.changed(learning_rate=2e-4, use_dora=True, eval_files=[], name="other", note="x")
    assert spec_difference(left, right) == (
        Difference("eval_files", left.eval_files[0], ""),
        Difference("use_dora", "no", "yes"),
        Difference("learning_rate", "0.005", "0.0002"),
    )
    assert spec_difference(left, left.changed(name="what it is called is no setting")) == ()


def test_modules_differ_by_pattern() -> None:
    left = replace(Spec(), modules=(("a.{0..3}.q", LORA), ("b", FULL)))
    right = replace(
        Spec(), modules=(("a.{0..3}.q", Choice(Mode.LORA, 32, 64.0)), ("b", FULL), ("c", LORA))
    )
    assert spec_difference(left, right) == (
        Difference("modules a.{0..3}.q", "lora", "lora r 32 lora_alpha 64"),
        Difference("modules c", "", "lora"),
    )
    turned = replace(Spec(), modules=left.modules[::-1])
    assert spec_difference(left, turned) == (
        Difference("modules order", "a.{0..3}.q › b", "b › a.{0..3}.q"),
    )


LINES = st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from([LORA, FULL])), max_size=4)


@given(LINES, LINES)
def test_specs_are_alike_or_something_is_told(
    one: list[tuple[str, Choice]], other: list[tuple[str, Choice]]
) -> None:
    left, right = replace(Spec(), modules=tuple(one)), replace(Spec(), modules=tuple(other))
    assert bool(spec_difference(left, right)) == (one != other)


def test_every_key_is_looked_at() -> None:
    for field in fields(Spec):
        if field.name in ("name", "note", "tags", "modules"):
            continue
        value: dict[str, Any] = {field.name: ("changed",)}
        other = replace(Spec(), **value)
        assert [each.key for each in spec_difference(Spec(), other)] == [field.name]
