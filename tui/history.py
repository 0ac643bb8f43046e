"""Undo and redo: what there was before each step, and what was taken back."""

from typing import Generic, TypeVar

T = TypeVar("T")

_MOST = 200


class History(Generic[T]):
    """The last two hundred steps."""

    def __init__(self) -> None:
        self._past: list[T] = []
        self._future: list[T] = []
        self._merging: object = None

    def add(self, before: T, merge: object = None) -> None:
        """A step was taken from `before`. In a row with the same `merge`, all are one step."""
        if merge is None or merge != self._merging:
            self._past.append(before)
            del self._past[:-_MOST]
        self._merging = merge
        self._future.clear()

    def undo(self, now: T) -> T | None:
        """What there was before the last step; None when there was none."""
        return self._travel(self._past, self._future, now)

    def redo(self, now: T) -> T | None:
        """What was taken back last; None when nothing was."""
        return self._travel(self._future, self._past, now)

    def clear(self) -> None:
        self._past.clear()
        self._future.clear()

    def _travel(self, source: list[T], target: list[T], now: T) -> T | None:
        self._merging = None
        if not source:
            return None
        target.append(now)
        return source.pop()
