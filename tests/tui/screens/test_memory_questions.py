"""What fits, which card, and the simulation: asked in Layers and in Train, answered beside the screen."""

import dataclasses
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from finetune_tui.core.data.report import lengths_of
from finetune_tui.core.data.token_report import TokenReport
from finetune_tui.core.errors import WorkFailed
from finetune_tui.core.memory.estimate import Verdict
from finetune_tui.core.memory.simulated import Simulation
from finetune_tui.core.memory.simulating import SimulationQuestion
from finetune_tui.tui.app import FinetuneApp
from finetune_tui.tui.screens.fitting import FittingScreen
from finetune_tui.tui.screens.layers import LayersPlace
from finetune_tui.tui.simulating import asked_of
from finetune_tui.tui.widgets.lines import Lines
from finetune_tui.tui.widgets.status import Footline, StatusLine
from tests.tui.conftest import AppPilot, fixed_services, open_model, press, settled
from tests.tui.memory_fixture import SIMULATION
from tests.tui.runs_fixture import demo_session

SIZE = (80, 24)
PLACES = pytest.mark.parametrize("place", ["2", "4"], ids=["layers", "train"])

Simulate = Callable[[SimulationQuestion, Callable[[str], None], threading.Event], Simulation]


def memory(app: FinetuneApp) -> str:
    """What is said of memory in the place in front."""
    if isinstance(app.place, LayersPlace):
        return app.place.memory_words
    return app.query_one("#settings-checks", Lines).words


def foot(app: FinetuneApp) -> str:
    return app.query_one(Footline).words


def shown(app: FinetuneApp) -> str:
    """The words of what lies over the place."""
    return "\n".join(each.words for each in app.screen.query(Lines))


async def opened(pilot: AppPilot, place: str, model: str = "phi-2") -> FinetuneApp:
    await open_model(pilot, model)
    app = pilot.app
    assert isinstance(app, FinetuneApp)
    app.session.choose_preset("structured-output")
    await press(pilot, place)
    return app


def with_simulation(tmp_path: Path, simulate: Simulate) -> FinetuneApp:
    services = fixed_services(tmp_path / "home")
    return FinetuneApp(dataclasses.replace(services, simulate=simulate))


# What fits


@PLACES
async def test_one_key_lists_what_fits_and_one_applies_it(app: FinetuneApp, place: str) -> None:
    async with app.run_test(size=SIZE) as pilot:
        await opened(pilot, place)
        before = app.session.spec
        await press(pilot, "F")
        assert isinstance(app.screen, FittingScreen)
        assert "what fits GPU0, 23.1G free" in shown(app)
        assert "to spare" in shown(app)
        await press(pilot, "j", "k", "enter")
        assert app.session.spec != before
        assert app.session.verdict is Verdict.FITS
        assert "u takes it back" in foot(app)
        assert "/23.1G fits" in app.query_one(StatusLine).words
        await press(pilot, "u")
        assert app.session.spec == before
        await press(pilot, "U")
        assert app.session.verdict is Verdict.FITS


@PLACES
async def test_leaving_the_list_changes_nothing(app: FinetuneApp, place: str) -> None:
    async with app.run_test(size=SIZE) as pilot:
        await opened(pilot, place)
        before = app.session.spec
        await press(pilot, "F", "escape")
        assert not isinstance(app.screen, FittingScreen)
        assert app.session.spec == before
        await press(pilot, "u")
        assert not app.session.selection.choices  # the preset, the only step there was


async def test_a_click_tells_of_a_row_and_another_applies_it(app: FinetuneApp) -> None:
    async with app.run_test(size=SIZE) as pilot:
        await opened(pilot, "2")
        await press(pilot, "F")
        rows = app.screen.query_one("#fitting-rows", Lines).words.splitlines()
        at = next(index for index, row in enumerate(rows) if "checkpointing on" in row)
        await pilot.click("#fitting-rows", offset=(5, at))
        await settled(pilot)
        assert "gradient_checkpointing no → yes" in shown(app)
        await pilot.click("#fitting-rows", offset=(5, at))
        await settled(pilot)
        assert app.session.spec.gradient_checkpointing
        assert not isinstance(app.screen, FittingScreen)


async def test_every_row_says_what_it_changes_and_costs(app: FinetuneApp) -> None:
    async with app.run_test(size=SIZE) as pilot:
        await opened(pilot, "2")
        await press(pilot, "F")
        screen = app.screen
        assert isinstance(screen, FittingScreen)
        words = screen.query_one("#fitting-words", Lines)
        told: list[str] = []
        while words.words not in told:
            told.append(words.words)
            await press(pilot, "j")
        with_checkpointing = next(words for words in told if "gradient_checkpointing" in words)
        assert "gradient_checkpointing no → yes" in with_checkpointing
        assert "a third more time" in with_checkpointing


