"""From answers to figures: scores of every row, verdicts, and what is measured over all of them."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from finetune_tui.core.evidence.compared_rows import ComparedRow
from finetune_tui.core.evidence.comparison import (
    Counts,
    FieldMeasured,
    Found,
    Measured,
    Verdict,
    Which,
)
from finetune_tui.core.evidence.intervals import (
    Share,
    influence,
    mean_score,
    paired_difference,
    share,
    weighted_score,
)
from finetune_tui.core.evidence.json_answers import FieldCount
from finetune_tui.core.evidence.judge import Judge
from finetune_tui.core.evidence.metrics import Metric, Scored, scorer
from finetune_tui.core.text import plain

MOST_LISTED = 200
"""Fields that a result lists; the commonest."""
_LONGEST_PATH = 200


@dataclass(frozen=True, slots=True)
class AnsweredRow:
    """A row and both answers to it, as text."""

    number: int
    where: str
    prompt: str
    expected: str
    base: str
    tuned: str


@dataclass(frozen=True, slots=True)
class ScoredSet:
    """All rows of one set with their verdicts, and the figures. further_fields: how many are not listed."""

    rows: tuple[ComparedRow, ...]
    measured: tuple[Measured, ...]
    counts: Counts
    fields: tuple[FieldMeasured, ...]
    further_fields: int


def score_set(
    which: Which,
    rows: Sequence[AnsweredRow],
    metrics: Sequence[Metric],
    judge: Judge,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> ScoredSet:
    """The first metric judges. Raises WorkFailed when schema or expression take too long too often."""
    scorers = {metric.id: scorer(metric, judge) for metric in metrics}
    scores: dict[str, list[tuple[Scored, Scored]]] = {metric.id: [] for metric in metrics}
    for number, row in enumerate(rows):
        progress(number, len(rows))
        for name, score in scorers.items():
            pair = score(row.expected, row.base), score(row.expected, row.tuned)
            scores[name].append(pair)
    first = metrics[0]
    verdicts = [
        Verdict.of(is_right(first, base), is_right(first, tuned))
        for base, tuned in scores[first.id]
    ]
    compared = tuple(
        _compared(which, row, verdicts[place], {name: scores[name][place] for name in scorers})
        for place, row in enumerate(rows)
    )
    tally = Counter(verdicts)
    fields, further = _by_field(scores.get("fields", ()))
    return ScoredSet(
        rows=compared,
        measured=tuple(_measured(metric, scores[metric.id]) for metric in metrics),
        counts=Counts(
            fixed=tally[Verdict.FIXED],
            regressed=tally[Verdict.REGRESSED],
            both_right=tally[Verdict.BOTH_RIGHT],
            both_wrong=tally[Verdict.BOTH_WRONG],
        ),
        fields=fields,
        further_fields=further,
    )


def is_right(metric: Metric, scored: Scored) -> bool:
    return scored.score is not None and scored.score >= metric.right_from


def says_something(metric: Metric, expected: str, judge: Judge) -> bool:
    """Whether the metric can tell right from wrong where this is expected."""
    return scorer(metric, judge)(expected, expected).score is not None


def _compared(
    which: Which, row: AnsweredRow, verdict: Verdict, scores: Mapping[str, tuple[Scored, Scored]]
) -> ComparedRow:
    return ComparedRow(
        which=which,
        number=row.number,
        where=row.where,
        prompt=row.prompt,
        expected=row.expected,
        base=row.base,
        tuned=row.tuned,
        verdict=verdict,
        scores={name: (base.score, tuned.score) for name, (base, tuned) in scores.items()},
    )


def _measured(metric: Metric, pairs: Sequence[tuple[Scored, Scored]]) -> Measured:
    """Over the rows that the metric says something of."""
    told = [(base, tuned) for base, tuned in pairs if base.score is not None is not tuned.score]
    if metric.id == "fields":
        return _measured_fields(metric, told)
    bases, tuneds = ([float(one.score or 0) for one in side] for side in _sides(told))
    measure = _share_of if metric.is_share else mean_score
    return Measured(
        metric=metric.id,
        title=metric.title,
        rows=len(told),
        base=measure(bases),
        tuned=measure(tuneds),
        difference=paired_difference(
            [after - before for before, after in zip(bases, tuneds, strict=True)]
        ),
    )


def _measured_fields(metric: Metric, told: Sequence[tuple[Scored, Scored]]) -> Measured:
    """F1 over all fields of all rows: a row with many fields weighs more."""
    sides = [[_f1_parts(one.fields or {}) for one in side] for side in _sides(told)]
    figures = [weighted_score([g for g, _ in side], [m for _, m in side]) for side in sides]
    base, tuned = (influence([g for g, _ in side], [m for _, m in side]) for side in sides)
    return Measured(
        metric=metric.id,
        title=metric.title,
        rows=len(told),
        base=figures[0],
        tuned=figures[1],
        difference=paired_difference(
            [after - before for before, after in zip(base, tuned, strict=True)]
        ),
    )


def _share_of(scores: Sequence[float]) -> Share:
    return share(sum(one >= 1 for one in scores), len(scores))


def _sides(pairs: Sequence[tuple[Scored, Scored]]) -> tuple[list[Scored], list[Scored]]:
    return [base for base, _ in pairs], [tuned for _, tuned in pairs]


def _f1_parts(fields: Mapping[str, FieldCount]) -> tuple[float, float]:
    """2 × right, and said + expected: F1 is the sum of the one over the sum of the other."""
    right = sum(field.right for field in fields.values())
    return 2.0 * right, float(sum(field.said + field.expected for field in fields.values()))


def _by_field(
    pairs: Sequence[tuple[Scored, Scored]],
) -> tuple[tuple[FieldMeasured, ...], int]:
    """Each field over all rows, the most expected first; and how many further ones there are."""
    sums: tuple[dict[str, Counter[str]], ...] = ({}, {})
    for pair in pairs:
        for side, scored in zip(sums, pair, strict=True):
            for path, field in _named(scored):
                one = side.setdefault(path, Counter())
                one.update(right=field.right, said=field.said, expected=field.expected)
    base, tuned = sums
    paths = list(dict.fromkeys((*base, *tuned)))
    empty: Counter[str] = Counter()
    listed = [
        FieldMeasured(path, _found(base.get(path, empty)), _found(tuned.get(path, empty)))
        for path in paths
    ]
    # What is expected of a field is the same for both, but a path may be said by one alone.
    listed.sort(key=lambda one: -max(one.base.expected, one.tuned.expected))
    return tuple(listed[:MOST_LISTED]), max(len(listed) - MOST_LISTED, 0)


def _named(scored: Scored) -> Iterator[tuple[str, FieldCount]]:
    for path, field in (scored.fields or {}).items():
        yield plain(path, _LONGEST_PATH) or "(the whole answer)", field


def _found(counted: Counter[str]) -> Found:
    return Found(counted["right"], counted["said"], counted["expected"])
