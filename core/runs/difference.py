"""In which settings two runs differ."""

import dataclasses
from dataclasses import dataclass

from finetune_tui.core.text import plain
from finetune_tui.core.tuning.choices import Modules, write_choice
from finetune_tui.core.tuning.modes import Choice
from finetune_tui.core.tuning.spec import Spec

# What they are called is no setting.
_NO_SETTING = frozenset({"name", "note", "tags"})


@dataclass(frozen=True, slots=True)
class Difference:
    """A key and what each spec says, in plain words; empty: nothing."""

    key: str
    left: str
    right: str


def spec_difference(left: Spec, right: Spec) -> tuple[Difference, ...]:
    """Every key in which they differ, in the order of the spec; `modules` by pattern: `modules q_proj`."""
    found: list[Difference] = []
    for field in dataclasses.fields(Spec):
        one, other = getattr(left, field.name), getattr(right, field.name)
        if field.name in _NO_SETTING or one == other:
            continue
        if field.name == "modules":
            found += _modules(one, other)
        else:
            found.append(Difference(field.name, _words(one), _words(other)))
    return tuple(found)


def _modules(left: Modules, right: Modules) -> list[Difference]:
    """A line for each pattern that is not in both alike; when only their order differs, that."""
    # The first line that matches wins, so of two with one pattern the first counts.
    one, other = (
        {pattern: _choice(choice) for pattern, choice in reversed(lines)} for lines in (left, right)
    )
    found = [
        Difference(f"modules {plain(pattern)}", one.get(pattern, ""), other.get(pattern, ""))
        for pattern in dict.fromkeys((*one, *other))
        if one.get(pattern) != other.get(pattern)
    ]
    order = [" › ".join(plain(pattern) for pattern, _ in lines) for lines in (left, right)]
    return found or [Difference("modules order", *order)]


def _choice(choice: Choice) -> str:
    details = write_choice(choice)
    if isinstance(details, str):
        return details
    mode, *numbers = details.items()
    return " ".join([str(mode[1]), *(f"{name} {number:g}" for name, number in numbers)])


def _words(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, tuple):
        return ", ".join(plain(str(item)) for item in value)
    return plain(str(value))
