"""Answers in JSON and their fields."""

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from finetune_tui.core.evidence.json_answers import FieldCount, compare_fields, is_json

leaves = (
    st.none() | st.booleans() | st.integers(-9, 9) | st.floats(-2, 2) | st.text("ab.[", max_size=3)
)
values = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text('ab.["', max_size=2), inner, max_size=3)
    ),
    max_leaves=8,
)
objects = st.dictionaries(st.text("ab.[", max_size=2), values, max_size=4)


def fields(expected: Any, answer: Any) -> dict[str, FieldCount]:
    found = compare_fields(json.dumps(expected), json.dumps(answer))
    assert found is not None
    return dict(found)


@settings(max_examples=40)
@given(objects)
def test_what_is_expected_is_all_right(value: Any) -> None:
    for field in fields(value, value).values():
        assert field.right == field.said == field.expected > 0


@settings(max_examples=40)
@given(objects, objects)
def test_no_more_is_right_than_was_said_and_expected(a: Any, b: Any) -> None:
    there, back = fields(a, b), fields(b, a)
    assert there.keys() == back.keys()
    for path, field in there.items():
        assert 0 <= field.right <= min(field.said, field.expected)
        assert (field.right, field.said) == (back[path].right, back[path].expected)


@settings(max_examples=40)
@given(st.lists(values, max_size=4), st.randoms())
def test_the_order_of_a_list_does_not_count(items: list[Any], draw: Any) -> None:
    turned = draw.sample(items, len(items))
    for field in fields({"items": items}, {"items": turned}).values():
        assert field.right == field.said == field.expected


@given(st.text(max_size=40))
def test_no_text_breaks_it(text: str) -> None:
    is_json(text)
    compare_fields(text, text)


def test_nested_fields_have_paths() -> None:
    expected = {"buyer": {"name": "Ada"}, "items": [{"price": 3}, {"price": 4}], "a.b": 1}
    answer = {"buyer": {"name": "Bob"}, "items": [{"price": 4}], "a": {"b": 1}, "x": None}
    assert fields(expected, answer) == {
        "buyer.name": FieldCount(0, 1, 1),
        "items[].price": FieldCount(1, 1, 2),
        '"a.b"': FieldCount(0, 0, 1),
        "a.b": FieldCount(0, 1, 0),
        "x": FieldCount(0, 1, 0),
    }


def test_numbers_are_equal_as_json_has_it_and_true_is_no_number() -> None:
    assert fields({"n": 1}, {"n": 1.0})["n"].right == 1
    assert fields({"n": 1}, {"n": True})["n"].right == 0
    assert fields({"n": 0}, {"n": False})["n"].right == 0
    assert fields({"n": "1"}, {"n": 1})["n"].right == 0
    assert fields({"n": []}, {"n": {}})["n"].right == 0


def test_an_answer_that_is_not_json_says_nothing() -> None:
    assert compare_fields('{"a": 1}', 'Sure! {"a": 1}') == {"a": FieldCount(0, 0, 1)}
    assert compare_fields("Ghent", '{"a": 1}') is None


def test_only_the_whole_answer_counts_and_nothing_that_json_does_not_know() -> None:
    assert is_json(' {"a": [1, null]} ')
    for text in ("```json\n{}\n```", "Sure! {}", "{} {}", "", "{'a': 1}"):
        assert not is_json(text), text
    assert not is_json("NaN")
    assert not is_json('{"a": -Infinity}')


def test_hostile_answers_are_bounded() -> None:
    deep = "[" * 500 + "]" * 500
    assert compare_fields('{"a": 1}', f'{{"a": {deep}}}') is not None
    assert not is_json("[" * 200_000)
    assert not is_json("9" * 10_000)
    wide = json.dumps({str(n): n for n in range(21_000)})
    found = compare_fields(wide, wide)
    assert found is not None
    assert len(found) == 20_000
