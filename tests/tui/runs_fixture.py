"""Runs on disk as a worker would have left them, with fixed times and numbers."""

import dataclasses
import json
import math
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from textual.pilot import Pilot

from finetune_tui.core.data.report import report_of
from finetune_tui.core.hardware import Hardware
from finetune_tui.core.models.manifest import Manifest
from finetune_tui.core.models.resolve import ModelReference, find_model
from finetune_tui.core.runs.directory import RunDirectory, list_runs
from finetune_tui.core.runs.hook import HookResult
from finetune_tui.core.runs.processes import boot_id, host_name, pid_namespace, this_process
from finetune_tui.core.runs.queue import enqueue
from finetune_tui.core.runs.rehearsal import Rehearsal
from finetune_tui.core.runs.state import State, Status, write_state
from finetune_tui.core.settings import Settings
from finetune_tui.core.tuning.spec import demo_spec
from finetune_tui.core.tuning.spec_file import write_spec
from finetune_tui.tui.app import FinetuneApp
from finetune_tui.tui.services import Services
from finetune_tui.tui.session import Session
from tests.tui.tokens_fixture import count_words

NOW = 1_767_225_600.0  # 2026-01-01 00:00 UTC
STEPS = 300

Event = dict[str, Any]


def make_run(
    home: Path,
    events: Sequence[Event] = (),
    name: str = "r7-demo-structured-output",
    log: str = "",
    **state: Any,
) -> RunDirectory:
    """A run directory with these events; by default alive, because this very process is its worker."""
    run = RunDirectory(home / "runs" / name)
    for folder in (run.requests, run.checkpoints):
        folder.mkdir(parents=True)
    run.spec_path.write_text(write_spec(demo_spec()))
    run.log_path.write_text(log)
    write_run_state(run, **state)
    append(run, events)
    return run


def write_run_state(run: RunDirectory, **state: Any) -> None:
    values: dict[str, Any] = {
        "status": Status.RUNNING,
        "model": "demo",
        "preset": "structured-output",
        "created": NOW - 130,
        "started": NOW - 128,
        "host": host_name(),
        "boot_id": boot_id(),
        "pid_namespace": pid_namespace(),
        "worker": this_process(),
        "heartbeat": NOW,
        "attempt": 1,
        "total_steps": STEPS,
        **state,
    }
    write_state(run.state_path, State(**values))


def append(run: RunDirectory, events: Sequence[Event]) -> None:
    with run.events_path.open("a") as file:
        file.writelines(json.dumps(event) + "\n" for event in events)


def started(t: float = NOW - 128, attempt: int = 1) -> Event:
    return {
        "t": t,
        "kind": "started",
        "model": "demo",
        "preset": "structured-output",
        "host": "gpubox",
        "attempt": attempt,
        "device": "cpu",
        "dtype": "float32",
        "trainable_parameters": 118_784,
        "parameters": 1_018_112,
        "total_steps": STEPS,
    }


def phase(t: float, name: str, done: int | None = None, total: int | None = None) -> Event:
    return {"t": t, "kind": "phase", "phase": name, "done": done, "total": total}


def preparation(upto: int = 99) -> list[Event]:
    """From the start to the phase of training."""
    events = [
        started(),
        phase(NOW - 127.8, "loading"),
        phase(NOW - 127.2, "tokenising", 0, 2000),
        phase(NOW - 126.2, "tokenising", 1240, 2000),
        phase(NOW - 125.8, "loading"),
        phase(NOW - 125.1, "measuring", 0, 240),
        phase(NOW - 121.0, "measuring", 112, 240),
        *samples(0, NOW - 116.2),
        {"t": NOW - 116.1, "kind": "measured", "when": "before", "exact": 3, "total": 240},
        phase(NOW - 116.0, "applying"),
        phase(NOW - 115.6, "training"),
    ]
    return events[:upto]


def loss_at(step: int, noise: float = 0.0) -> float:
    return 0.08 + 2.3 * math.exp(-step / 45) + noise * (0.02 + 0.25 * math.exp(-step / 60))


