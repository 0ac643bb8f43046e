"""Runs as pictures: each view in its states, at the sizes that matter."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from finetune_tui.core.runs.hook import HookResult
from finetune_tui.core.runs.listing import Listing
from finetune_tui.core.settings import Settings
from finetune_tui.tui.app import FinetuneApp
from finetune_tui.tui.themes import ANSI, DARK, LIGHT
from tests.tui.runs_fixture import NOW, demo_session, fixed_services, show
from tests.tui.screens.runs_scenes import CURVES, MARKED, SCENES, quiet

PHONE, SMALL, LARGE, HUGE = (45, 20), (80, 24), (120, 36), (200, 50)
ALL = (PHONE, SMALL, LARGE, HUGE)
HOOK = 'curl -d "$FINETUNE_TUI_WORDS" https://ntfy.sh/my-runs'

_ASKS_THE_DISK = frozenset({"c", "D", "Q", "b", "E", "slash"})

Snap = Callable[..., bool]


@pytest.fixture(autouse=True)
def _nothing_by_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first line says of a live run what it finds every few seconds; here it says nothing."""
    monkeypatch.setattr("finetune_tui.tui.watching._words_of", lambda *_: ("", ""))


def picture(
    snap: Snap,
    home: Path,
    scene: str,
    size: tuple[int, int],
    *keys: str,
    theme: str = DARK.name,
    **services: Any,
) -> bool:
    SCENES[scene](home)

    async def prepare(pilot: Pilot[Any]) -> None:
        await show(pilot, "runs")
        for key in keys:
            await pilot.press(key)
            if key in _ASKS_THE_DISK:
                await quiet(pilot)
        await pilot.pause(0.2)  # the preview waits until the cursor rests
        await quiet(pilot)

    app = FinetuneApp(fixed_services(home, **services), demo_session())
    app.theme = theme
    return snap(app, terminal_size=size, run_before=prepare)


def sizes(*which: tuple[int, int]) -> pytest.MarkDecorator:
    """All but the usual one only in `make soak`."""
    values = [pytest.param(size, marks=[pytest.mark.soak] * (size != SMALL)) for size in which]
    return pytest.mark.parametrize("size", values, ids=lambda size: f"{size[0]}x{size[1]}")


@sizes(*ALL)
def test_list(snap_compare: Snap, home: Path, size: tuple[int, int]) -> None:
    assert picture(snap_compare, home, "several", size, *MARKED)


@pytest.mark.parametrize("theme", [LIGHT.name, ANSI.name])
def test_list_in_other_colours(snap_compare: Snap, home: Path, theme: str) -> None:
    assert picture(snap_compare, home, "several", SMALL, *MARKED, theme=theme)


@sizes(PHONE, LARGE)
def test_filtered(snap_compare: Snap, home: Path, size: tuple[int, int]) -> None:
    assert picture(snap_compare, home, "several", size, "slash", *"tag:invoices", "enter")


def test_a_range(snap_compare: Snap, home: Path) -> None:
    assert picture(snap_compare, home, "several", SMALL, "j", "space", "v", "j", "j")


def test_nothing_found(snap_compare: Snap, home: Path) -> None:
    assert picture(snap_compare, home, "several", SMALL, "slash", *"nobody", "enter")


@sizes(PHONE, SMALL)
def test_no_runs(snap_compare: Snap, home: Path, size: tuple[int, int]) -> None:
    assert picture(snap_compare, home, "none", size)


@sizes(PHONE, SMALL)
def test_strange_folders(snap_compare: Snap, home: Path, size: tuple[int, int]) -> None:
    assert picture(snap_compare, home, "hostile", size, "j")


def test_many_being_read(snap_compare: Snap, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Listing, "total", property(lambda _: 10_000))
    monkeypatch.setattr(Listing, "is_complete", property(lambda _: False))
    assert picture(snap_compare, home, "many", SMALL, "pagedown", "pagedown")


def test_deleting_asks(snap_compare: Snap, home: Path) -> None:
    assert picture(snap_compare, home, "several", SMALL, "j", "space", "j", "space", "X")


@sizes(*ALL)
def test_curves(snap_compare: Snap, home: Path, size: tuple[int, int]) -> None:
    assert picture(snap_compare, home, "several", size, *CURVES)


@pytest.mark.parametrize("theme", [LIGHT.name, ANSI.name])
def test_curves_in_other_colours(snap_compare: Snap, home: Path, theme: str) -> None:
    assert picture(
        snap_compare, home, "several", SMALL, *CURVES, "right_square_bracket", theme=theme
    )


def test_rate_by_time_on_a_log_scale(snap_compare: Snap, home: Path) -> None:
    keys = ("left_square_bracket", "left_square_bracket", "x", "y")
    assert picture(snap_compare, home, "several", SMALL, *CURVES, *keys)


def test_curves_of_nothing(snap_compare: Snap, home: Path) -> None:
    assert picture(snap_compare, home, "several", SMALL, "j", "j", "c")


@sizes(PHONE, SMALL, LARGE)
def test_difference(snap_compare: Snap, home: Path, size: tuple[int, int]) -> None:
    assert picture(snap_compare, home, "several", size, "space", "G", "k", "space", "D")


@sizes(PHONE, SMALL)
def test_queue(snap_compare: Snap, home: Path, size: tuple[int, int]) -> None:
    assert picture(snap_compare, home, "queued", size, "Q", "j")


def test_empty_queue(snap_compare: Snap, home: Path) -> None:
    assert picture(snap_compare, home, "none", SMALL, "Q")


@sizes(PHONE, SMALL)
def test_bin(snap_compare: Snap, home: Path, size: tuple[int, int]) -> None:
    assert picture(snap_compare, home, "binned", size, "b")


@sizes(PHONE, SMALL)
def test_when_a_run_ends(
    snap_compare: Snap, home: Path, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    tested = HookResult(NOW - 2 * 86400, 0, "ran in 0.3 s", 0.3)
    monkeypatch.setattr("finetune_tui.tui.screens.on_end.last_test", lambda *_: tested)
    settings = Settings(Path("settings.yaml"), on_end=HOOK)
    services: dict[str, Any] = {"read_settings": lambda: settings}
    assert picture(snap_compare, home, "none", size, "E", **services)


def test_nothing_when_a_run_ends(snap_compare: Snap, home: Path) -> None:
    assert picture(snap_compare, home, "none", SMALL, "E")
