"""Data, Train and Runs as pictures, at the sizes that matter."""

import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from finetune_tui.core.data.report import report_of
from finetune_tui.core.runs.processes import ProcessId
from finetune_tui.core.runs.state import Status
from finetune_tui.tui.app import FinetuneApp
from finetune_tui.tui.session import Session
from tests.tui.runs_fixture import (
    NOW,
    Event,
    demo_session,
    ending,
    fixed_services,
    hardware,
    make_run,
    preparation,
    settle,
    show,
    training,
)

SIZES = [(80, 24), (120, 36)]
MONITOR_SIZES = [*SIZES, (45, 20)]


def size_name(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"


GONE = ProcessId(4_194_000, "1")

Snap = Callable[..., bool]
Prepare = Callable[[Pilot[Any]], Awaitable[None]]


def picture(
    snap: Snap, home: Path, session: Session, place: str, size: tuple[int, int], *keys: str
) -> bool:
    async def prepare(pilot: Pilot[Any]) -> None:
        await show(pilot, place)
        for key in keys:
            await pilot.press(key)
            await settle(pilot)

    app = FinetuneApp(fixed_services(home), session)
    return snap(app, terminal_size=size, run_before=prepare)


def failed() -> list[Event]:
    hint = "lower per_device_train_batch_size or max_length, or set gradient_checkpointing"
    message = "the GPU's memory is full"
    return [{"t": NOW - 3, "kind": "failed", "message": message, "hint": hint, "where": None}]


MONITORED: dict[str, tuple[list[Event], dict[str, Any]]] = {
    "queued": ([], {"status": Status.STARTING, "started": None}),
    "preparing": (preparation(7), {"status": Status.PREPARING}),
    "running": ([*preparation(), *training(), hardware(gpu=True)], {"step": 176}),
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


def test_stopping_asks(snap_compare: Snap, home: Path) -> None:
    events, state = MONITORED["running"]
    session = demo_session()
    session.monitored = make_run(home, events, **state)
    assert picture(snap_compare, home, session, "train", (80, 24), "S")


@pytest.mark.parametrize("size", SIZES, ids=size_name)
def test_samples(snap_compare: Snap, home: Path, size: tuple[int, int]) -> None:
    events, state = MONITORED["finished"]
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


def test_a_value_that_is_refused(snap_compare: Snap, home: Path) -> None:
    session = with_data(demo_session())
    keys = ("j", "enter", "x", "2", "enter")
    assert picture(snap_compare, home, session, "train", (80, 24), *keys)


def test_nothing_to_start(snap_compare: Snap, home: Path) -> None:
    assert picture(snap_compare, home, Session(), "train", (80, 24))


@pytest.mark.parametrize("size", SIZES, ids=size_name)
def test_data(snap_compare: Snap, home: Path, size: tuple[int, int]) -> None:
    assert picture(snap_compare, home, with_data(demo_session()), "data", size)


def test_no_data(snap_compare: Snap, home: Path) -> None:
    assert picture(snap_compare, home, Session(), "data", (80, 24))


@pytest.mark.parametrize("size", MONITOR_SIZES, ids=size_name)
def test_runs(snap_compare: Snap, home: Path, size: tuple[int, int]) -> None:
    for number, (events, state) in enumerate(MONITORED.values(), start=1):
        make_run(home, events, name=f"r{number}-demo-structured-output", **state)
    make_run(
        home,
        name="r8-phi-2",
        model="microsoft/phi-2",
        preset=None,
        host="other-box",
        heartbeat=NOW - 40,
        created=NOW - 3 * 86400,
    )
    assert picture(snap_compare, home, demo_session(), "runs", size, "j")


def test_no_runs(snap_compare: Snap, home: Path) -> None:
    assert picture(snap_compare, home, demo_session(), "runs", (80, 24))