def training(first: int = 1, last: int = 176, pace: float = 0.6) -> list[Event]:
    """Steps with evaluations every 50 and checkpoints every 100."""
    noise = random.Random(1)
    events: list[Event] = []
    for step in range(1, last + 1):
        t = NOW - 115 + step * pace
        sample = noise.gauss(0, 1)
        if step < first:
            continue
        events.append(
            {
                "t": t,
                "kind": "step",
                "step": step,
                "total_steps": STEPS,
                "loss": loss_at(step, sample),
                "learning_rate": 5e-3 * 0.5 * (1 + math.cos(math.pi * step / STEPS)),
                "grad_norm": 0.4 + 0.8 * math.exp(-step / 30) + 0.05 * abs(sample),
                "tokens": step * 1450,
                "tokens_per_second": 2400 + 120 * sample,
                "epoch": step * 16 / 2000,
            }
        )
        if step % 50 == 0:
            loss = loss_at(step) + 0.03
            events.append({"t": t, "kind": "eval", "step": step, "eval_loss": loss, "best": True})
        if step % 100 == 0:
            saved = {"step": step, "path": f"step-{step:06}", "bytes": 1_430_000, "seconds": 0.1}
            events.append({"t": t, "kind": "checkpoint", **saved})
    return events


def hardware(t: float = NOW - 5, gpu: bool = False) -> Event:
    gpus = [
        {
            "index": 0,
            "name": "RTX4090",
            "total": 24 * 2**30,
            "used": int(9.1 * 2**30),
            "own": int(8.9 * 2**30),
            "utilization": 98,
            "temperature": 71,
            "power": 412.0,
        }
    ]
    return {
        "t": t,
        "kind": "hardware",
        "gpus": gpus if gpu else [],
        "memory_used": 31 * 2**30,
        "memory_total": 64 * 2**30,
        "cpu_percent": 96.0,
        "disk_free": 38 * 2**30,
    }


def memory(t: float = NOW - 60, when: str = "first steps", gpu: bool = False) -> Event:
    """What a run took beside what was predicted."""
    on_gpu = {
        "peak_allocated": int(8.1 * 2**30),
        "peak_reserved": int(8.7 * 2**30),
        "peak_device": int(9.1 * 2**30),
        "predicted_allocated": int(8.0 * 2**30),
        "predicted_reserved": int(8.4 * 2**30),
        "predicted_device": int(8.9 * 2**30),
        "predicted_band": int(0.4 * 2**30),
    }
    on_cpu = {
        **dict.fromkeys(on_gpu),
        "peak_device": 488 * 2**20,
        "predicted_device": 443 * 2**20,
        "predicted_band": 67 * 2**20,
    }
    batch = {"step": 2, "rows": 16, "tokens": 71, "context": None, "peak_memory": 488 * 2**20}
    return {"t": t, "kind": "memory", "when": when, **batch, **(on_gpu if gpu else on_cpu)}


def samples(step: int, t: float) -> list[Event]:
    wanted = '{"sku": "shelf", "qty": 74, "to": "Athens"}'
    wrong = '{"sku": "shelf", "qty": 74, "to": "Ghent"}'
    asked = "Order: An order from Athens: shelves in black, {} of them.\nJSON:"
    return [
        {
            "t": t,
            "kind": "sample",
            "step": step,
            "when": "after" if step == STEPS else "eval" if step else "before",
            "prompt": asked.format(74 + number),
            "expected": wanted,
            "reply": wanted if step and number else wrong,
            "correct": bool(step and number),
        }
        for number in range(3)
    ]


