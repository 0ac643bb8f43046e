"""A result as Markdown."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Table:
    """title, what was expected beforehand, the head and the rows."""

    title: str
    expected: str
    head: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]

    def __str__(self) -> str:
        lines = [self.head, tuple("---" for _ in self.head), *self.rows]
        body = "\n".join("| " + " | ".join(row) + " |" for row in lines)
        return f"## {self.title}\n\nExpected: {self.expected}.\n\n{body}\n"
