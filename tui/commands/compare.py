"""compare: base and tuned model on the same rows; earlier comparisons, and their rows."""

import argparse
import time
from pathlib import Path
from typing import Any

from finetune_tui.core.errors import UserError
from finetune_tui.core.evidence.asking import check_compare
from finetune_tui.core.evidence.compared_rows import ComparedRow, read_index, read_rows
from finetune_tui.core.evidence.comparison import (
    ComparedSet,
    Comparison,
    Found,
    Verdict,
    Which,
    list_comparisons,
    read_comparison,
)
from finetune_tui.core.evidence.summary import summary_words
from finetune_tui.core.evidence.writing import set_to_json
from finetune_tui.core.runs.directory import RunDirectory, find_run
from finetune_tui.core.runs.home import find_home
from finetune_tui.core.runs.launch import launch_task
from finetune_tui.core.runs.state import Status
from finetune_tui.core.runs.targets import find_target
from finetune_tui.core.text import did_you_mean, nearest
from finetune_tui.core.tuning.task_spec import CompareSpec
from finetune_tui.tui.commands.comparison_table import table_lines
from finetune_tui.tui.commands.following import follow
from finetune_tui.tui.commands.task_runs import (
    last_event,
    queue_task,
    say_detached,
    say_unfinished,
    wait_for,
)
from finetune_tui.tui.output import say, say_json, say_table

_SHOWN = 20  # rows that are printed without being asked for more


def compare(options: argparse.Namespace) -> int:
    """Start a comparison of a trained run and follow it, or show those it has."""
    home = find_home(options.home)
    if options.list:
        return _list(_with_comparisons(home, options.run), options.json)
    if options.show is not None or options.only:
        return _show(_with_comparisons(home, options.run), options)
    spec = asked_spec(options)
    target = find_target(home, spec.run)
    check_compare(spec, target)
    if options.queue:
        return queue_task(home, spec, options.json)
    run = launch_task(home, spec)
    if options.detach:
        return say_detached(run, options.json)
    if options.json:
        wait_for(run)
        comparison = _made_by(run)
        if comparison is None:
            return say_unfinished(run)
        say_json(_as_json(comparison, target))
        return 0
    say(f"{run.id} in {run.path}")
    code = follow(run, as_json=False)
    comparison = _made_by(run)
    if code == 0 and comparison is not None:
        _say_comparison(comparison, target)
    return code


def asked_spec(options: argparse.Namespace) -> CompareSpec:
    """What the flags describe. Raises UserError."""
    values: dict[str, Any] = {
        "run": options.run,
        "metrics": options.metric,
        "json_schema": options.schema,
        "regex": options.regex,
        "compare_files": options.data,
        "forget_files": options.forget,
        "rows": options.rows,
        "max_new_tokens": options.max_new_tokens,
        "use_cpu": options.cpu or None,
    }
    given = {name: value for name, value in values.items() if value not in (None, [])}
    return CompareSpec().changed(**given).anchored(Path.cwd())


def _made_by(run: RunDirectory) -> Comparison | None:
    """The result of a comparison that finished."""
    event = last_event(run, "compared")
    if run.state().status is not Status.FINISHED or event is None:
        return None
    try:
        return read_comparison(Path(str(event.get("comparison"))))
    except UserError:
        return None


def _with_comparisons(home: Path, text: str) -> RunDirectory:
    """The trained run that is meant, also by the comparison that was made of it."""
    run = find_run(home, text)
    event = last_event(run, "compared") if run.state().task == "compare" else None
    if event is not None:
        return RunDirectory(Path(str(event.get("comparison"))).parent.parent)
    return run


def _list(run: RunDirectory, as_json: bool) -> int:
    found = list_comparisons(run)
    if as_json:
        say_json({"run": run.id, "comparisons": [_as_json(one, run) for one in found]})
    elif not found:
        _say_none(run)
    else:
        rows = [(one.name, _clock(one.created), summary_words(one)) for one in found]
        say_table(("NAME", "MADE", "RESULT"), rows, right=frozenset())
    return 0


def _show(run: RunDirectory, options: argparse.Namespace) -> int:
    comparison = _named(run, options.show or None)
    if options.only:
        return _show_rows(comparison, options)
    if options.json:
        say_json(_as_json(comparison, run))
    else:
        _say_comparison(comparison, run)
    return 0


