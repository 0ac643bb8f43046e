"""Comparisons as a compare run would have left them, scored for real, with fixed times and answers."""

import dataclasses
import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from finetune_tui.core.evidence.comparison import ComparedSet, Comparison, Which, comparisons_of
from finetune_tui.core.evidence.judge import Judge
from finetune_tui.core.evidence.metrics import METRICS
from finetune_tui.core.evidence.scoring import AnsweredRow, score_set
from finetune_tui.core.evidence.summary import compared_event, summary_words
from finetune_tui.core.evidence.writing import write_comparison
from finetune_tui.core.runs.directory import RunDirectory
from finetune_tui.core.runs.state import Status
from finetune_tui.core.tuning.task_spec import CompareSpec, write_task_spec
from tests.tui.runs_fixture import NOW, Event, append, make_run, write_run_state

CITIES = ("Athens", "Ghent", "Oslo", "Turin", "Porto")
THINGS = ("stool", "lamp", "chair", "desk", "rug")


def orders(count: int) -> list[AnsweredRow]:
    """Orders as JSON: the base rambles, the tuned model is nearly always right."""
    dice = random.Random(7)
    rows = []
    for number in range(count):
        thing, city, quantity = dice.choice(THINGS), dice.choice(CITIES), dice.randint(1, 90)
        right = json.dumps({"sku": thing, "qty": quantity, "to": city})
        elsewhere = json.dumps({"sku": thing, "qty": quantity, "to": dice.choice(CITIES)})
        prompt = (
            f"Order: {quantity} {thing}s for our customer in {city}, as soon as you can.\nJSON:"
        )
        rambling = f"Order: {quantity} {thing}s\nOrder: {quantity}"
        base = right if number % 40 == 3 else elsewhere if number % 3 == 0 else rambling
        tuned = elsewhere if number % 25 == 4 else rambling if number % 80 == 43 else right
        where = f"orders.jsonl:{number + 1761}"
        rows.append(AnsweredRow(number, where, prompt, right, base, tuned))
    return rows


def questions(count: int) -> list[AnsweredRow]:
    """Questions that have nothing to do with orders; some answers were forgotten."""
    rows = []
    for number in range(count):
        right = f"{CITIES[number % 5]} has {number + 2} bridges."
        tuned = '{"sku": "bridge", "qty": 1}' if number % 6 == 0 else right
        base = right if number % 10 else "I do not know."
        prompt = f"How many bridges has {CITIES[number % 5]}?"
        rows.append(
            AnsweredRow(number, f"questions.jsonl:{number + 1}", prompt, right, base, tuned)
        )
    return rows


def compared_set(
    which: Which, rows: Sequence[AnsweredRow], metrics: Sequence[str], notes: Sequence[str] = ()
) -> tuple[ComparedSet, Any]:
    found = score_set(which, rows, [METRICS[name] for name in metrics], Judge())
    first = METRICS[metrics[0]]
    is_orders = which is Which.HELD_OUT
    compared = ComparedSet(
        which=which,
        files=("orders.jsonl",) if is_orders else ("questions.jsonl",),
        rows=len(rows),
        left_out=0,
        longest_answer=40,
        judged_by=first.id,
        right_words=first.right,
        measured=found.measured,
        counts=found.counts,
        fields=found.fields,
        further_fields=found.further_fields,
        base_loss=3.214 if is_orders else 1.61,
        tuned_loss=0.113 if is_orders else 1.92,
        notes=tuple(notes),
    )
    return compared, found.rows


def compare_run(
    home: Path,
    trained: RunDirectory,
    events: Sequence[Event] = (),
    name: str = "r9-compare-r1",
    **state: Any,
) -> RunDirectory:
    """A comparison of a run, by default one that goes on."""
    known = {"task": "compare", "target": trained.id, "total_steps": None, **state}
    run = make_run(home, events, name=name, **known)
    spec = CompareSpec(run=str(trained.path.absolute()), forget_files=("/data/questions.jsonl",))
    run.spec_path.write_text(write_task_spec(spec))
    return run


def write_result(
    trained: RunDirectory,
    by: RunDirectory,
    held_out: Sequence[AnsweredRow] | None = None,
    forgetting: Sequence[AnsweredRow] | None = None,
    metrics: Sequence[str] = ("exact", "json", "fields", "rouge-l"),
    created: float = NOW - 300,
    step: int | None = None,
) -> Comparison:
    """The result of `by`, in the trained run."""
    one, rows = compared_set(
        Which.HELD_OUT, orders(240) if held_out is None else held_out, metrics, ["200 of 240 rows"]
    )
    every = {Which.HELD_OUT: rows}
    other = None
    if forgetting is None or forgetting:
        other, every[Which.FORGETTING] = compared_set(
            Which.FORGETTING,
            questions(60) if forgetting is None else forgetting,
            ("exact", "rouge-l"),
        )
    comparison = Comparison(
        folder=comparisons_of(trained) / by.short_id,
        name=by.short_id,
        run=trained.id,
        model="demo",
        created=created,
        seconds=41.0,
        device="cpu",
        dtype="float32",
        precision="float32",
        held_out=one,
        forgetting=other,
        step=step,
        spec=dataclasses.asdict(
            CompareSpec(run=str(trained.path), forget_files=("questions.jsonl",))
        ),
    )
    write_comparison(comparison, every, by)
    return comparison


def asking(done: int = 96, rows: int = 300) -> list[Event]:
    """From the start into the questions to the tuned model."""
    t = NOW - 60
    return [
        {
            "t": t,
            "kind": "started",
            "task": "compare",
            "run": "r1-demo",
            "model": "demo",
            "preset": "structured-output",
            "host": "gpubox",
            "attempt": 1,
        },
        {"t": t + 0.1, "kind": "phase", "phase": "reading", "done": 0, "total": 2000},
        {"t": t + 0.8, "kind": "phase", "phase": "reading", "done": 2000, "total": 2000},
        {"t": t + 1, "kind": "phase", "phase": "loading", "done": None, "total": None},
        {"t": t + 3, "kind": "phase", "phase": "tokenising", "done": 0, "total": 300},
        {"t": t + 4, "kind": "phase", "phase": "asking base", "done": 0, "total": rows},
        {"t": t + 31, "kind": "phase", "phase": "asking base", "done": rows, "total": rows},
        {"t": t + 31.1, "kind": "phase", "phase": "asking tuned", "done": done, "total": rows},
    ]


def result_events(comparison: Comparison) -> list[Event]:
    """How a comparison ends."""
    return [
        {"t": NOW - 3, "kind": "phase", "phase": "saving", "done": None, "total": None},
        {"t": NOW - 2.1, "kind": "compared", **compared_event(comparison)},
        {
            "t": NOW - 2,
            "kind": "finished",
            "seconds": comparison.seconds,
            "why": summary_words(comparison),
        },
    ]


def compared_home(home: Path) -> tuple[RunDirectory, RunDirectory]:
    """A trained run, and the comparison of it that finished."""
    trained = make_run(
        home, name="r1-demo", status=Status.FINISHED, step=300, eval_loss=0.113, ended=NOW - 900
    )
    over: dict[str, Any] = {
        "status": Status.FINISHED,
        "step": 600,
        "total_steps": 600,
        "ended": NOW - 2,
        "started": NOW - 60,
    }
    trained.adapter.mkdir()
    run = compare_run(home, trained, asking(300), **over)
    comparison = write_result(trained, run)
    write_run_state(run, **over, task="compare", target=trained.id, why=summary_words(comparison))
    append(run, result_events(comparison))
    return trained, run
