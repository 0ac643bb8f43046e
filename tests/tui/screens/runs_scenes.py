"""Homes full of runs, for the pictures and tests of Runs."""

import dataclasses
import math
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from textual.pilot import Pilot

from finetune_tui.core.runs.bin import delete_run
from finetune_tui.core.runs.directory import RunDirectory, list_runs
from finetune_tui.core.runs.labels import change_labels
from finetune_tui.core.runs.processes import ProcessId
from finetune_tui.core.runs.queue import ItemStatus, changing, enqueue
from finetune_tui.core.runs.state import Status
from finetune_tui.core.tuning.spec import demo_spec
from finetune_tui.core.tuning.spec_file import write_spec
from tests.tui.runs_fixture import NOW, Event, hardware, make_run, preparation, started

GONE = ProcessId(4_194_000, "1")
DAY = 86400.0

# Keys in `several`: three runs marked and their curves read off; two of them marked in the list.
CURVES = ("G", "space", "k", "space", "g", "space", "c", "right", "H")
MARKED = ("space", "j", "j", "j", "space", "j")


def steps(count: int, slope: float, floor: float = 0.1, pace: float = 0.6) -> list[Event]:
    """Steps, and an evaluation every 50."""
    noise = random.Random(slope)
    events: list[Event] = [started()]
    for step in range(1, count + 1):
        t = NOW - 115 + step * pace
        loss = floor + 2.2 * math.exp(-step / slope)
        events.append(
            {
                "t": t,
                "kind": "step",
                "step": step,
                "loss": loss + abs(noise.gauss(0, 0.04)),
                "learning_rate": 2e-4 * 0.5 * (1 + math.cos(math.pi * step / 300)),
                "grad_norm": 0.4 + 0.8 * math.exp(-step / 30) + 0.05 * abs(noise.gauss(0, 1)),
                "tokens": step * 1450,
            }
        )
        if step % 50 == 0:
            events.append({"t": t, "kind": "eval", "step": step, "eval_loss": loss + 0.04})
    return events


def spec_of(run: RunDirectory, **changes: Any) -> None:
    run.spec_path.write_text(write_spec(demo_spec().changed(**changes)))


def several(home: Path) -> None:
    """A week of work: one of each kind of run, named, noted and tagged."""
    first = make_run(
        home,
        steps(300, 60),
        name="r1-demo-structured-output",
        status=Status.FINISHED,
        step=300,
        eval_loss=0.113,
        best_eval_loss=0.113,
        best_step=300,
        created=NOW - 6 * DAY,
        started=NOW - 6 * DAY + 2,
        ended=NOW - 6 * DAY + 212,
    )
    change_labels(first, name="first try", tags=("demo",))
    second = make_run(
        home,
        steps(250, 90, 0.16),
        name="r2-phi-2-structured-output",
        model="microsoft/phi-2",
        status=Status.STOPPED,
        step=250,
        eval_loss=0.192,
        created=NOW - 5 * DAY,
        started=NOW - 5 * DAY + 2,
        ended=NOW - 5 * DAY + 152,
        why="a stop was requested",
    )
    spec_of(second, lora_r=32, lora_alpha=64, learning_rate=1e-4, packing=True)
    change_labels(
        second,
        name="rank 32",
        note="forgets the currency; try more steps",
        tags=("invoices", "rank"),
    )
    third = make_run(
        home,
        steps(120, 40, 0.3),
        name="r3-qwen3-8b-tool-use",
        model="Qwen/Qwen3-8B",
        preset="tool-use",
        status=Status.FAILED,
        step=120,
        created=NOW - 4 * DAY,
        why="the GPU's memory is full",
    )
    change_labels(third, tags=("invoices",))
    fourth = make_run(
        home,
        name="r4-qwen3-8b-tool-use",
        model="Qwen/Qwen3-8B",
        preset="tool-use",
        worker=GONE,
        heartbeat=NOW - 40,
        step=90,
        created=NOW - 3 * DAY,
    )
    change_labels(fourth, archived=True)
    make_run(
        home,
        name="r5-llama-3.1-8b-summaries",
        model="meta-llama/Llama-3.1-8B",
        preset=None,
        host="other-box",
        heartbeat=NOW - 40,
        step=1200,
        total_steps=4000,
        created=NOW - 2 * DAY,
    )
    paused = make_run(
        home,
        steps(80, 70, 0.2),
        name="r6-demo-structured-output",
        status=Status.PAUSED,
        phase="holding",
        why="held on request, memory and GPU are kept",
        step=80,
        created=NOW - 4000,
    )
    change_labels(paused, name="held for the night")
    running = make_run(
        home,
        [*preparation(), *steps(176, 75, 0.12)[1:], hardware(gpu=True)],
        name="r7-demo-structured-output",
        step=176,
        eval_loss=0.245,
    )
    spec_of(running, lora_r=16, learning_rate=5e-4)
    change_labels(running, name="rank 16", tags=("invoices", "rank", "night"))


