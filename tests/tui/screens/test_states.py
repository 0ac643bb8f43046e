"""Every place in every state at every size, as text: what stands where. How it looks is in the pictures.

They lie in __snapshots__/test_states.ambr; after a change on purpose: pytest -m "" --snapshot-update.
"""

import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from syrupy.assertion import SnapshotAssertion
from textual.pilot import Pilot

from finetune_tui.core import demo
from finetune_tui.core.runs.listing import Listing
from finetune_tui.core.tuning.spec import Spec, demo_spec
from finetune_tui.tui.app import FinetuneApp
from finetune_tui.tui.places import PLACES
from finetune_tui.tui.session import Session
from tests.tui.runs_fixture import NOW, demo_session, fixed_services, make_run, show
from tests.tui.screens.runs_scenes import several
from tests.tui.screens.test_pictures_train import MONITORED, size_name

SIZES = ((45, 20), (80, 24), (120, 36), (200, 50))
STATES = ("empty", "loading", "running", "paused", "failed", "finished", "disconnected")
_MONITORED = {
    "running": "running",
    "paused": "holding",
    "failed": "failed",
    "finished": "finished",
    "disconnected": "running",
}
_ALWAYS = {("running", (45, 20))}
_LOOKED = ("list_runs", "read_hardware", "scan_models", "read_data", "load_manifest", "examine")


@pytest.fixture
def never(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Any]]:
    """Stands for whatever takes longer than anybody looks."""
    over = threading.Event()

    def wait(*_: Any, **__: Any) -> Any:
        over.wait(60)
        raise SystemExit

    yield wait
    over.set()


def _with_data_here(spec: Spec) -> Spec:
    """The demo's data below the folder of the test: where the checkout lies is nobody's picture."""
    for file in (demo.TRAIN_FILE, demo.HELDOUT_FILE):
        shutil.copy(file, file.name)
    return spec.changed(train_files=[demo.TRAIN_FILE.name], eval_files=[demo.HELDOUT_FILE.name])


def _loading(home: Path, never: Callable[..., Any], patch: pytest.MonkeyPatch) -> FinetuneApp:
    """Nothing has been answered yet: not the machine, not the disk, not the run that was just started."""
    session = Session()
    session.spec = _with_data_here(demo_spec())
    session.monitored = make_run(home, *MONITORED["preparing"][:1], **MONITORED["preparing"][1])
    patch.setattr(Listing, "poll", never)
    return FinetuneApp(fixed_services(home, **dict.fromkeys(_LOOKED, never)), session)


def _with_runs(home: Path, state: str) -> FinetuneApp:
    several(home)
    events, values = MONITORED[_MONITORED[state]]
    if state == "disconnected":
        values = {**values, "host": "otherbox", "heartbeat": NOW - 40}
    session = demo_session()
    session.spec = _with_data_here(session.spec)
    session.monitored = make_run(home, events, "r8-demo-structured-output", **values)
    return FinetuneApp(fixed_services(home), session)


async def _look(pilot: Pilot[Any], place: str, state: str) -> None:
    if state != "loading":
        await show(pilot, place)
        return
    app = pilot.app
    assert isinstance(app, FinetuneApp)
    await pilot.pause()
    await app.action_show_place(place)
    for _ in range(10):
        await pilot.pause()


def _screen(app: FinetuneApp) -> str:
    strips = app.screen._compositor.render_strips()
    return "\n".join(strip.text.rstrip() for strip in strips)


@pytest.mark.parametrize(
    ("place", "state", "size"),
    [
        pytest.param(
            place,
            state,
            size,
            id=f"{place}-{state}-{size_name(size)}",
            marks=[] if (state, size) in _ALWAYS else [pytest.mark.soak],
        )
        for place in PLACES
        for state in STATES
        for size in SIZES
    ],
)
async def test_a_place(
    snapshot: SnapshotAssertion,
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    never: Callable[..., Any],
    place: str,
    state: str,
    size: tuple[int, int],
) -> None:
    if state == "empty":
        app = FinetuneApp(fixed_services(home))
    elif state == "loading":
        app = _loading(home, never, monkeypatch)
    else:
        app = _with_runs(home, state)
    async with app.run_test(size=size) as pilot:
        await _look(pilot, place, state)
        shown = _screen(app)
    assert len(shown.splitlines()) <= size[1]
    assert shown == snapshot