def ending(t: float = NOW - 2) -> list[Event]:
    """From the last step to a finished run."""
    return [
        phase(t - 12, "saving"),
        phase(t - 11, "measuring", 0, 240),
        *samples(STEPS, t - 1.2),
        {"t": t - 1, "kind": "measured", "when": "after", "exact": 236, "total": 240},
        memory(t - 0.1, "end"),
        {
            "t": t,
            "kind": "finished",
            "steps": STEPS,
            "train_loss": 0.08,
            "eval_loss": 0.113,
            "adapter": "adapter",
            "trained": None,
            "seconds": 210.0,
        },
    ]


REHEARSAL = Rehearsal(
    seconds_per_step=0.55,
    spread=0.1,
    steps_per_epoch=125.0,
    load_seconds=12.0,
    eval_seconds=1.9,
    save_seconds=0.2,
    peak_allocated=int(8.7 * 2**30),
    peak_reserved=int(9.1 * 2**30),
    peak_memory=3 * 2**30,
    checkpoint_bytes=104 * 2**20,
    result_bytes=33 * 2**20,
    longest_tokens=256,
    sample={
        "prompt": "Order: three shelves for Athens.",
        "expected": '{"sku": "shelf", "qty": 3}',
        "reply": "Order: Order: Order:",
        "correct": False,
    },
    warnings=(),
    peak_device=int(9.6 * 2**30),
    predicted_reserved=int(9.0 * 2**30),
    predicted_device=int(9.5 * 2**30),
    predicted_band=int(0.4 * 2**30),
)

HARDWARE = Hardware(
    time=NOW,
    gpu_error="no NVIDIA driver here",
    cpus=16,
    cpu_percent=12.0,
    memory_total=64 * 2**30,
    memory_used=20 * 2**30,
    memory_available=44 * 2**30,
    disk_total=400 * 2**30,
    disk_free=41 * 2**30,
)


def fixed_services(home: Path, **changed: Any) -> Services:
    """A machine without a GPU at a fixed time; what starts something fails unless it is replaced."""

    def refuse(*_: Any) -> Any:
        raise AssertionError("this test starts nothing")

    services = Services(
        home=home,
        clock=lambda: NOW,
        read_hardware=lambda: HARDWARE,
        scan_models=lambda _names: {},
        load_manifest=lambda reference: _manifest(reference),
        start_run=refuse,
        resume_run=refuse,
        request=refuse,
        read_data=lambda sources, progress=None: report_of(sources, progress=progress),
        count_tokens=count_words,
        list_runs=lambda: list_runs(home),
        examine=list,
        rehearse=refuse,
        foresee=lambda _spec: (None, None),
        measured_context=lambda _gpu: None,
        simulate=refuse,
        read_settings=lambda: Settings(home / "settings.yaml"),
        change_setting=lambda _name, _value: Settings(home / "settings.yaml"),
        enqueue=lambda spec: enqueue(home, spec),
        start_queue=lambda: None,
        keep_queue_running=lambda: None,
        try_hook=lambda _command: HookResult(NOW, 0, "ran in 0.1 s", 0.1),
        notice_ends=list,
        start_task=refuse,
        enqueue_task=refuse,
        chat=refuse,
        chat_room=refuse,
        plan_export=refuse,
        plan_push=refuse,
    )
    return dataclasses.replace(services, **changed)


def demo_session() -> Session:
    session = Session()
    reference = find_model("demo")
    session.open_model(reference, _manifest(reference), demo_spec())
    session.hardware = HARDWARE
    return session


def _manifest(reference: ModelReference) -> Manifest:
    assert reference.entry is not None
    return reference.entry.manifest()


async def settle(pilot: Pilot[Any]) -> None:
    """Until every thread has answered and the screen has been drawn."""
    app = pilot.app
    assert isinstance(app, FinetuneApp)
    for turn in range(50):
        await pilot.pause()
        await app.workers.wait_for_complete()
        if turn >= 2 and app.returning is not None:  # what follows the first paint has come
            break
    await pilot.pause()


async def show(pilot: Pilot[Any], place: str) -> None:
    await settle(pilot)
    app = pilot.app
    assert isinstance(app, FinetuneApp)
    await app.action_show_place(place)
    await settle(pilot)
