"""A machine that never changes, for screens that are tested as pictures."""

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from textual.pilot import Pilot

from finetune_tui.core.data.report import report_of
from finetune_tui.core.doctor import Finding
from finetune_tui.core.hardware import Gpu, Hardware
from finetune_tui.core.models.resolve import ModelReference, find_model, load_manifest
from finetune_tui.core.models.weights import Cached
from finetune_tui.core.runs.directory import RunDirectory, list_runs
from finetune_tui.core.runs.hook import HookResult
from finetune_tui.core.runs.queue import enqueue
from finetune_tui.core.settings import Settings
from finetune_tui.core.tuning.spec import Spec
from finetune_tui.tui.app import FinetuneApp
from finetune_tui.tui.services import Services

GIB = 2**30
NOW = 1_767_225_600.0  # 2026-01-01 00:00 UTC

AppPilot = Pilot[str | None]
RunBefore = Callable[[AppPilot], Awaitable[None]]


def hardware(gpu: bool = True) -> Hardware:
    """A workstation with one RTX 4090, or without it."""
    card = Gpu(
        index=0,
        uuid="GPU-8f1c",
        name="NVIDIA GeForce RTX 4090",
        total=24 * GIB,
        used=int(0.9 * GIB),
        free=int(23.1 * GIB),
        utilization=0,
        temperature=41,
        power=22.0,
        power_limit=450.0,
    )
    return Hardware(
        time=NOW,
        gpus=(card,) if gpu else (),
        gpu_error=None if gpu else "no NVIDIA driver",
        cpus=16,
        memory_total=64 * GIB,
        memory_used=31 * GIB,
        memory_available=33 * GIB,
        disk_path="/data",
        disk_total=100 * GIB,
        disk_free=41 * GIB,
    )


DISK = {
    "microsoft/phi-2": Cached("microsoft/phi-2", Path("/hub/phi-2"), None, int(5.2 * GIB)),
    "Qwen/Qwen3-8B": Cached("Qwen/Qwen3-8B", None, None, int(1.3 * GIB)),
}
FINDINGS = [
    Finding("PyTorch", True, "2.9.1, CUDA 12.8"),
    Finding("disk", True, "41.0G free"),
    Finding("Hub login", None, "none found", "hf auth login"),
]


def fixed_services(home: Path, gpu: bool = True) -> Services:
    """No clock, no GPU driver, no processes: runs are never started, folders never inspected."""

    def start_run(_spec: Spec) -> RunDirectory:
        raise AssertionError("a test of a screen starts no run")

    def manifest(reference: ModelReference):  # type: ignore[no-untyped-def]
        return load_manifest(reference, lambda _folder, _name: pytest.fail("inspects a folder"))

    return Services(
        home=home,
        clock=lambda: NOW,
        read_hardware=lambda: hardware(gpu),
        load_manifest=manifest,
        scan_models=lambda _names: dict(DISK),
        start_run=start_run,
        resume_run=lambda _run: None,
        request=lambda _run, _kind: None,
        read_data=lambda sources, progress=None: report_of(sources, progress=progress),
        count_tokens=lambda _question, _progress, _cancelled: pytest.fail("counts tokens"),
        list_runs=lambda: list_runs(home),
        examine=lambda: FINDINGS,
        rehearse=lambda _spec, _progress, _cancelled: pytest.fail("rehearses"),
        foresee=lambda _spec: (None, None),
        measured_context=lambda _gpu: None,
        simulate=lambda _question, _progress, _cancelled: pytest.fail("simulates"),
        read_settings=lambda: Settings(home / "settings.yaml"),
        change_setting=lambda _name, _value: Settings(home / "settings.yaml"),
        enqueue=lambda spec: enqueue(home, spec),
        start_queue=lambda: None,
        keep_queue_running=lambda: None,
        try_hook=lambda _command: HookResult(NOW, 0, "ran in 0.1 s", 0.1),
        notice_ends=list,
        start_task=lambda _spec: pytest.fail("starts a run"),
        enqueue_task=lambda _spec: pytest.fail("puts something in the queue"),
        chat=lambda: pytest.fail("loads a model"),
        chat_room=lambda _run, _where: pytest.fail("looks for room"),
        plan_export=lambda _spec: pytest.fail("plans an export"),
        plan_push=lambda _files, _repo, _private: pytest.fail("asks the Hub"),
    )


@pytest.fixture(autouse=True)
def _nobodys_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What lies in the cache of whoever runs the tests does not show on a screen."""
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))


@pytest.fixture
def services(tmp_path: Path) -> Services:
    return fixed_services(tmp_path / "home")


@pytest.fixture
def app(services: Services) -> FinetuneApp:
    return FinetuneApp(services)


async def settled(pilot: AppPilot) -> None:
    """Until every thread has answered and the screen shows it."""
    await pilot.pause()
    while any(not worker.is_finished for worker in pilot.app.workers):
        await pilot.app.workers.wait_for_complete()
        await pilot.pause()


async def press(pilot: AppPilot, *keys: str) -> None:
    await settled(pilot)
    for key in keys:
        await pilot.press(key)
        await settled(pilot)


async def open_model(pilot: AppPilot, name: str) -> None:
    """As if it had been chosen in the Model place."""
    await settled(pilot)
    assert isinstance(pilot.app, FinetuneApp)
    pilot.app.opening.model(find_model(name))
    await settled(pilot)


def opened(name: str, *keys: str) -> RunBefore:
    """For `snap_compare`: a model open in Layers, and these keys pressed."""

    async def before(pilot: AppPilot) -> None:
        await open_model(pilot, name)
        await press(pilot, *keys)

    return before


def pressed(*keys: str) -> RunBefore:
    """For `snap_compare`: these keys pressed from the start."""

    async def before(pilot: AppPilot) -> None:
        await press(pilot, *keys)

    return before
