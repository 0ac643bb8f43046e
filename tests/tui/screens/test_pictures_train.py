"""Train as pictures, at the sizes that matter."""

import dataclasses
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from finetune_tui.core.data.report import report_of
from finetune_tui.core.hardware import Gpu, GpuProcess
from finetune_tui.core.runs.pace import Prediction
from finetune_tui.core.runs.processes import ProcessId
from finetune_tui.core.runs.rehearsal import Rehearsal
from finetune_tui.core.runs.state import Status
from finetune_tui.core.tuning.spec import Spec, demo_spec
from finetune_tui.core.tuning.spec_file import write_spec
from finetune_tui.tui.app import FinetuneApp
from finetune_tui.tui.session import Session
from finetune_tui.tui.themes import DARK, LIGHT
from tests.tui.runs_fixture import (
    HARDWARE,
    NOW,
    REHEARSAL,
    Event,
    demo_session,
    ending,
    fixed_services,
    hardware,
    make_run,
    memory,
    preparation,
    samples,
    settle,
    show,
    training,
)

SIZES = [(80, 24), pytest.param((120, 36), marks=pytest.mark.soak)]
MONITOR_SIZES = [*SIZES, pytest.param((45, 20), marks=pytest.mark.soak)]


def size_name(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"


GONE = ProcessId(4_194_000, "1")

Snap = Callable[..., bool]
Prepare = Callable[[Pilot[Any]], Awaitable[None]]


def picture(
    snap: Snap,
    home: Path,
    session: Session,
    place: str,
    size: tuple[int, int],
    *keys: str,
    theme: str = DARK.name,
    **services: Any,
) -> bool:
    async def prepare(pilot: Pilot[Any]) -> None:
        await show(pilot, place)
        for key in keys:
            await pilot.press(key)
            await settle(pilot)

    app = FinetuneApp(fixed_services(home, **services), session)
    app.theme = theme
    return snap(app, terminal_size=size, run_before=prepare)


def looks() -> list[Event]:
    """What the model says at two evaluations."""
    return [
        {**sample, "when": "eval", "correct": sample["correct"] and (step > 50 or number == 2)}
        for step in (50, 150)
        for number, sample in enumerate(samples(step, NOW - 115 + step * 0.6))
    ]


def recovered() -> Event:
    what = {"what": "out of memory", "step": 90, "micro_batch_from": 16, "micro_batch_to": 8}
    return {"t": NOW - 61, "kind": "recovered", **what}


def paused(
    how: str, why: str, phase: str | None, **state: Any
) -> tuple[list[Event], dict[str, Any]]:
    event = {"t": NOW - 4, "kind": "paused", "step": 176, "how": how, "why": why}
    events = [*preparation(), *training(), hardware(gpu=True), event]
    return events, {"status": Status.PAUSED, "phase": phase, "why": why, "step": 176, **state}


def failed() -> list[Event]:
    hint = "lower per_device_train_batch_size or max_length, or set gradient_checkpointing"
    message = "the GPU's memory is full"
    return [{"t": NOW - 3, "kind": "failed", "message": message, "hint": hint, "where": None}]


MONITORED: dict[str, tuple[list[Event], dict[str, Any]]] = {
    "queued": ([], {"status": Status.STARTING, "started": None}),
    "preparing": (preparation(7), {"status": Status.PREPARING}),
    "running": (
        [
            *preparation(),
            *training(1, 90),
            recovered(),
            *training(91, 176),
            memory(gpu=True),
            *looks(),
            hardware(gpu=True),
        ],
        {"step": 176},
    ),
    "holding": paused("hold", "held on request, memory and GPU are kept", "holding"),
    "disk-full": paused(
        "disk full",
        "the disk is full: a checkpoint of step 176 needs 1.4M, 12.0K is free",
        "disk full",
    ),
    "released": paused(
        "release", "released at step 176: the checkpoint is written", None, ended=NOW - 3
    ),
    "finished": (
        [*preparation(), *training(1, 300, 0.3), hardware(), *ending()],
        {"status": Status.FINISHED, "ended": NOW - 2, "adapter_bytes": 480_000},
    ),
    "stopped": (
        [*preparation(), *training()],
        {"status": Status.STOPPED, "ended": NOW - 3, "why": "a stop was requested"},
    ),
    "failed": (
        [*preparation(), *training(1, 40), *failed()],
        {"status": Status.FAILED, "ended": NOW - 3, "why": "the GPU's memory is full"},
    ),
    "dead": ([*preparation(), *training(1, 140)], {"worker": GONE, "heartbeat": NOW - 40}),
}


@pytest.mark.parametrize("size", MONITOR_SIZES, ids=size_name)
@pytest.mark.parametrize("name", MONITORED)
def test_monitor(snap_compare: Snap, home: Path, name: str, size: tuple[int, int]) -> None:
    events, state = MONITORED[name]
    session = demo_session()
    session.monitored = make_run(home, events, **state)
    assert picture(snap_compare, home, session, "train", size)


@pytest.mark.soak
def test_a_large_monitor_in_daylight(snap_compare: Snap, home: Path) -> None:
    events, state = MONITORED["running"]
    session = demo_session()
    session.monitored = make_run(home, events, **state)
    assert picture(snap_compare, home, session, "train", (200, 50), theme=LIGHT.name)


def test_pausing_asks(snap_compare: Snap, home: Path) -> None:
    events, state = MONITORED["running"]
    session = demo_session()
    session.monitored = make_run(home, events, **state)
    assert picture(snap_compare, home, session, "train", (80, 24), "p", "j")


@pytest.mark.parametrize("size", SIZES, ids=size_name)
def test_difference(snap_compare: Snap, home: Path, size: tuple[int, int]) -> None:
    events, state = MONITORED["running"]
    earlier = make_run(home, name="r6-demo", status=Status.FINISHED)
    earlier.spec_path.write_text(write_spec(demo_spec().changed(lora_r=8, learning_rate=1e-3)))
    session = demo_session()
    session.monitored = make_run(home, events, **state)
    assert picture(snap_compare, home, session, "train", size, "D")


def test_stopping_asks(snap_compare: Snap, home: Path) -> None:
    events, state = MONITORED["running"]
    session = demo_session()
    session.monitored = make_run(home, events, **state)
    assert picture(snap_compare, home, session, "train", (80, 24), "S")


@pytest.mark.parametrize("size", SIZES, ids=size_name)
def test_samples(snap_compare: Snap, home: Path, size: tuple[int, int]) -> None:
    events, state = MONITORED["running"]
    session = demo_session()
    session.monitored = make_run(home, events, **state)
    assert picture(snap_compare, home, session, "train", size, "right_square_bracket")


def with_data(session: Session) -> Session:
    rows = [
        json.dumps(
            {"prompt": f"Order: {number} baskets for Bergen.\nJSON:", "completion": f" {number}"}
        )
        for number in range(1, 41)
    ]
    rows[6] = '{"prompt": '
    rows[30] = rows[29]
    Path("orders.jsonl").write_text("\n".join(rows) + "\n")
    session.use_data(report_of([Path("orders.jsonl")]))
    return session


@pytest.mark.parametrize("size", SIZES, ids=size_name)
def test_settings(snap_compare: Snap, home: Path, size: tuple[int, int]) -> None:
    session = with_data(demo_session())
    assert picture(snap_compare, home, session, "train", size, "j", "j")


def foreseen(_spec: Spec) -> tuple[Rehearsal, Prediction]:
    on_cpu = dataclasses.replace(
        REHEARSAL,
        peak_allocated=None,
        peak_reserved=None,
        peak_device=REHEARSAL.peak_memory,
        predicted_reserved=None,
        predicted_device=int(2.8 * 2**30),
    )
    return on_cpu, Prediction(17_400.0, 3_600.0, "from the rehearsal")


@pytest.mark.parametrize("size", MONITOR_SIZES, ids=size_name)
def test_rehearsed(snap_compare: Snap, home: Path, size: tuple[int, int]) -> None:
    session = with_data(demo_session())
    assert picture(snap_compare, home, session, "train", size, foresee=foreseen)


def test_rehearsed_with_a_problem(snap_compare: Snap, home: Path) -> None:
    tight = dataclasses.replace(HARDWARE, disk_free=200 * 2**20)
    session = with_data(demo_session())
    changed: dict[str, Any] = {"foresee": foreseen, "read_hardware": lambda: tight}
    assert picture(snap_compare, home, session, "train", (80, 24), **changed)


def test_the_choice_of_a_gpu(snap_compare: Snap, home: Path) -> None:
    cards = tuple(
        Gpu(
            index,
            uuid=f"GPU-{index}",
            name="NVIDIA GeForce RTX 4090",
            total=24 * 2**30,
            used=used * 2**30,
            free=(24 - used) * 2**30,
            utilization=90 * (used > 1),
            processes=(GpuProcess(9, used * 2**30),) if used > 1 else None,
        )
        for index, used in enumerate((1, 21))
    )
    hardware_now = dataclasses.replace(HARDWARE, gpus=cards, gpu_error=None)
    session = with_data(demo_session())
    changed: dict[str, Any] = {"read_hardware": lambda: hardware_now}
    assert picture(snap_compare, home, session, "train", (80, 24), "d", "j", **changed)


def test_a_value_that_is_refused(snap_compare: Snap, home: Path) -> None:
    session = with_data(demo_session())
    keys = ("j", "enter", "x", "2", "enter")
    assert picture(snap_compare, home, session, "train", (80, 24), *keys)


def test_nothing_to_start(snap_compare: Snap, home: Path) -> None:
    assert picture(snap_compare, home, Session(), "train", (80, 24))