def hostile(home: Path) -> None:
    """What is no run, or no run any more, beside one that is."""
    make_run(home, name="r1-demo", status=Status.FINISHED, step=300, eval_loss=0.113)
    broken = RunDirectory(home / "runs" / "r2")
    broken.path.mkdir()
    broken.state_path.write_text('{"status": "\x1b[31m')
    newer = RunDirectory(home / "runs" / "r3-from-tomorrow")
    newer.path.mkdir()
    newer.state_path.write_text('{"version": 99, "status": "dreaming", "model": "demo"}')
    (home / "runs" / "photos of the \x1b[31mholiday").mkdir()
    long = home / "runs" / ("r9-" + "x" * 200)
    long.mkdir()
    (home / "runs" / "loop").symlink_to("loop")


def many(home: Path, count: int = 60) -> None:
    for number in range(1, count + 1):
        status = (Status.FINISHED, Status.FAILED, Status.STOPPED)[number % 3]
        make_run(
            home,
            name=f"r{number}-demo",
            status=status,
            step=number,
            eval_loss=1 / number,
            created=NOW - (count - number) * 600,
        )


def queued(home: Path) -> None:
    """One that runs, three that wait, one that failed."""
    several(home)
    specs = (
        demo_spec().changed(name="rank 16"),
        demo_spec().changed(name="rank 32", lora_r=32, gpus=("GPU-8f1c",)),
        demo_spec().changed(name="rank 64", lora_r=64),
        demo_spec().changed(name="packed", packing=True),
        demo_spec().changed(name="half the data", train_files=("orders/half.jsonl",)),
    )
    for number, spec in enumerate(specs, start=1):
        item = enqueue(home, spec)
        with changing(home) as change:
            item = dataclasses.replace(item, added=NOW - 600 * (6 - number))
            if number == 1:
                item = dataclasses.replace(
                    item, status=ItemStatus.RUNNING, run="r7-demo-structured-output"
                )
            if number == 5:
                why = "orders/half.jsonl: no such file"
                item = dataclasses.replace(item, status=ItemStatus.FAILED, why=why)
            change.queue = change.queue.with_item(item)


def binned(home: Path) -> None:
    """Two of the runs were deleted, one a day before the other."""
    several(home)
    runs = {run.short_id: run for run in list_runs(home)}
    for name, deleted in (("r1", NOW - DAY), ("r3", NOW - 300)):
        place = delete_run(home, runs[name]).path.parent
        place.rename(place.with_name(str(int(deleted))))


async def quiet(pilot: Pilot[Any]) -> None:
    """Until nothing is under way any more: an answer may ask for the next look."""
    still = 0
    for _ in range(200):
        await pilot.pause()
        workers = [worker for worker in pilot.app.workers if not worker.is_finished]
        await pilot.app.workers.wait_for_complete(workers)
        still = 0 if workers else still + 1
        if still == 2:
            return


async def press(pilot: Pilot[Any], *keys: str) -> None:
    for key in keys:
        await pilot.press(key)
        await quiet(pilot)


async def write(pilot: Pilot[Any], text: str) -> None:
    """Type a text and enter."""
    await pilot.press(*text, "enter")
    await quiet(pilot)


SCENES: dict[str, Callable[[Path], object]] = {
    "none": lambda _home: None,
    "several": several,
    "queued": queued,
    "binned": binned,
    "hostile": hostile,
    "many": many,
}
