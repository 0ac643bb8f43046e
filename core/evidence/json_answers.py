"""Answers in JSON: whether one is, and which of its fields are right.

The whole answer has to be JSON: words or a code fence around it are what a program that reads it would
trip over. NaN and Infinity are not JSON.
"""

import json
from collections import Counter
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

MOST_FIELDS = 20_000
"""Values of one answer that are looked at."""
MOST_DEEP = 100
"""Levels of nesting; what lies deeper is one value."""


class NoJsonError(Exception):
    """The text is not JSON."""


def parsed(text: str) -> Any:
    """The value that the whole text is. Raises NoJsonError."""
    try:
        return json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:  # also a number of thousands of digits
        raise NoJsonError from error


def is_json(text: str) -> bool:
    try:
        parsed(text)
    except NoJsonError:
        return False
    return True


@dataclass(frozen=True, slots=True)
class FieldCount:
    """Values under one path: right ones, all that were said, all that were expected."""

    right: int
    said: int
    expected: int


def compare_fields(expected: str, answer: str) -> Mapping[str, FieldCount] | None:
    """Path → what was found there; None when the expected text is no JSON object or list.

    A field is right when the answer has the same value under the same path. Objects inside objects
    make paths (`buyer.name`); the order of a list does not count (`items[].price`), how often a value
    stands in it does. An answer that is not JSON says nothing.
    """
    try:
        wanted_value = parsed(expected)
    except NoJsonError:
        return None
    if not isinstance(wanted_value, dict | list):
        return None
    try:
        said_value = parsed(answer)
    except NoJsonError:
        said_value = None
    wanted = Counter(_values(wanted_value))
    said = Counter(_values(said_value)) if isinstance(said_value, dict | list) else Counter()
    right, of_said, of_wanted = (_by_path(one) for one in (wanted & said, said, wanted))
    return {
        path: FieldCount(right[path], of_said[path], of_wanted[path])
        for path in dict.fromkeys((*of_wanted, *of_said))
    }


def _by_path(values: Counter[tuple[str, Hashable]]) -> Counter[str]:
    paths: Counter[str] = Counter()
    for (path, _), times in values.items():
        paths[path] += times
    return paths


def _values(value: Any) -> Iterator[tuple[str, Hashable]]:
    """Every value with its path, from the outside in; without recursion, and not more than MOST_FIELDS."""
    waiting, found = [("", value, 0)], 0
    while waiting and found < MOST_FIELDS:
        path, inner, depth = waiting.pop()
        if isinstance(inner, dict) and inner and depth < MOST_DEEP:
            for name, one in reversed(inner.items()):
                step = json.dumps(name, ensure_ascii=False) if set(name) & set('.[]"') else name
                waiting.append((f"{path}.{step}" if path else step, one, depth + 1))
        elif isinstance(inner, list) and inner and depth < MOST_DEEP:
            waiting += [(f"{path}[]", one, depth + 1) for one in reversed(inner)]
        else:
            found += 1
            yield path, _comparable(inner)


def _comparable(value: Any) -> Hashable:
    """Equal exactly when JSON's values are: 1 and 1.0 are, 1 and true are not."""
    if isinstance(value, dict | list):  # empty, or too deep to be looked into
        return type(value).__name__, bool(value)
    return isinstance(value, bool), isinstance(value, str), value


def _refuse(name: str) -> Any:
    raise ValueError(name)
