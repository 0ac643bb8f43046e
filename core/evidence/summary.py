"""A comparison in one line, and as the event that a run tells of it."""

from typing import Any

from finetune_tui.core.evidence.comparison import ComparedSet, Comparison
from finetune_tui.core.evidence.intervals import Interval, Share
from finetune_tui.core.text import count, percent


def summary_words(comparison: Comparison) -> str:
    """`exact match 1.7% → 98% on 240 rows, 231 fixed, 0 regressed, forgot 3 of 100`."""
    held_out = comparison.held_out
    judge, counts = held_out.judge, held_out.counts
    words = (
        f"{judge.title} {percent(judge.base.value, 1)} → {percent(judge.tuned.value, 1)} "
        f"on {count(held_out.rows)} rows, {count(counts.fixed)} fixed, {count(counts.regressed)} regressed"
    )
    if comparison.forgetting is None:
        return words
    return f"{words}, {forgotten_words(comparison.forgetting)}"


def forgotten_words(compared: ComparedSet) -> str:
    """`forgot 3 of 100`: of the rows that the base has right."""
    forgotten = compared.counts.forgotten
    if not forgotten.total:
        return "nothing to forget: the base has none of those right"
    return f"forgot {count(forgotten.hits or 0)} of {count(forgotten.total)}"


def compared_event(comparison: Comparison) -> dict[str, Any]:
    """The fields of the event `compared`; base, tuned and difference are the judging metric's."""
    held_out = comparison.held_out
    judge, counts = held_out.judge, held_out.counts
    return {
        "comparison": str(comparison.folder),
        "rows": held_out.rows,
        "judged_by": held_out.judged_by,
        "title": judge.title,
        "fixed": counts.fixed,
        "regressed": counts.regressed,
        "both_right": counts.both_right,
        "both_wrong": counts.both_wrong,
        "base": _figure(judge.base),
        "tuned": _figure(judge.tuned),
        "difference": _figure(judge.difference),
        "metrics": {
            one.metric: {"base": one.base.value, "tuned": one.tuned.value}
            for one in held_out.measured
        },
        "forgotten": _forgotten(comparison.forgetting),
    }


def _forgotten(compared: ComparedSet | None) -> dict[str, Any] | None:
    if compared is None:
        return None
    forgotten = compared.counts.forgotten
    return {
        "rows": compared.rows,
        "base_right": forgotten.total,
        "forgotten": forgotten.hits,
        "low": forgotten.low,
        "high": forgotten.high,
    }


def _figure(figure: Share | Interval) -> dict[str, float]:
    return {"value": figure.value, "low": figure.low, "high": figure.high}
