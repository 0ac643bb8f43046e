"""Write screenshots/*.svg from the tests' fixed data: no clock, no GPU, no run of this machine in them.

.venv/bin/python scripts/make_screenshots.py
"""

import asyncio
import contextlib
import os
import socket
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))
os.environ["TZ"] = "UTC"
time.tzset()
socket.gethostname = lambda: "gpubox"

from finetune_tui.core import demo  # noqa: E402 - the time zone comes first
from finetune_tui.core.data.report import report_of  # noqa: E402
from finetune_tui.core.runs.state import Status  # noqa: E402
from finetune_tui.tui.app import FinetuneApp  # noqa: E402
from finetune_tui.tui.session import Session  # noqa: E402
from finetune_tui.tui.themes import ANSI, DARK, LIGHT  # noqa: E402
from tests.tui.chat_fixture import ENOUGH, EXACT, FakeChat, finished_run  # noqa: E402
from tests.tui.comparison_fixture import compared_home  # noqa: E402
from tests.tui.conftest import AppPilot, open_model, press  # noqa: E402
from tests.tui.conftest import fixed_services as machine  # noqa: E402
from tests.tui.export_fixture import Sheet  # noqa: E402
from tests.tui.runs_fixture import (  # noqa: E402
    NOW,
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
from tests.tui.screens.runs_scenes import CURVES, MARKED, queued, quiet  # noqa: E402
from tests.tui.screens.runs_scenes import press as press_in_runs  # noqa: E402

FOLDER = ROOT / "screenshots"
SIZES = {"45x20": (45, 20), "80x24": (80, 24), "120x36": (120, 36), "200x50": (200, 50)}
THEMES = {"": DARK, "-light": LIGHT, "-ansi": ANSI}  # what follows the size in a name

Before = Callable[[AppPilot], Awaitable[None]]


@contextlib.contextmanager
def nobodys_home() -> Iterator[str]:
    """An empty home under a relative path: no picture names a folder of this machine."""
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        os.environ["HF_HOME"] = folder
        yield "home"


async def picture(name: str, app: FinetuneApp, size: str, before: Before, theme: str = "") -> None:
    """One SVG of the app after `before`. size, theme: names of SIZES and THEMES."""
    app.theme = THEMES[theme].name
    async with app.run_test(size=SIZES[size]) as pilot:
        await before(pilot)
        file = FOLDER / f"{name}-{size}{theme}.svg"
        file.write_text(app.export_screenshot(title="finetune-tui"))
    print(f"screenshots/{file.name}")


async def model_and_layers(size: str, theme: str) -> None:
    async def start(pilot: AppPilot) -> None:
        await press(pilot)

    async def layers(pilot: AppPilot) -> None:
        await open_model(pilot, "phi-2")
        assert isinstance(pilot.app, FinetuneApp)
        pilot.app.session.choose_preset("structured-output")
        pilot.app.session_changed()
        await press(pilot, "j", "j", "j", "space", "j", "j", "j", "j")

    async def fitting(pilot: AppPilot) -> None:
        await layers(pilot)
        await press(pilot, "F", "j")

    views = {"model": start, "layers": layers} | ({} if theme else {"fitting": fitting})
    for name, before in views.items():
        with nobodys_home() as home:
            await picture(name, FinetuneApp(machine(Path(home))), size, before, theme)


async def data_and_train(size: str, theme: str) -> None:
    """A run under way; in dark a finished one too."""
    training_now = [*preparation(), *training(), hardware(gpu=True)]
    with nobodys_home() as home:
        session = demo_session()
        session.monitored = make_run(Path(home), training_now, step=176)
        await picture("train", *_at(home, session, size, "train"), theme)
    with nobodys_home() as home:
        await picture("data", *_at(home, _with_orders(), size, "data"), theme)
    if theme:
        return
    with nobodys_home() as home:
        session = demo_session()
        events = [*preparation(), *training(1, 300, 0.3), hardware(), *ending()]
        state: dict[str, Any] = {"status": Status.FINISHED, "ended": NOW - 2}
        session.monitored = make_run(Path(home), events, adapter_bytes=480_000, **state)
        await picture("finished", *_at(home, session, size, "train"))


async def list_of_runs(size: str, theme: str) -> None:
    """The list; in dark also the curves of three of its runs, and the queue."""
    keys = {"runs": MARKED} | ({} if theme else {"curves": CURVES, "queue": ("Q", "j")})
    for name, pressed in keys.items():
        with nobodys_home() as home:
            queued(Path(home))
            app, _, before = _at(home, demo_session(), size, "runs")

            async def prepare(
                pilot: AppPilot, before: Before = before, pressed: tuple[str, ...] = pressed
            ) -> None:
                await before(pilot)
                await press_in_runs(pilot, *pressed)
                await pilot.pause(0.3)  # the curve below the list waits until the cursor rests
                await quiet(pilot)

            await picture(name, app, size, prepare, theme)


async def comparison(size: str) -> None:
    """Base against tuned: the figures, and the rows that regressed."""
    with nobodys_home() as home:
        compared_home(Path(home))
        app, _, show_runs = _at(home, demo_session(), size, "runs")

        async def before(pilot: AppPilot) -> None:
            await show_runs(pilot)
            await press_in_runs(pilot, "R", "right", "right")

        await picture("comparison", app, size, before)


async def export_sheet(size: str) -> None:
    """Before an export to the Hub: what would be written and sent."""
    with nobodys_home() as home:
        sheet = Sheet(Path(home))

        async def before(pilot: AppPilot) -> None:
            await sheet.open(pilot)
            await sheet.set(pilot, "out", "/data/invoices")
            await sheet.set(pilot, "push_to", "invoices")
            await sheet.press(pilot, "d")

        os.environ["HF_TOKEN"] = "hf_token"  # the picture says where it is, never what it is
        await picture("export", sheet.app, size, before)
        del os.environ["HF_TOKEN"]


async def try_place(size: str) -> None:
    """A held-out row, answered by the base and by the tuned model."""

    async def before(pilot: AppPilot) -> None:
        await show(pilot, "try")
        for key in ("x", "enter"):
            await pilot.press(key)
            await settle(pilot)

    with nobodys_home() as home:
        finished_run(Path(home))
        services = fixed_services(
            Path(home),
            chat=lambda: FakeChat(EXACT, on_gpu=False),
            chat_room=lambda _run, _where: ENOUGH,
        )
        await picture("try", FinetuneApp(services, demo_session()), size, before)


def _with_orders() -> Session:
    """The demo's data under a name that says nothing of where it lies."""
    Path("orders.jsonl").write_bytes(demo.TRAIN_FILE.read_bytes())
    session = demo_session()
    session.use_data(report_of([Path("orders.jsonl")]))
    return session


def _at(home: str, session: Session, size: str, place: str) -> tuple[FinetuneApp, str, Before]:
    async def before(pilot: AppPilot) -> None:
        await show(pilot, place)

    return FinetuneApp(fixed_services(Path(home)), session), size, before


async def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    for size in SIZES:
        for theme in THEMES:
            await model_and_layers(size, theme)
            await data_and_train(size, theme)
            await list_of_runs(size, theme)
        await comparison(size)
        await export_sheet(size)
        await try_place(size)


if __name__ == "__main__":
    asyncio.run(main())
