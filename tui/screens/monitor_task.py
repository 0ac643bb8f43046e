"""How a comparison or an export ended, for its monitor: what it found or wrote, and what to do next."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from finetune_tui.core.evidence.intervals import Interval
from finetune_tui.core.evidence.metrics import METRICS
from finetune_tui.core.export.exported import Exported
from finetune_tui.core.runs.state import Status
from finetune_tui.core.runs.words import number, whole
from finetune_tui.core.text import percent, plain, size
from finetune_tui.tui.screens.comparison_figures import change_spans, score
from finetune_tui.tui.screens.following import Following
from finetune_tui.tui.widgets.lines import (
    Line,
    clip_left,
    dim,
    fit,
    flowed,
    key,
    line,
    strong,
    wrap,
)

_NAME = 14  # cells


def task_outcome(following: Following, width: int) -> list[Line]:
    """Nothing for a training, nor for what did not finish."""
    if following.liveness.status is not Status.FINISHED or following.is_training:
        return []
    if following.state.task == "compare":
        return _compared(following, width)
    return _exported(following, width)


def _compared(following: Following, width: int) -> list[Line]:
    found = following.curves.compared or {}
    lines = []
    base, tuned, difference = (_figure(found.get(name)) for name in ("base", "tuned", "difference"))
    if base and tuned and difference:
        told = line(percent(base.value, 1), dim(" → "), strong(percent(tuned.value, 1)))
        more = line("  ", *change_spans(difference))
        title = plain(str(found.get("title") or found.get("judged_by") or "right"), 40)
        lines.append(_fact(title, line(told, more), width))
    counts = [
        f"{number_} {name.replace('_', ' ')}"
        for name in ("fixed", "regressed", "both_right", "both_wrong")
        if (number_ := whole(found.get(name))) is not None
    ]
    rows = whole(found.get("rows"))
    if counts and rows is not None:
        lines.append(_fact(f"of {rows:,} rows", line(" · ".join(counts)), width))
    lines += _others(found.get("metrics"), found.get("judged_by"), width)
    lines += _forgotten(found.get("forgotten"), width)
    if not lines:
        lines = [line(f" {words}") for words in wrap(following.liveness.words, width - 2)[:2]]
    keys = [
        key("R", "read the rows", "results"),
        key("C", "compare again", "compare"),
        key("5", "Runs", "app.show_place('runs')"),
    ]
    return lines + flowed(keys, width)


def _others(value: Any, judge: Any, width: int) -> list[Line]:
    """`valid JSON 35% → 99%`: the metrics that do not judge."""
    if not isinstance(value, Mapping):
        return []
    parts = []
    for name, metric in METRICS.items():
        one = value.get(name)
        base, tuned = (
            number(one.get(who)) if isinstance(one, Mapping) else None for who in ("base", "tuned")
        )
        if base is not None and tuned is not None and name != judge:
            words = score if not metric.is_share else partial(percent, whole=1)
            parts.append(line(dim(f"{metric.title} "), f"{words(base)} → {words(tuned)}"))
    return [_fact("also", flowed(parts, 10_000)[0][1:], width)] if parts else []


def _forgotten(value: Any, width: int) -> list[Line]:
    """`forgotten    9 of 54 that the base had right, 17%`."""
    if not isinstance(value, Mapping):
        return []
    lost, right = whole(value.get("forgotten")), whole(value.get("base_right"))
    if lost is None or right is None:
        return []
    if not right:
        return [_fact("forgotten", line(dim("nothing to forget: the base had none right")), width)]
    told = line(strong(str(lost)), f" of {right:,} that the base had right, {percent(lost, right)}")
    return [_fact("forgotten", told, width)]


def _exported(following: Following, width: int) -> list[Line]:
    found = Exported.from_event(following.curves.ending or {})
    keys = [
        key("Y", "copy path", "copy_path"),
        key("X", "export again", "export"),
        key("5", "Runs", "app.show_place('runs')"),
    ]
    if found is None:
        words = wrap(following.liveness.words, width - 2)[:2]
        return [*(line(f" {text}") for text in words), *flowed(keys, width)]
    name, dtype = ("merged", f", {found.dtype}") if found.merged else ("adapter", "")
    files = dim(f" in {found.files} files{dtype}")
    lines = [
        _fact("in", line(strong(clip_left(plain(str(found.out)), width - _NAME - 2))), width),
        _fact("load it", line(dim("README.md in there has the lines")), width),
        _fact(name, line(size(found.bytes), files), width),
    ]
    first, *rest = wrap(plain(found.check_words, 300), max(width - _NAME - 2, 10))[:3]
    lines.append(_fact("checked", line(first), width))
    lines += [line(" " * (_NAME + 1), text) for text in rest]
    lines += _pushed((following.curves.ending or {}).get("pushed"), width)
    return lines + flowed(keys, width)


def _pushed(value: Any, width: int) -> list[Line]:
    if not isinstance(value, Mapping) or not isinstance(value.get("url"), str):
        return []
    seen = ", private" if value.get("private") is True else ""
    return [_fact("pushed", line(plain(value["url"], 300), dim(seen)), width)]


def _figure(value: Any) -> Interval | None:
    if not isinstance(value, Mapping):
        return None
    found = [number(value.get(name)) for name in ("value", "low", "high")]
    known = [one for one in found if one is not None]
    return Interval(*known) if len(known) == len(found) else None


def _fact(name: str, value: Line, width: int) -> Line:
    return fit(line(dim(f" {name:<{_NAME}}"), value), width)
