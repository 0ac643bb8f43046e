"""How sure a figure is: 95 % intervals for shares, for mean scores, and for what changed between two.

Shares: Wilson (1927), "Probable inference, the law of succession, and statistical inference". It stays within
0 and 1 and has a width even where every row is right.

Mean scores from 0 to 1 (ROUGE-L, F1): Wilson's interval for as many yes/no rows as vary as much, never for
fewer than the rows there are (survey statistics calls that number the effective sample size). Below
`_FEW` rows their spread is not trusted and the rows themselves count.

Tuned minus base, on the same rows: Bonett and Price (2012), "Adjusted Wald confidence interval for a
difference of binomial proportions based on paired data": two rows are added, one that became right and
one that became wrong, and the mean of the rows' differences gets its normal interval. For scores the
same is done with their differences.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

Z = 1.959963984540054
"""Standard deviations that hold 95 % of a normal distribution."""
_FEW = 30


@dataclass(frozen=True, slots=True)
class Interval:
    """A figure, and between what it lies with 95 % confidence."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Share:
    """Between 0 and 1. hits of total rows; hits is None where value is a mean score instead of a share.

    low, high: the 95 % interval. Without any row, value is 0 and the interval is everything.
    """

    hits: int | None
    total: int
    value: float
    low: float
    high: float


def share(hits: int, total: int) -> Share:
    """Wilson's interval for `hits` of `total` yes/no rows."""
    if not total:
        return Share(hits, total, 0.0, 0.0, 1.0)
    low, high = _wilson(hits / total, total)
    return Share(hits, total, hits / total, low, high)


def mean_score(scores: Sequence[float]) -> Share:
    """The mean of scores from 0 to 1."""
    return weighted_score(scores, [1.0] * len(scores))


def weighted_score(gained: Sequence[float], most: Sequence[float]) -> Share:
    """The sum of what rows gained over the sum of what they could gain: F1 over all fields of all rows.

    gained: of each row, from 0 to its `most`.
    """
    total = math.fsum(most)
    counted = sum(one > 0 for one in most)
    if not total:
        return Share(None, counted, 0.0, 0.0, 1.0)
    value = min(math.fsum(gained) / total, 1.0)
    low, high = _wilson(value, _effective_rows(value, gained, most))
    return Share(None, counted, value, low, high)


def paired_difference(differences: Sequence[float]) -> Interval:
    """The mean of tuned minus base row by row; each between -1 and 1, or what `influence` gives."""
    rows = len(differences)
    if not rows:
        return Interval(0.0, -1.0, 1.0)
    value = math.fsum(differences) / rows
    adjusted = [*differences, 1.0, -1.0]
    centre = math.fsum(adjusted) / len(adjusted)
    spread = math.fsum((one - centre) ** 2 for one in adjusted) / len(adjusted)
    half = Z * math.sqrt(spread / len(adjusted))
    low, high = min(centre - half, value), max(centre + half, value)
    return Interval(value, max(low, -1.0), min(high, 1.0))


def influence(gained: Sequence[float], most: Sequence[float]) -> list[float]:
    """What each row adds to a weighted score, so that their mean is the score itself (linearisation)."""
    total = math.fsum(most)
    if not total:
        return [0.0] * len(most)
    value = math.fsum(gained) / total
    scale = len(most) / total
    return [value + scale * (one - value * of) for one, of in zip(gained, most, strict=True)]


def _wilson(value: float, rows: float) -> tuple[float, float]:
    z2 = Z * Z
    centre = (value + z2 / (2 * rows)) / (1 + z2 / rows)
    half = Z / (1 + z2 / rows) * math.sqrt(value * (1 - value) / rows + z2 / (4 * rows * rows))
    return max(min(centre - half, value), 0.0), min(max(centre + half, value), 1.0)


def _effective_rows(value: float, gained: Sequence[float], most: Sequence[float]) -> float:
    """How many yes/no rows with that share would vary as much as these scores do."""
    total = math.fsum(most)
    least = total * total / math.fsum(one * one for one in most)
    if len(most) < _FEW:
        return least
    spread = math.fsum((one - value * of) ** 2 for one, of in zip(gained, most, strict=True))
    variance = len(most) / (len(most) - 1) * spread / (total * total)
    return max(value * (1 - value) / variance, least) if variance > 0 else least
