"""Values as Python source. Names, prompts and paths are literals in ASCII: none of them can become code."""

import itertools
import re
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from finetune_tui.core.tuning.patterns import expand, fold

_WIDTH = 96


def constant(name: str, value: str, words: str = "") -> str:
    """One line of settings, with what it means behind it, or before it when it takes several lines."""
    if "\n" in value:
        before = f"# {words}\n" if words else ""
        return f"{before}{name} = {value}\n"
    line = f"{name} = {value}{f'  # {words}' if words else ''}\n"
    return line if len(line) <= _WIDTH + 4 else f"# {words}\n{name} = {value}\n"


def literal(value: Any) -> str:
    """A value of texts, numbers, lists and dicts; on several lines where one would be too long."""
    if isinstance(value, str):
        return _quoted(value)
    if isinstance(value, Mapping):
        items = [f"{literal(key)}: {literal(item)}" for key, item in value.items()]
        return _between("{", items, "}")
    if isinstance(value, list | tuple):
        return _between("[", [literal(item) for item in value], "]")
    return repr(value)


def names(modules: Sequence[str]) -> str:
    """A list of names; those that differ only in a number or in their last word are one line."""
    patterns = fold(modules)
    if sorted(itertools.chain.from_iterable(map(expand, patterns))) != sorted(modules):
        return literal(list(modules))
    if not modules:
        return "[]"
    return "[\n" + "".join(f"{_pattern(pattern)},\n" for pattern in patterns) + "]"


def docstring_safe(text: str) -> str:
    """Words that can leave neither a docstring nor a comment."""
    words = text.replace("\\", "/").replace('"', "'")
    return " ".join(ascii(words)[1:-1].replace("\\'", "'").split())


def wrapped(text: str, first: str = "", rest: str = "") -> str:
    return textwrap.fill(
        text, _WIDTH, initial_indent=first, subsequent_indent=rest, break_on_hyphens=False
    )


def _pattern(pattern: str) -> str:
    """`a.{0..3}.{x,y}` as the names it stands for, in a loop."""
    written, loops = [], []
    for number, part in enumerate(re.split(r"\{([^{}]*)\}", pattern)):
        if number % 2 == 0:
            written += [_quoted(part)] if part else []
            continue
        span = re.fullmatch(r"(\d+)\.\.(\d+)", part)
        if span:
            written.append("str(number)")
            loops.append(f"for number in range({int(span[1])}, {int(span[2]) + 1})")
        else:
            written.append("last")
            loops.append(f"for last in [{', '.join(map(_quoted, part.split(',')))}]")
    if not loops:
        return f"    {written[0]}"
    lines = [" + ".join(written), *loops]
    return "    *(\n" + "".join(f"        {line}\n" for line in lines) + "    )"


def _between(opening: str, items: list[str], closing: str) -> str:
    line = f"{opening}{', '.join(items)}{closing}"
    if len(line) <= _WIDTH - 20 and "\n" not in line:
        return line
    inside = "".join(f"{textwrap.indent(item, '    ')},\n" for item in items)
    return f"{opening}\n{inside}{closing}"


def _quoted(text: str) -> str:
    """ASCII, in double quotes where that needs no thought."""
    written = ascii(text)
    if written[0] == "'" and '"' not in written and "\\'" not in written:
        return f'"{written[1:-1]}"'
    return written
