"""A person's own schema and expression, held against answers in a process with a clock."""

import time
from typing import Any

import pytest

from finetune_tui.core.errors import UserError, WorkFailed
from finetune_tui.core.evidence.judge import MOST_SLOW, Judge, TooSlowError
from finetune_tui.core.evidence.judging import Matches, matches, meets

ORDER = {
    "type": "object",
    "properties": {"quantity": {"type": "integer"}, "next": {"$ref": "#"}},
    "required": ["quantity"],
}
EVIL = r"(a+)+$"
LONG = "a" * 60 + "b"


def refusal(schema: Any = None, regex: str | None = None) -> UserError:
    with pytest.raises(UserError) as caught:
        meets(schema) if regex is None else matches(regex)
    return caught.value


def test_a_schema_allows_or_not() -> None:
    allowed = meets(ORDER)
    assert allowed('{"quantity": 3, "next": {"quantity": 4}}')
    assert not allowed('{"quantity": 3, "next": {}}')
    assert not allowed('{"quantity": "3"}')
    assert not allowed("three")


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ([], "an object"),
        ({"type": "obj"}, "not a JSON schema"),
        ({"properties": {"a": {"pattern": 3}}}, "properties/a/pattern"),
        ({"$ref": "https://example.org/order.json"}, "nothing is fetched"),
        ({"properties": {"a": {"$ref": "order.json#/a"}}}, "nothing is fetched"),
        ({"$dynamicRef": "file:///etc/passwd"}, "nothing is fetched"),
    ],
)
def test_what_is_no_schema_or_would_be_fetched_is_refused_in_one_line(
    schema: Any, words: str
) -> None:
    error = refusal(schema)
    assert words in str(error)
    assert "\n" not in str(error)


def test_a_schema_may_refer_to_its_own_parts_and_to_the_standard() -> None:
    own = {"$id": "https://example.org/a", "$defs": {"n": {"type": "integer"}}}
    assert meets({**own, "$ref": "https://example.org/a#/$defs/n"})("3")
    assert meets({"$ref": "https://json-schema.org/draft/2020-12/schema"})('{"type": "string"}')


@pytest.mark.parametrize("schema", [{"$ref": "#"}, {"$ref": "#/$defs/missing"}])
def test_a_reference_into_nowhere_is_said_when_it_is_met(schema: Any) -> None:
    with pytest.raises(UserError, match="refers to"):
        meets(schema)("1")


def judged(pattern: str) -> Matches:
    return matches(pattern)


def test_an_expression_is_found_anywhere() -> None:
    assert judged(r"\d{3}")("", "it is 412 now") is True
    assert judged(r"\d{3}")("", "it is 41") is False


def test_a_group_catches_what_must_be_equal() -> None:
    answer = judged(r"#### (-?\d+)")
    assert answer("so #### 42", "#### 42 apples") is True
    assert answer("so #### 42", "#### 43") is False
    assert answer("so #### 42", "42") is False
    assert answer("no mark", "#### 42") is None


@pytest.mark.parametrize("pattern", ["(a", "[", "(?P<x", "a{2,1}", "*"])
def test_what_is_no_expression_is_one_line(pattern: str) -> None:
    error = refusal(regex=pattern)
    assert "not a regular expression" in str(error)
    assert error.where == "regex"


def test_the_process_judges_and_goes_on_after_it_was_ended() -> None:
    """A few slow answers are wrong, and with one more it ends."""
    with Judge(None, EVIL, seconds=0.05) as judge:
        began = time.monotonic()
        with pytest.raises(TooSlowError):
            judge.matches("aa", LONG)
        assert time.monotonic() - began < 10
        assert judge.matches("aa", "aa") is True
        for number in range(MOST_SLOW):
            assert judge.patiently("regex", "aa", LONG) is False
            assert judge.slow == number + 1
        with pytest.raises(WorkFailed, match=r"expression took more than 0\.05 s") as caught:
            judge.patiently("regex", "aa", LONG)
    assert "\n" not in str(caught.value)


def test_a_schema_can_be_slow_too() -> None:
    with Judge({"type": "string", "pattern": EVIL}, seconds=0.05) as judge:
        assert judge.meets('"aa"')
        with pytest.raises(TooSlowError):
            judge.meets(f'"{LONG}"')


def test_errors_of_the_process_come_as_they_are() -> None:
    with pytest.raises(UserError, match="not a regular expression"), Judge(None, "("):
        pass
    with Judge({"$ref": "#"}) as judge, pytest.raises(UserError, match="refers to itself"):
        judge.meets("1")
