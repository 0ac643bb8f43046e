"""Comparisons as pictures: the sheet, a run that goes on, what it found, a row in full."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from finetune_tui.core.runs.state import Status
from finetune_tui.tui.app import FinetuneApp
from finetune_tui.tui.themes import ANSI, DARK, LIGHT
from tests.tui.comparison_fixture import asking, compare_run, compared_home
from tests.tui.runs_fixture import append, demo_session, fixed_services, make_run, show
from tests.tui.screens.runs_scenes import press, quiet

PHONE, SMALL, LARGE, HUGE = (45, 20), (80, 24), (120, 36), (200, 50)

Snap = Callable[..., bool]


@pytest.fixture(autouse=True)
def _nothing_by_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first line says of a live run what it finds every few seconds; here it says nothing."""
    monkeypatch.setattr("finetune_tui.tui.watching._words_of", lambda *_: ("", ""))


def going_on(home: Path) -> None:
    trained = make_run(home, name="r1-demo", status=Status.FINISHED, step=300)
    compare_run(home, trained, asking(), step=396, total_steps=600)


def failed(home: Path) -> None:
    trained = make_run(home, name="r1-demo", status=Status.FINISHED, step=300)
    why = "demo has no chat template and was not trained on chats, so chats cannot be asked"
    hint = "give rows with 'prompt' and 'completion'"
    run = compare_run(home, trained, asking()[:5], status=Status.FAILED, why=why, hint=hint)
    append(run, [{"t": 0, "kind": "failed", "message": why, "where": "chats.jsonl", "hint": hint}])


def never(home: Path) -> None:
    make_run(home, name="r1-demo", status=Status.FINISHED, step=300)


SCENES: dict[str, tuple[Callable[[Path], object], tuple[str, ...]]] = {
    "sheet": (compared_home, ("j", "C", "j", "j")),
    "found": (compared_home, ("R", "right", "right")),
    "row": (compared_home, ("R", "left", "enter")),
    "finished": (compared_home, ("w",)),
    "forgotten": (compared_home, ("R", "right_square_bracket", "right", "right")),
    "fields": (compared_home, ("R", "left_square_bracket", "left_square_bracket")),
    "words": (compared_home, ("R", "slash", *"lamp", "enter")),
    "list": (compared_home, ()),
    "running": (going_on, ("w",)),
    "failed": (failed, ("w",)),
    "none": (never, ("R",)),
}
FAST = ("sheet", "found")


def picture(
    snap: Snap, home: Path, scene: str, size: tuple[int, int], theme: str = DARK.name
) -> bool:
    make, keys = SCENES[scene]
    make(home)

    async def prepare(pilot: Pilot[Any]) -> None:
        await show(pilot, "runs")
        await press(pilot, *keys)
        await pilot.pause(0.2)
        await quiet(pilot)

    app = FinetuneApp(fixed_services(home), demo_session())
    app.theme = theme
    return snap(app, terminal_size=size, run_before=prepare)


@pytest.mark.parametrize("scene", FAST)
def test_comparison(snap_compare: Snap, home: Path, scene: str) -> None:
    assert picture(snap_compare, home, scene, SMALL)


@pytest.mark.soak
@pytest.mark.parametrize(
    ("scene", "size"),
    [
        *((scene, size) for scene in SCENES for size in (PHONE, LARGE)),
        *((scene, SMALL) for scene in SCENES if scene not in FAST),
        *((scene, HUGE) for scene in ("found", "row", "sheet")),
    ],
    ids=lambda value: value if isinstance(value, str) else f"{value[0]}x{value[1]}",
)
def test_every_state_at_every_size(
    snap_compare: Snap, home: Path, scene: str, size: tuple[int, int]
) -> None:
    assert picture(snap_compare, home, scene, size)


@pytest.mark.soak
@pytest.mark.parametrize("theme", [LIGHT.name, ANSI.name])
@pytest.mark.parametrize("scene", FAST)
def test_other_colours(snap_compare: Snap, home: Path, scene: str, theme: str) -> None:
    assert picture(snap_compare, home, scene, SMALL, theme)
