"""Foreign text in Markdown and YAML: names, notes and replies that can neither format nor run anything."""

import re
from collections.abc import Iterable, Sequence

from finetune_tui.core.text import plain

_ACTS = re.compile(r"([\\`*_{}\[\]<>#!|~&$]|:(?=//))")
_BACKTICKS = re.compile(r"`+")


def words(text: object, limit: int = 300) -> str:
    """One line in which nothing is formatting, a link or HTML."""
    return (
        _ACTS.sub(r"\\\1", plain(str(text), limit)).replace("\\<", "&lt;").replace("\\&", "&amp;")
    )


def code(text: object, limit: int = 300) -> str:
    """One line between backticks, more of them than the text has in a row."""
    shown = plain(str(text), limit).replace("|", "¦")  # would end a table's cell even here
    longest = max((len(found) for found in _BACKTICKS.findall(shown)), default=0)
    ticks = "`" * (longest + 1)
    edge = " " if shown.startswith("`") or shown.endswith("`") or not shown.strip() else ""
    return f"{ticks}{edge}{shown}{edge}{ticks}"


def fenced(text: str, language: str = "") -> str:
    """Lines of code as they are; the fence is longer than any in them."""
    longest = max((len(found) for found in _BACKTICKS.findall(text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text.rstrip()}\n{fence}"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Cells are Markdown already."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
