"""The metrics of a comparison: what each says of one answer, and which ones fit the answers expected."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finetune_tui.core.errors import UserError
from finetune_tui.core.evidence.comparison import Which
from finetune_tui.core.evidence.json_answers import FieldCount, compare_fields, is_json
from finetune_tui.core.evidence.judge import Judge
from finetune_tui.core.evidence.rouge import rouge_l, words
from finetune_tui.core.files import read_json
from finetune_tui.core.tuning.task_spec import CompareSpec

ROUGE_RIGHT = 0.5
"""From so much ROUGE-L on an answer counts as right, where that metric judges."""
_PROSE = 12  # words of an expected answer from which nobody writes the same ones again
_LARGEST_SCHEMA = 4 * 2**20  # bytes


@dataclass(frozen=True, slots=True)
class Metric:
    """title: at most 18 characters. is_share: rows are right or wrong; else they have a score from 0 to 1.

    right: when an answer counts as right, in words that follow "right:".
    """

    id: str
    title: str
    is_share: bool
    right: str
    right_from: float = 1.0


METRICS: Mapping[str, Metric] = {
    one.id: one
    for one in (
        Metric("exact", "exact match", True, "the expected text, white space around it aside"),
        Metric("json", "valid JSON", True, "the whole answer is JSON"),
        Metric("schema", "JSON schema", True, "JSON that the schema allows"),
        Metric("fields", "field F1", False, "every field, and no other"),
        Metric("rouge-l", "ROUGE-L", False, f"ROUGE-L of {ROUGE_RIGHT:g} or more", ROUGE_RIGHT),
        Metric("regex", "regular expression", True, "what the expression says"),
    )
}


@dataclass(frozen=True, slots=True)
class Scored:
    """One answer by one metric, from 0 to 1; None: the metric says nothing of this row.

    fields: of `fields`, what was found under each path.
    """

    score: float | None
    fields: Mapping[str, FieldCount] | None = None


def check_asked(spec: CompareSpec) -> None:
    """What is wrong with the metrics asked for, found before anything starts. Raises UserError."""
    read_schema(spec)
    for metric, key, flag in (
        ("schema", "json_schema", "--schema FILE"),
        ("regex", "regex", "--regex R"),
    ):
        if metric in spec.metrics and getattr(spec, key) is None:
            words = f"the metric '{metric}' has nothing to hold answers against"
            raise UserError(words, where=key, hint=f"give {flag}")


def check_judges(spec: CompareSpec) -> None:
    """That the schema is one and the expression too; some tenths of a second. Raises UserError."""
    check_asked(spec)
    with judge_of(spec):
        pass


def judge_of(spec: CompareSpec) -> Judge:
    """Raises UserError when the schema's file cannot be read."""
    return Judge(read_schema(spec), spec.regex)


def read_schema(spec: CompareSpec) -> Any:
    """The JSON schema, or None. Raises UserError."""
    if spec.json_schema is None:
        return None
    return read_json(Path(spec.json_schema), limit=_LARGEST_SCHEMA)


def metrics_for(spec: CompareSpec, which: Which, expected: Sequence[str]) -> tuple[Metric, ...]:
    """Those asked for, in that order, or those that fit the expected answers; the first one judges.

    An expression that was given judges when `metrics` names nothing; like a schema it is measured in any
    case. All that is asked for is about the rows held out: rows of other work are measured by what fits
    them. Raises UserError.
    """
    if which is Which.FORGETTING:
        return tuple(METRICS[name] for name in _fitting(expected))
    names = list(spec.metrics)
    if not names:
        names = (["regex"] if spec.regex is not None else []) + _fitting(expected)
    for metric, given in (("schema", spec.json_schema), ("regex", spec.regex)):
        if given is not None and metric not in names:
            names.append(metric)
    if "fields" in names and not any(_has_fields(one) for one in expected):
        raise UserError(
            "no expected answer is a JSON object, so there are no fields to compare",
            where="metrics",
            hint="exact and rouge-l work on any text",
        )
    return tuple(METRICS[name] for name in names)


def scorer(metric: Metric, judge: Judge) -> Callable[[str, str], Scored]:
    """What scores an answer against the expected one."""
    if metric.id == "fields":
        return _fields
    simple: dict[str, Callable[[str, str], float | bool | None]] = {
        "exact": lambda expected, answer: expected == answer,
        "json": lambda _, answer: is_json(answer),
        "rouge-l": rouge_l,
        "schema": lambda expected, answer: judge.patiently("schema", expected, answer),
        "regex": lambda expected, answer: judge.patiently("regex", expected, answer),
    }
    score = simple[metric.id]
    return lambda expected, answer: Scored(_as_float(score(expected, answer)))


def _fields(expected: str, answer: str) -> Scored:
    found = compare_fields(expected, answer)
    if found is None:
        return Scored(None)
    said = sum(field.said + field.expected for field in found.values())
    right = sum(field.right for field in found.values())
    return Scored(2 * right / said if said else 1.0, found)


def _fitting(expected: Sequence[str]) -> list[str]:
    """JSON where nearly every expected answer is some; ROUGE-L where they are prose."""
    if not expected:
        return ["exact"]
    objects = sum(_has_fields(one) for one in expected)
    if objects >= 0.9 * len(expected):
        return ["exact", "json", "fields"]
    if statistics.median(len(words(one)) for one in expected) >= _PROSE:
        return ["rouge-l", "exact"]
    return ["exact"]


def _has_fields(expected: str) -> bool:
    return expected.lstrip()[:1] in ("{", "[") and compare_fields(expected, expected) is not None


def _as_float(value: float | bool | None) -> float | None:
    return None if value is None else float(value)