async def test_what_fits_already_is_listed_and_changes_nothing(app: FinetuneApp) -> None:
    async with app.run_test(size=SIZE) as pilot:
        await opened(pilot, "2")
        app.session.change_spec(max_length=512)
        before = app.session.spec
        await press(pilot, "F")
        assert "as it is: nothing changes" in shown(app)
        await press(pilot, "enter")
        assert app.session.spec == before
        assert "nothing changes" in foot(app)


async def test_when_nothing_fits_the_nearest_and_the_card_are_said(tmp_path: Path) -> None:
    app = FinetuneApp(fixed_services(tmp_path / "home", gpu=False))
    async with app.run_test(size=SIZE) as pilot:
        await opened(pilot, "2", "qwen3-30b-a3b")
        await press(pilot, "F")  # no GPU here: first of all, which card
        assert "Which card?" in shown(app)
        await press(pilot, "1")
        assert "nothing fits the 8 GB card" in shown(app)
        assert "G too much; the smallest card that does: 80 GB" in shown(app)
        assert "NO" in app.screen.query_one("#fitting-rows", Lines).words


async def test_another_card_from_the_list(app: FinetuneApp) -> None:
    async with app.run_test(size=SIZE) as pilot:
        await opened(pilot, "2")
        await press(pilot, "F", "C", "1")
        assert "the 8 GB card" in shown(app)
        await press(pilot, "escape")
        assert app.session.card == "8 GB"


# Cards


@PLACES
async def test_memory_is_held_against_a_card_that_is_not_here(tmp_path: Path, place: str) -> None:
    app = FinetuneApp(fixed_services(tmp_path / "home", gpu=False))
    async with app.run_test(size=SIZE) as pilot:
        await opened(pilot, place)
        assert "/" not in app.query_one(StatusLine).words
        await press(pilot, "C", "7")
        assert "/80G card fits" in app.query_one(StatusLine).words
        await press(pilot, "1", place)  # it is remembered
        assert "/80G card fits" in app.query_one(StatusLine).words
        await press(pilot, "C", "0")
        assert app.session.card is None
        assert app.session.verdict is None


async def test_a_card_does_not_hide_that_there_is_no_gpu(tmp_path: Path) -> None:
    app = FinetuneApp(fixed_services(tmp_path / "home", gpu=False))
    async with app.run_test(size=SIZE) as pilot:
        await opened(pilot, "4")
        await press(pilot, "C", "8")
        assert "no NVIDIA driver" in memory(app)


async def test_choosing_a_gpu_ends_the_comparison(app: FinetuneApp) -> None:
    async with app.run_test(size=SIZE) as pilot:
        await opened(pilot, "4")
        await press(pilot, "C", "1", "d", "1")
        assert app.session.card is None
        assert app.session.spec.gpus == ("GPU-8f1c",)


# Simulating


@PLACES
async def test_a_simulation_stands_beside_the_estimate(tmp_path: Path, place: str) -> None:
    asked: list[SimulationQuestion] = []

    def simulate(question: SimulationQuestion, *_: Any) -> Simulation:
        asked.append(question)
        return SIMULATION

    app = with_simulation(tmp_path, simulate)
    async with app.run_test(size=SIZE) as pilot:
        await opened(pilot, place)
        await press(pilot, "M")
        (question,) = asked
        assert question.spec == app.session.current_spec()
        assert question.budget == app.session.free_bytes
        words = " ".join(memory(app).replace("│", " ").split())
        assert "simulated 21.70G fits" in words
        assert "smallest card 24GB" in words
        assert "peak: backward, layers.17.mlp.fc2" in words
        assert "fits up to 2×1024 or 2×1112 tokens" in words
        await press(pilot, "escape")
        assert "simulated" not in memory(app)


@PLACES
async def test_progress_is_said_and_escape_cancels(tmp_path: Path, place: str) -> None:
    has_begun, was_cancelled = threading.Event(), threading.Event()

    def simulate(
        _question: SimulationQuestion, progress: Callable[[str], None], cancelled: threading.Event
    ) -> Simulation:
        progress("step 1 of 2, block 12 of 32")
        has_begun.set()
        assert cancelled.wait(10)
        was_cancelled.set()
        raise WorkFailed("cancelled")

    app = with_simulation(tmp_path, simulate)
    async with app.run_test(size=SIZE) as pilot:
        await opened(pilot, place)
        await pilot.press("M")
        while not has_begun.is_set():
            await pilot.pause(0.01)
        await pilot.pause()
        words = " ".join(memory(app).replace("│", " ").split())
        assert "simulating: step 1 of" in words
        assert "esc cancel" in words
        await pilot.press("M")  # it goes on already
        await pilot.press("escape")
        await settled(pilot)
        assert was_cancelled.wait(10)
        assert "simulat" not in memory(app)
        assert "cancelled" not in foot(app)


