"""Patterns that name modules: `{a..b}` and `{x,y}` expand to fully qualified names, and fold back."""

import re
from collections.abc import Iterable, Sequence
from itertools import groupby

from finetune_tui.core.errors import UserError

MOST_NAMES = 100_000

_BRACES = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"(\d{1,6})\.\.(\d{1,6})")


def expand(pattern: str) -> list[str]:
    """Every name the pattern stands for, in order. Raises UserError when the braces make no sense."""
    names = [""]
    position = 0
    for braces in _BRACES.finditer(pattern):
        before = pattern[position : braces.start()]
        options = _options(braces.group(1), pattern)
        if len(names) * len(options) > MOST_NAMES:
            raise UserError(f"stands for more than {MOST_NAMES} modules", where=pattern)
        names = [f"{name}{before}{option}" for name in names for option in options]
        position = braces.end()
    rest = pattern[position:]
    if "{" in _BRACES.sub("", pattern) or "}" in _BRACES.sub("", pattern):
        raise UserError(
            "braces do not match",
            where=pattern,
            hint="write {0..31} for a range or {q_proj,k_proj}",
        )
    return [name + rest for name in names]


def _options(inside: str, pattern: str) -> Sequence[str]:
    found = _RANGE.fullmatch(inside.strip())
    if found is None:
        options = [option.strip() for option in inside.split(",")]
        if not all(options):
            raise UserError("empty braces or an empty option", where=pattern)
        return options
    first, last = int(found.group(1)), int(found.group(2))
    if last < first or last - first >= MOST_NAMES:
        raise UserError(f"the range {first}..{last} is empty or too long", where=pattern)
    return [str(number) for number in range(first, last + 1)]


def fold(names: Iterable[str]) -> list[str]:
    """The fewest readable patterns that expand to exactly these names.

    Names that differ only in one number become a range, then patterns that differ only in their last
    word become a list: what a person would have written.
    """
    return _fold_leaves(_fold_numbers(names))


def _fold_numbers(names: Iterable[str]) -> list[str]:
    numbers: dict[tuple[str, str], list[int]] = {}
    for name in names:
        head, number, tail = _around_number(name)
        found = numbers.setdefault((head, tail), [])
        if number is not None:
            found.append(number)
    folded = []
    for (head, tail), found in numbers.items():
        if not found:
            folded.append(head + tail)
        for first, last in _runs(found):
            folded.append(f"{head}{first if first == last else f'{{{first}..{last}}}'}{tail}")
    return folded


def _around_number(name: str) -> tuple[str, int | None, str]:
    """'model.layers.7.mlp.fc1' → ('model.layers.', 7, '.mlp.fc1'): split at the first whole-number part."""
    parts = name.split(".")
    for index, part in enumerate(parts):
        if part.isascii() and part.isdecimal() and str(int(part)) == part and len(part) <= 6:
            head = ".".join(parts[:index])
            tail = ".".join(parts[index + 1 :])
            return (f"{head}." if head else "", int(part), f".{tail}" if tail else "")
    return (name, None, "")


def _runs(numbers: list[int]) -> list[tuple[int, int]]:
    """[0, 1, 2, 5] → [(0, 2), (5, 5)]."""
    ordered = sorted(set(numbers))
    runs = groupby(enumerate(ordered), key=lambda indexed: indexed[1] - indexed[0])
    return [(run[0][1], run[-1][1]) for run in (list(found) for _, found in runs)]


def _fold_leaves(patterns: list[str]) -> list[str]:
    leaves: dict[str, list[str]] = {}
    for pattern in patterns:
        parent, dot, leaf = pattern.rpartition(".")
        if not dot or not leaf or "{" in leaf or "}" in leaf or leaf.isdecimal():
            parent, leaf = pattern, ""
        leaves.setdefault(parent, []).append(leaf)
    folded = []
    for parent, found in leaves.items():
        named = [leaf for leaf in found if leaf]
        if len(named) < len(found):
            folded.append(parent)
        if len(named) == 1:
            folded.append(f"{parent}.{named[0]}")
        elif named:
            folded.append(f"{parent}.{{{','.join(named)}}}")
    return folded
