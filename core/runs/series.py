"""Values by step as a plot needs them: bounded, however long the run is.

A plot is some hundred columns wide. Beyond `MOST` points each two neighbours become one entry that
keeps their lowest, highest, mean and last value, so that no peak is lost and a run of a million steps
takes less than half a megabyte a series.
"""

from array import array
from bisect import bisect_right
from dataclasses import dataclass
from typing import Literal, get_args

MOST = 8192
"""Entries of a series, an even number; once it was full it keeps at least half as many."""

X = Literal["step", "seconds", "tokens"]
AXES: tuple[X, ...] = get_args(X)

_SMOOTH = 0.95  # of the mean so far stays at each point


@dataclass(frozen=True, slots=True)
class Points:
    """A series along one axis, a view: x in order, and the lowest, highest, mean and last of the values
    that an entry stands for. each: how many these are."""

    xs: "array[float]"
    lows: "array[float]"
    highs: "array[float]"
    means: "array[float]"
    lasts: "array[float]"
    each: int = 1

    def __len__(self) -> int:
        return len(self.xs)

    @property
    def last(self) -> float | None:
        return self.lasts[-1] if self.lasts else None

    def extremes(self, start: int, end: int) -> tuple[float, float]:
        """The lowest and highest value of entries `start` up to but not including `end`."""
        return min(self.lows[start:end]), max(self.highs[start:end])

    def copy(self) -> "Points":
        """Of its own: the series of a view goes on growing."""
        xs, lows, highs = self.xs[:], self.lows[:], self.highs[:]
        return Points(xs, lows, highs, self.means[:], self.lasts[:], self.each)

    def smoothed(self) -> "Points":
        """An exponential mean that starts unbiased, as plots of training loss usually show."""
        keep = _SMOOTH**self.each
        mean, left = 0.0, 1.0
        smooth = array("d")
        for value in self.means:
            mean = keep * mean + (1 - keep) * value
            left *= keep
            smooth.append(mean / (1 - left))
        return Points(self.xs, smooth, smooth, smooth, smooth, self.each)


NO_POINTS = Points(array("d"), array("d"), array("d"), array("d"), array("d"))


class Series:
    """Points appended in order of step, each with its seconds of training and its tokens so far."""

    __slots__ = (
        *("_each", "_filled", "_highs", "_lasts", "_lows", "_means", "_most"),
        *("_seconds", "_steps", "_tokens", "changes"),
    )

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._steps, self._seconds, self._tokens = array("d"), array("d"), array("d")
        self._lows, self._highs = array("d"), array("d")
        self._means, self._lasts = array("d"), array("d")
        self._each = 1
        self._filled = 1  # points in the last entry
        self.changes = (
            0  # as many as this one has seen: while it stands still, a picture of it holds
        )

    def __len__(self) -> int:
        """Entries, not points."""
        return len(self._lasts)

    @property
    def latest(self) -> float | None:
        """The last value itself, whatever was merged before it."""
        return self._lasts[-1] if self._lasts else None

    @property
    def end(self) -> tuple[float, float] | None:
        """Seconds and tokens at the last point."""
        return (self._seconds[-1], self._tokens[-1]) if self._lasts else None

    def points(self, axis: X = "step") -> Points:
        xs = {"step": self._steps, "seconds": self._seconds, "tokens": self._tokens}[axis]
        return Points(xs, self._lows, self._highs, self._means, self._lasts, self._each)

    def append(self, step: float, seconds: float, tokens: float, value: float) -> None:
        """Finite numbers; the first three never below those before."""
        self.changes += 1
        if self._filled < self._each:
            self._merge(step, seconds, tokens, value)
            return
        if len(self._lasts) >= self._most:
            self._halve()
        self._steps.append(step)
        self._seconds.append(seconds)
        self._tokens.append(tokens)
        self._lows.append(value)
        self._highs.append(value)
        self._means.append(value)
        self._lasts.append(value)
        self._filled = 1

    def truncate(self, step: float) -> None:
        """Forget what lies after `step`. An entry that reaches beyond it goes as a whole."""
        kept = bisect_right(self._steps, step)
        if kept < len(self._lasts):
            self.changes += 1
            for values in self._arrays():
                del values[kept:]
            self._filled = self._each

    def _merge(self, step: float, seconds: float, tokens: float, value: float) -> None:
        """Into the last entry, whose x is that of its last point."""
        self._steps[-1], self._seconds[-1], self._tokens[-1] = step, seconds, tokens
        if value < self._lows[-1]:
            self._lows[-1] = value
        elif value > self._highs[-1]:
            self._highs[-1] = value
        self._filled += 1
        self._means[-1] += (value - self._means[-1]) / self._filled
        self._lasts[-1] = value

    def _halve(self) -> None:
        """Each two neighbours become one entry. Arrays are made anew: views of before stay whole."""
        self._steps, self._seconds = self._steps[1::2], self._seconds[1::2]
        self._tokens, self._lasts = self._tokens[1::2], self._lasts[1::2]
        self._lows = array("d", map(min, self._lows[::2], self._lows[1::2]))
        self._highs = array("d", map(max, self._highs[::2], self._highs[1::2]))
        pairs = zip(self._means[::2], self._means[1::2], strict=True)
        self._means = array("d", [left + (right - left) / 2 for left, right in pairs])
        self._each *= 2

    def _arrays(self) -> "tuple[array[float], ...]":
        xs = (self._steps, self._seconds, self._tokens)
        return (*xs, self._lows, self._highs, self._means, self._lasts)