async def test_a_simulation_is_gone_once_something_it_depends_on_has_changed(
    tmp_path: Path,
) -> None:
    app = with_simulation(tmp_path, lambda *_: SIMULATION)
    async with app.run_test(size=SIZE) as pilot:
        await opened(pilot, "2")
        await press(pilot, "M")
        app.session.change_spec(learning_rate=1e-3)  # not that
        app.session_changed()
        assert "simulated" in memory(app)
        await press(pilot, "space")
        assert "simulated" not in memory(app)
        await press(pilot, "u")
        assert "simulated" in memory(app)
        app.session.change_spec(max_length=512)
        app.session_changed()
        assert "simulated" not in memory(app)


async def test_one_of_what_is_no_longer_chosen_is_cancelled(tmp_path: Path) -> None:
    has_begun, was_cancelled = threading.Event(), threading.Event()

    def simulate(
        _question: SimulationQuestion, _progress: Callable[[str], None], cancelled: threading.Event
    ) -> Simulation:
        has_begun.set()
        assert cancelled.wait(10)
        was_cancelled.set()
        return SIMULATION

    app = with_simulation(tmp_path, simulate)
    async with app.run_test(size=SIZE) as pilot:
        await opened(pilot, "2")
        await pilot.press("M")
        while not has_begun.is_set():
            await pilot.pause(0.01)
        await pilot.press("space")
        await settled(pilot)
        assert was_cancelled.wait(10)
        assert app.session.simulated is None


async def test_why_a_simulation_failed_is_said_in_its_place(tmp_path: Path) -> None:
    def simulate(*_: Any) -> Simulation:
        raise WorkFailed("'simulate' needed more than 8 GiB and was ended")

    app = with_simulation(tmp_path, simulate)
    async with app.run_test(size=SIZE) as pilot:
        await opened(pilot, "2")
        await press(pilot, "M")
        words = " ".join(memory(app).replace("│", " ").split())
        assert "✗ simulation: 'simulate' needed more than 8 GiB and was ended" in words


def test_the_longest_rows_of_the_data_are_what_is_stepped() -> None:
    session = demo_session()
    question = session.token_question
    assert question is not None
    assert asked_of(session).batches == ()
    report = TokenReport(
        question=question,
        rows=3,
        bad_rows=(),
        looked_at=3,
        tokens=90,
        trained_tokens=30,
        share_trained=0.33,
        ends_trained=True,
        cut_rows=0,
        cut_tokens=0,
        lengths=lengths_of([20, 30, 40], "tokens"),
        notes=(),
        examples=(),
    )
    session.counted = report
    rows = session.spec.per_device_train_batch_size
    assert asked_of(session).batches == ((rows, 40),)
    session.change_spec(packing=True)
    assert asked_of(session).batches == ()


# Numbers


async def test_numbers_take_the_place_of_the_bars_and_give_it_back(app: FinetuneApp) -> None:
    async with app.run_test(size=SIZE) as pilot:
        await opened(pilot, "2")
        bars = memory(app)
        await press(pilot, "i")
        assert "base─train─acts─logits─ctx─total" in memory(app)
        assert "█" not in memory(app)
        await press(pilot, "i")
        assert memory(app) == bars


@pytest.mark.parametrize("keys", ["F", "M", "C", "i"])
async def test_without_a_model_they_are_harmless(app: FinetuneApp, keys: str) -> None:
    async with app.run_test(size=SIZE) as pilot:
        for place in "24":
            await press(pilot, place, *keys, "escape")
            assert app.session.spec == type(app.session.spec)()


async def test_a_toggle_estimates_once(app: FinetuneApp, monkeypatch: pytest.MonkeyPatch) -> None:
    from finetune_tui.core.memory import estimate as module

    made: list[object] = []
    estimate_all = module.estimate_all

    def counted(*asked: Any) -> Any:
        made.append(asked)
        return estimate_all(*asked)

    async with app.run_test(size=SIZE) as pilot:
        await opened(pilot, "2")
        monkeypatch.setattr(module, "estimate_all", counted)
        await pilot.press("space")
        assert len(made) == 1
