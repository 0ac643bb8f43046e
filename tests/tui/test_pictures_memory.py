"""Pictures of what is said of memory: the panel in its states, the cards, what fits, the simulation."""

import dataclasses
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from finetune_tui.core.hardware import GpuProcess, Hardware
from finetune_tui.core.memory.simulated import Simulation
from finetune_tui.tui.app import FinetuneApp
from finetune_tui.tui.themes import LIGHT
from tests.tui.conftest import AppPilot, fixed_services, hardware, open_model, press, settled
from tests.tui.memory_fixture import GIB, SIMULATION

SMALL, LARGE, HUGE = (80, 24), (120, 36), (200, 50)

Compare = Callable[..., bool]


def shared() -> Hardware:
    """The GPU with half of it in other hands."""
    machine = hardware()
    held = (GpuProcess(4242, 11 * GIB),)
    gpu = dataclasses.replace(machine.gpus[0], used=12 * GIB, free=12 * GIB, processes=held)
    return dataclasses.replace(machine, gpus=(gpu,))


def picture(
    compare: Compare,
    home: Path,
    size: tuple[int, int],
    *keys: str,
    model: str = "phi-2",
    gpu: bool = True,
    theme: str | None = None,
    **services: Any,
) -> bool:
    """With structured-output chosen, and these keys pressed in Layers."""
    app = FinetuneApp(dataclasses.replace(fixed_services(home, gpu=gpu), **services))
    app.theme = theme or app.theme

    async def before(pilot: AppPilot) -> None:
        await open_model(pilot, model)
        app.session.choose_preset("structured-output")
        app.session_changed()
        await press(pilot, *keys)

    return compare(app, terminal_size=size, run_before=before)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


STATES: dict[str, tuple[tuple[int, int], tuple[str, ...], dict[str, Any]]] = {
    "no-gpu": (SMALL, (), {"gpu": False}),
    "which-card": (SMALL, ("C",), {"gpu": False}),
    "card": (SMALL, ("C", "4"), {"gpu": False}),
    "card-large": (LARGE, ("C", "4"), {"gpu": False}),
    "shared": (SMALL, (), {"read_hardware": shared}),
    "shared-large": (LARGE, (), {"read_hardware": shared}),
    "parts": (SMALL, ("i",), {}),
    "parts-large": (LARGE, ("i",), {}),
    "simulated": (SMALL, ("M",), {"simulate": lambda *_: SIMULATION}),
    "simulated-large": (LARGE, ("M",), {"simulate": lambda *_: SIMULATION}),
    "simulated-huge": (HUGE, ("M",), {"simulate": lambda *_: SIMULATION}),
    "simulated-in-train": (SMALL, ("4", "M"), {"simulate": lambda *_: SIMULATION}),
    "simulated-in-train-large": (LARGE, ("4", "M"), {"simulate": lambda *_: SIMULATION}),
    "fitting": (SMALL, ("F", "j"), {}),
    "fitting-in-daylight": (LARGE, ("F", "j"), {"theme": LIGHT.name}),
    "nothing-fits": (SMALL, ("C", "1", "F"), {"model": "qwen3-30b-a3b", "gpu": False}),
    "one-column": ((45, 20), ("F",), {}),
}


@pytest.mark.parametrize(
    "state",
    [
        pytest.param(name, marks=[] if size == SMALL else [pytest.mark.soak])
        for name, (size, _, _) in STATES.items()
    ],
)
def test_memory(snap_compare: Compare, home: Path, state: str) -> None:
    size, keys, more = STATES[state]
    assert picture(snap_compare, home, size, *keys, **more)


def test_a_simulation_under_way(snap_compare: Compare, home: Path) -> None:
    has_begun, may_end = threading.Event(), threading.Event()

    def simulate(_question: object, progress: Callable[[str], None], *_: object) -> Simulation:
        progress("step 1 of 2, block 12 of 32")
        has_begun.set()
        may_end.wait(20)
        return SIMULATION

    app = FinetuneApp(dataclasses.replace(fixed_services(home), simulate=simulate))

    async def before(pilot: AppPilot) -> None:
        await open_model(pilot, "phi-2")
        app.session.choose_preset("structured-output")
        await settled(pilot)
        await pilot.press("M")
        while not has_begun.is_set():
            await pilot.pause(0.01)
        await pilot.pause()

    try:
        assert snap_compare(app, terminal_size=SMALL, run_before=before)
    finally:
        may_end.set()
