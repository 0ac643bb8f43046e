"""The Try place as pictures: a held-out row answered by both, and a GPU that trains."""

from pathlib import Path
from typing import Any

import pytest

from finetune_tui.tui.screens.trying import TryPlace
from tests.tui.chat_fixture import EXACT, NO_ROOM, FakeChat, finished_run
from tests.tui.runs_fixture import settle, show
from tests.tui.screens.test_pictures_train import Snap, size_name
from tests.tui.screens.test_try import app_with, until

LARGE = [pytest.param(size, marks=pytest.mark.soak) for size in ((45, 20), (120, 36), (200, 50))]
SIZES = [(80, 24), *LARGE]


def picture(snap: Snap, home: Path, size: tuple[int, int], *keys: str, **services: Any) -> bool:
    finished_run(home)

    async def prepare(pilot: Any) -> None:
        await show(pilot, "try")
        for key in keys:
            await pilot.press(key)
            await settle(pilot)
        place = pilot.app.place
        assert isinstance(place, TryPlace)
        await until(pilot, lambda: not place.talk.is_busy)
        await pilot.pause(0.2)  # answers are drawn ten times a second
        await settle(pilot)

    return snap(
        app_with(home, FakeChat(EXACT, on_gpu=False), **services),
        run_before=prepare,
        terminal_size=size,
    )


@pytest.mark.parametrize("size", SIZES, ids=size_name)
def test_a_held_out_row_answered(snap_compare: Snap, home: Path, size: tuple[int, int]) -> None:
    assert picture(snap_compare, home, size, "x", "enter")


@pytest.mark.soak
@pytest.mark.parametrize("size", SIZES, ids=size_name)
def test_a_gpu_that_trains(snap_compare: Snap, home: Path, size: tuple[int, int]) -> None:
    busy = {"chat_room": lambda _run, _where: NO_ROOM}
    assert picture(snap_compare, home, size, "x", "enter", **busy)
