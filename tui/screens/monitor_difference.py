"""The diff tab: what a run was asked that the one before it, or the defaults, were not."""

import dataclasses
from collections.abc import Sequence

from finetune_tui.core.errors import UserError
from finetune_tui.core.runs.directory import RunDirectory
from finetune_tui.core.text import plain
from finetune_tui.core.tuning.spec import Spec
from finetune_tui.tui.widgets.lines import Line, dim, line, rule, strong, wrap

_LOOKED_AT = 50  # older runs


@dataclasses.dataclass(frozen=True, slots=True)
class Before:
    """What a spec is held against. name: in words."""

    name: str
    spec: Spec


def run_before(run: RunDirectory, runs: Sequence[RunDirectory], spec: Spec) -> Before:
    """The newest older run of the same model, else the defaults. `runs`: the newest first."""
    number = run.number or 0
    older = [other for other in runs if other.number is not None and other.number < number]
    for other in older[:_LOOKED_AT]:
        try:
            found = other.spec()
        except UserError:
            continue
        if found.model_name_or_path == spec.model_name_or_path:
            return Before(plain(other.id, 60), found)
    return Before("the defaults", Spec())


def difference_lines(spec: Spec | None, before: Before | None, width: int) -> list[Line]:
    """`key: then → now`, a line each."""
    if spec is None or before is None:
        return [line(dim(" spec.yaml cannot be read" if spec is None else " being read…"))]
    changed = [
        (field.name, getattr(before.spec, field.name), getattr(spec, field.name))
        for field in dataclasses.fields(Spec)
        if getattr(before.spec, field.name) != getattr(spec, field.name)
    ]
    lines = [rule(width, [line(dim("against "), before.name)])]
    if not changed:
        return [*lines, line(dim(" the same in every key"))]
    room = min(max(len(name) for name, _, _ in changed) + 2, 30)
    for name, then, now in changed:
        first, *rest = wrap(f"{_words(then)} → {_words(now)}", max(width - room - 2, 10))
        lines.append(line(" ", strong(f"{name:<{room}}"), first))
        lines += [line(" " * (room + 1), words) for words in rest]
    return lines


def _words(value: object) -> str:
    if value is None or value in ((), ""):
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, tuple) and all(isinstance(item, str) for item in value):
        return plain(", ".join(value), 200)
    if isinstance(value, tuple):
        return f"{len(value)} lines"
    return plain(str(value), 200)
