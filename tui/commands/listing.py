"""runs: every run of a home, the first rows before the last are read."""

import argparse
import itertools
import time
from collections.abc import Iterator
from typing import Any

from finetune_tui.core.errors import UserError
from finetune_tui.core.runs.arranging import SORTS, Filter, arrange
from finetune_tui.core.runs.directory import RunDirectory, list_runs
from finetune_tui.core.runs.home import find_home
from finetune_tui.core.runs.listing import RunFacts, read_facts
from finetune_tui.core.runs.untold import notice_ends
from finetune_tui.core.text import did_you_mean, duration, plain
from finetune_tui.tui.output import say, say_json, say_table

_AT_ONCE = 50  # rows that are read before the first is shown; the columns are made for them
_HEAD = ("RUN", "MODEL", "STATUS", "STEP", "HELD-OUT LOSS", "AGE", "LABELS")
_RIGHT = frozenset({3, 4, 5})
_LONGEST = 60  # characters of the labels


def runs(options: argparse.Namespace) -> int:
    """All runs but the archived ones, the newest first; else as asked."""
    home, now = find_home(options.home), time.time()
    found = list_runs(home)
    shown = _shown(found, options, now)
    if options.json:
        say_json({"runs": [_answer(facts) for facts in shown]})
    elif not found:
        say("No runs yet. `finetune-tui train --model demo` starts one.")
    elif first := list(itertools.islice(shown, _AT_ONCE)):
        rows = (_row(facts, now) for facts in itertools.chain(first, shown))
        say_table(_HEAD, rows, right=_RIGHT, measured=_AT_ONCE)
    else:
        say(f"None of {len(found)} runs is like that.")
    notice_ends(home)
    return 0


def _shown(
    found: list[RunDirectory], options: argparse.Namespace, now: float
) -> Iterator[RunFacts]:
    """Those asked for, in order. The newest first can be shown while the others are read."""
    wanted = Filter.parse(" ".join(options.filter), with_archived=options.all)
    sort = _sort(options.sort)
    every = (read_facts(run, now) for run in found)
    if sort == "newest":
        return (facts for facts in every if wanted.matches(facts))
    return iter(arrange(every, wanted, sort))


def _sort(text: str) -> str:
    """One of SORTS, from `eval-loss` or `eval loss`. Raises UserError."""
    sort = text.lower().replace("-", " ")
    if sort not in SORTS:
        known = [name.replace(" ", "-") for name in SORTS]
        hint = did_you_mean(text, known) or f"one of {', '.join(known)}"
        raise UserError(f"runs cannot be sorted by '{text[:60]}'", hint=hint)
    return sort


def _row(facts: RunFacts, now: float) -> tuple[str, ...]:
    step = "" if facts.step is None else f"{facts.step}/{facts.total_steps or '?'}"
    loss = "" if facts.eval_loss is None else f"{facts.eval_loss:.4f}"
    age = duration(now - facts.created) if facts.created else ""
    labels = [facts.name, *(f"#{tag}" for tag in facts.tags), facts.note]
    labels += ["(archived)"] if facts.archived else []
    words = plain(" ".join(label for label in labels if label), _LONGEST)
    return (facts.id, facts.model or "?", facts.status.value, step, loss, age, words)


def _answer(facts: RunFacts) -> dict[str, Any]:
    return {
        "id": facts.id,
        "task": facts.task,
        "target": facts.target or None,
        "model": facts.model or None,
        "preset": facts.preset or None,
        "status": facts.status.value,
        "step": facts.step,
        "total_steps": facts.total_steps,
        "eval_loss": facts.eval_loss,
        "created": facts.created,
        "best_eval_loss": facts.best_eval_loss,
        "best_step": facts.best_step,
        "ended": facts.ended,
        "words": facts.liveness.words,
        "name": facts.name or None,
        "note": facts.note or None,
        "tags": list(facts.tags),
        "archived": facts.archived,
        "path": str(facts.run.path),
    }
