"""Rehearsing from the Train place: progress, cancel, the result, and what makes it count no more."""

import dataclasses
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from finetune_tui.core.errors import WorkFailed
from finetune_tui.core.runs.pace import Prediction
from finetune_tui.core.runs.rehearsal import Rehearsal, RehearsalCancelled
from finetune_tui.core.tuning.spec import Spec, demo_spec
from finetune_tui.tui.app import FinetuneApp
from finetune_tui.tui.screens.train_rehearsal import (
    Foresight,
    measured,
    next_lines,
    rehearsal_lines,
    time_words,
)
from finetune_tui.tui.widgets.lines import Lines, cells, text_of
from tests.tui.runs_fixture import REHEARSAL, demo_session, fixed_services, settle, show

Progress = Callable[[str], None]


def checks_of(app: FinetuneApp) -> str:
    return app.query_one("#settings-checks", Lines).words


class Rehearsals:
    """Stands in for the real ones; goes on until it is let go or cancelled."""

    def __init__(self) -> None:
        self.asked: list[Spec] = []
        self.may_end = threading.Event()
        self.was_cancelled = False

    def rehearse(self, spec: Spec, progress: Progress, cancelled: Callable[[], bool]) -> Rehearsal:
        self.asked.append(spec)
        progress("tokenising: 1,240 of 2,000")
        while not self.may_end.wait(0.01):
            if cancelled():
                self.was_cancelled = True
                raise RehearsalCancelled
        return REHEARSAL

    def foresee(self, spec: Spec) -> tuple[Rehearsal | None, Prediction | None]:
        if not self.may_end.is_set() or spec.lora_r != self.asked[0].lora_r:
            return None, None
        return REHEARSAL, Prediction(17400.0, 3600.0, "from the rehearsal")


def app_with(home: Path, rehearsals: Rehearsals) -> FinetuneApp:
    services = fixed_services(home, rehearse=rehearsals.rehearse, foresee=rehearsals.foresee)
    return FinetuneApp(services, demo_session())


async def until(pilot: Pilot[Any], condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        await pilot.pause(0.01)


async def test_r_rehearses_and_the_result_stays_while_the_spec_does(home: Path) -> None:
    rehearsals = Rehearsals()
    app = app_with(home, rehearsals)
    async with app.run_test(size=(80, 24)) as pilot:
        await show(pilot, "train")
        await pilot.press("R")
        await until(pilot, lambda: "rehearsing: tokenising" in checks_of(app))
        await pilot.press("R")  # once is enough
        rehearsals.may_end.set()
        await settle(pilot)
        assert len(rehearsals.asked) == 1
        assert rehearsals.asked[0].preset == "structured-output"
        assert "about 4h50 ±1h00, from the rehearsal" in checks_of(app)
        assert "─rehearsed" in checks_of(app)
        app.session.change_spec(lora_r=4)
        app.session_changed()
        await settle(pilot)
        assert "rehearsed" not in checks_of(app)
        assert "about" not in checks_of(app).splitlines()[-1]


async def test_escape_cancels_it(home: Path) -> None:
    rehearsals = Rehearsals()
    app = app_with(home, rehearsals)
    async with app.run_test(size=(80, 24)) as pilot:
        await show(pilot, "train")
        await pilot.press("R")
        await until(pilot, lambda: "rehearsing: tokenising" in checks_of(app))
        await pilot.press("escape")
        await until(pilot, lambda: rehearsals.was_cancelled)
        await settle(pilot)
        assert "R rehearse" in checks_of(app)


async def test_leaving_the_app_ends_it(home: Path) -> None:
    rehearsals = Rehearsals()
    app = app_with(home, rehearsals)
    async with app.run_test(size=(80, 24)) as pilot:
        await show(pilot, "train")
        await pilot.press("R")
        await until(pilot, lambda: "rehearsing: tokenising" in checks_of(app))
    assert rehearsals.was_cancelled


async def test_why_it_failed_is_said_in_the_place(home: Path) -> None:
    def rehearse(*_: Any) -> Rehearsal:
        raise WorkFailed("out of memory with one row", hint="lower max_length")

    app = FinetuneApp(fixed_services(home, rehearse=rehearse), demo_session())
    async with app.run_test(size=(80, 24)) as pilot:
        await show(pilot, "train")
        await pilot.press("R")
        await settle(pilot)
        assert "the rehearsal failed" in checks_of(app)
        assert "out of memory with one row; lower max_length" in checks_of(app)


async def test_nothing_is_rehearsed_that_cannot_start(home: Path) -> None:
    session = demo_session()
    session.change_spec(train_files=["missing.jsonl"])
    app = FinetuneApp(fixed_services(home), session)  # whose rehearse would fail the test
    async with app.run_test(size=(80, 24)) as pilot:
        await show(pilot, "train")
        await pilot.press("R")
        await settle(pilot)
        assert "missing.jsonl" in app.query_one("Footline", Lines).words


def test_the_time_is_told_with_where_it_comes_from() -> None:
    told = Prediction(seconds=17400, spread=3600, source="from r3")
    assert time_words(told) == "about 4h50 ±1h00, from r3"


def test_what_is_measured_is_held_against_the_disk() -> None:
    spec = demo_spec()
    facts = dict(measured(REHEARSAL, spec, 2**20))
    assert facts["peak memory"] == "9.6G of the GPU (9.5G predicted)"
    assert facts["a step"] == "0.55s × 300 steps"
    foresight = Foresight(spec, REHEARSAL)
    lines = rehearsal_lines(foresight, 2**20, 60, is_tall=False)
    assert any("! the disk has 1.0M free" in text_of(one) for one in lines)
    assert not any("!" in text_of(one) for one in rehearsal_lines(foresight, 2**40, 60, False))


@pytest.mark.parametrize("width", [38, 45, 80, 120])
@pytest.mark.parametrize("is_tall", [True, False])
def test_every_line_fits(width: int, is_tall: bool) -> None:
    long = dataclasses.replace(REHEARSAL, warnings=("recovered: out of memory " * 5,))
    told = Prediction(17400, 3600, "from the rehearsal")
    for foresight in (
        Foresight(demo_spec(), long, told),
        Foresight(demo_spec(), progress="downloading: model-00001-of-00002.safetensors " * 2),
        Foresight(demo_spec(), error="a long reason " * 20),
    ):
        lines = rehearsal_lines(foresight, 2**20, width, is_tall)
        lines += next_lines(foresight, True, "r7", width)
        assert max(cells(one) for one in lines) <= max(width, 45)
