"""What the app sees of the machine every few seconds."""

from dataclasses import replace

from finetune_tui.tui.watching import steady
from tests.tui.conftest import GIB, hardware


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
