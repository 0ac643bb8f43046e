"""What the app sees of the machine every few seconds."""

import shutil
from dataclasses import replace
from pathlib import Path

from finetune_tui.core.runs.state import Status
from finetune_tui.tui.app import FinetuneApp
from finetune_tui.tui.watching import Watch, steady
from tests.tui.conftest import GIB, hardware
from tests.tui.runs_fixture import fixed_services, make_run, preparation


def test_memory_that_wobbles_is_no_news_and_what_moves_is() -> None:
    shown = hardware()
    wobbled = replace(shown, memory_available=33 * GIB + 10**9, disk_free=41 * GIB - 10**9)
    assert steady(shown, wobbled) == shown
    moved = replace(shown, memory_available=30 * GIB, disk_free=20 * GIB)
    assert steady(shown, moved) == moved
    assert steady(None, moved) == moved


def test_a_slow_drift_is_shown_in_the_end() -> None:
    shown = hardware()
    free = shown.memory_available
    assert free is not None
    for _ in range(20):
        free -= GIB // 4
        shown = steady(shown, replace(shown, memory_available=free))
        assert shown.memory_available is not None
        assert abs(shown.memory_available - free) < free / 15


def test_a_gpu_is_shown_as_it_is() -> None:
    before, card = hardware(), hardware().gpus[0]
    now = replace(before, gpus=(replace(card, free=(card.free or 0) - 1),))
    assert steady(before, now) == now


async def test_a_run_that_was_deleted_is_no_broken_one(tmp_path: Path) -> None:
    run = make_run(tmp_path, preparation(), status=Status.FINISHED)
    app = FinetuneApp(fixed_services(tmp_path))
    app.session.monitored = run
    watch = Watch(app)
    assert watch._look().words == "r7 finished"
    shutil.rmtree(run.path)
    assert watch._look().words == ""