def _named(run: RunDirectory, name: str | None) -> Comparison:
    """The newest, or the one with that name. Raises UserError."""
    found = list_comparisons(run)
    if not found:
        hint = f"`finetune-tui compare {run.short_id}` makes one"
        raise UserError(f"{run.short_id} has no comparison yet", hint=hint)
    if name is None:
        return found[0]
    for one in found:
        if one.name == name:
            return one
    names = [one.name for one in found]
    hint = did_you_mean(name, names) or f"there are {', '.join(names[:8])}"
    raise UserError(f"{run.short_id} has no comparison '{name[:60]}'", hint=hint)


def _show_rows(comparison: Comparison, options: argparse.Namespace) -> int:
    verdict = _verdict(options.only)
    which = Which.FORGETTING if options.forgotten else Which.HELD_OUT
    if comparison.of(which) is None:
        raise UserError(
            f"{comparison.name} asked no second set of rows", hint="name it: --forget F"
        )
    index = read_index(comparison.folder, which)
    numbers = index.only(verdict)
    shown = numbers if options.json or options.all_rows else numbers[:_SHOWN]
    rows = read_rows(comparison.folder, [index.offsets[number] for number in shown])
    if options.json:
        answer = {"comparison": comparison.name, "set": which, "verdict": verdict}
        say_json({**answer, "rows": [_row_to_json(row) for row in rows]})
        return 0
    for row in rows:
        _say_row(row)
    if len(shown) < len(numbers):
        say(f"{len(numbers) - len(shown)} more; --all shows every one")
    elif not numbers:
        say(f"no row is {verdict.value}")
    return 0


def _verdict(text: str) -> Verdict:
    names = [one.value for one in Verdict]
    if text not in names:
        meant = nearest(text, names)
        hint = f"did you mean '{meant}'?" if meant else f"there are {', '.join(names)}"
        raise UserError(f"'{text[:40]}' is no outcome of a row", where="--only", hint=hint)
    return Verdict(text)


def _say_comparison(comparison: Comparison, run: RunDirectory) -> None:
    for line in table_lines(comparison):
        say(line)
    say(f"rows: {comparison.folder}/rows.jsonl")
    counts = comparison.held_out.counts
    read = f"finetune-tui compare {run.short_id} --only"
    if counts.regressed or counts.fixed:
        say(f"read them: {read} {'regressed' if counts.regressed else 'fixed'}")
    if comparison.forgetting is not None and comparison.forgetting.counts.regressed:
        say(f"what was forgotten: {read} regressed --forgotten")


def _say_row(row: ComparedRow) -> None:
    say(f"── {row.number + 1}  {row.verdict.value}  {row.where}")
    for label, text in (
        ("prompt", row.prompt),
        ("expected", row.expected),
        ("base", row.base),
        ("tuned", row.tuned),
    ):
        first, *others = text.splitlines() or [""]
        say(f"{label:<9}{first}")
        for line in others:
            say(f"{'':<9}{line}")


def _say_none(run: RunDirectory) -> None:
    say(f"{run.short_id} has no comparison yet: `finetune-tui compare {run.short_id}` makes one")


def _as_json(comparison: Comparison, run: RunDirectory) -> dict[str, Any]:
    return {
        "comparison": comparison.name,
        "run": run.id,
        "path": str(comparison.folder),
        "model": comparison.model,
        "created": comparison.created,
        "seconds": comparison.seconds,
        "device": comparison.device,
        "dtype": comparison.dtype,
        "precision": comparison.precision,
        "step": comparison.step,
        "held_out": _set_as_json(comparison.held_out),
        "forgetting": _set_as_json(comparison.forgetting),
    }


def _set_as_json(compared: ComparedSet | None) -> dict[str, Any] | None:
    if compared is None:
        return None
    forgotten = compared.counts.forgotten
    return {
        **set_to_json(compared),
        "fields": [
            {"path": one.path, "base": _found_as_json(one.base), "tuned": _found_as_json(one.tuned)}
            for one in compared.fields
        ],
        "forgotten": {
            "rows": forgotten.hits,
            "of": forgotten.total,
            "low": forgotten.low,
            "high": forgotten.high,
        },
    }


def _found_as_json(found: Found) -> dict[str, float | None]:
    return {
        "right": found.right,
        "said": found.said,
        "expected": found.expected,
        "precision": found.precision.value if found.said else None,
        "recall": found.recall.value if found.expected else None,
        "f1": found.f1 if found.said or found.expected else None,
    }


def _row_to_json(row: ComparedRow) -> dict[str, Any]:
    return {
        "number": row.number,
        "where": row.where,
        "verdict": row.verdict,
        "prompt": row.prompt,
        "expected": row.expected,
        "base": row.base,
        "tuned": row.tuned,
        "scores": row.scores,
    }


def _clock(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))
