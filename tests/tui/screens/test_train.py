import dataclasses
import shutil
from pathlib import Path
from typing import Any

import pytest
from textual.events import Key

from finetune_tui.core.errors import UserError
from finetune_tui.core.hardware import Gpu, GpuProcess
from finetune_tui.core.runs.directory import RunDirectory
from finetune_tui.core.runs.requests import drop_request, take_requests
from finetune_tui.core.runs.state import Status
from finetune_tui.core.tuning.spec import Spec, demo_spec
from finetune_tui.core.tuning.spec_file import write_spec
from finetune_tui.tui.app import FinetuneApp
from finetune_tui.tui.screens.ask import AskScreen
from finetune_tui.tui.screens.monitor import Monitor
from finetune_tui.tui.screens.train import TrainPlace
from finetune_tui.tui.session import Session
from finetune_tui.tui.widgets.field_form import FieldInput
from finetune_tui.tui.widgets.lines import Lines
from finetune_tui.tui.widgets.settings_form import SettingsForm
from tests.tui.runs_fixture import (
    HARDWARE,
    NOW,
    append,
    demo_session,
    fixed_services,
    hardware,
    make_run,
    preparation,
    settle,
    show,
    training,
    write_run_state,
)

GIB = 2**30


def words(app: FinetuneApp, selector: str) -> str:
    return app.query_one(selector, Lines).words


def train_of(app: FinetuneApp) -> TrainPlace:
    assert isinstance(app.place, TrainPlace)
    return app.place


async def look_again(pilot: Any) -> None:
    """What the timer does once a second."""
    train_of(pilot.app)._poll()
    await settle(pilot)


async def to_field(pilot: Any, app: FinetuneApp, name: str) -> None:
    for _ in range(100):
        if app.query_one(SettingsForm).field_name == name:
            return
        await pilot.press("j")
    raise AssertionError(f"no field {name}")


async def test_digits_typed_in_a_field_stay_in_the_field(home: Path) -> None:
    app = FinetuneApp(fixed_services(home), demo_session())
    async with app.run_test(size=(80, 24)) as pilot:
        await show(pilot, "train")
        await to_field(pilot, app, "max_steps")
        await pilot.press("enter", "1", "2", "3", "enter")
        await settle(pilot)
        assert app.place_name == "train"
        assert app.session.spec.max_steps == 123
        await pilot.press("3")
        await settle(pilot)
        assert app.place_name == "data"


async def test_a_wrong_value_is_refused_in_words_and_can_be_mended(home: Path) -> None:
    app = FinetuneApp(fixed_services(home), demo_session())
    async with app.run_test(size=(80, 24)) as pilot:
        await show(pilot, "train")
        before = app.session.spec
        await to_field(pilot, app, "learning_rate")
        await pilot.press("enter", "f", "a", "s", "t", "enter")
        await settle(pilot)
        assert "learning_rate: 'fast' is not a number" in words(app, "#form-words")
        assert app.session.spec == before
        assert app.query_one(FieldInput).has_focus
        await pilot.press("home", "shift+end", "3", "e", "-", "4", "enter")
        await settle(pilot)
        assert app.session.spec.learning_rate == 3e-4
        assert app.focused is app.place


async def test_escape_leaves_a_field_as_it_was(home: Path) -> None:
    app = FinetuneApp(fixed_services(home), demo_session())
    async with app.run_test(size=(80, 24)) as pilot:
        await show(pilot, "train")
        before = app.session.spec
        await pilot.press("j", "enter", "9", "escape")
        await settle(pilot)
        assert app.session.spec == before
        assert not app.query_one(SettingsForm).is_editing
        assert app.focused is app.place


async def test_choices_turn_without_typing(home: Path) -> None:
    app = FinetuneApp(fixed_services(home), demo_session())
    async with app.run_test(size=(80, 24)) as pilot:
        await show(pilot, "train")
        form = app.query_one(SettingsForm)
        while form.field_name != "dtype":
            await pilot.press("j")
        await pilot.press("l")
        await settle(pilot)
        assert app.session.spec.dtype == "float32"
        await pilot.press("h", "h")
        await settle(pilot)
        assert app.session.spec.dtype == "float16"
        await pilot.press("k", "k", "enter")  # load_in_4bit
        await settle(pilot)


async def test_a_field_can_be_set_with_the_mouse(home: Path) -> None:
    app = FinetuneApp(fixed_services(home), demo_session())
    async with app.run_test(size=(80, 24)) as pilot:
        await show(pilot, "train")
        rows = app.query_one("#form-rows", Lines)
        at = next(index for index, row in enumerate(rows.words.splitlines()) if " lora_r " in row)
        await pilot.click(rows, offset=(4, at))
        await settle(pilot)
        assert app.query_one(SettingsForm).field_name == "lora_r"
        await pilot.click(rows, offset=(4, at))
        await settle(pilot)
        await pilot.press("8", "enter")
        await settle(pilot)
        assert app.session.spec.lora_r == 8


async def test_s_starts_a_run_of_what_is_chosen_and_watches_it(home: Path) -> None:
    asked: list[Spec] = []

    def start(spec: Spec) -> RunDirectory:
        asked.append(spec)
        return make_run(home, preparation(3), status=Status.PREPARING)

    app = FinetuneApp(fixed_services(home, start_run=start), demo_session())
    async with app.run_test(size=(80, 24)) as pilot:
        await show(pilot, "train")
        await pilot.press("s", "s")
        await settle(pilot)
        (spec,) = asked
        assert spec.model_name_or_path == "demo"
        assert spec.preset == "structured-output"
        assert "▸ tokenising" in words(app, "#monitor-picture")
        assert app.session.monitored is not None


async def test_s_says_what_is_missing(home: Path) -> None:
    app = FinetuneApp(fixed_services(home), Session())
    async with app.run_test(size=(80, 24)) as pilot:
        await show(pilot, "train")
        assert "no model is open" in words(app, "#settings-checks")
        await pilot.press("s")
        await settle(pilot)
        assert "no model is open" in words(app, "Footline")


async def test_a_start_that_fails_is_said_and_can_be_tried_again(home: Path) -> None:
    asked = []

    def start(spec: Spec) -> RunDirectory:
        asked.append(spec)
        raise UserError("the disk is full", hint="make room")

    app = FinetuneApp(fixed_services(home, start_run=start), demo_session())
    async with app.run_test(size=(80, 24)) as pilot:
        await show(pilot, "train")
        for _ in range(2):
            await pilot.press("s")
            await settle(pilot)
            assert "the disk is full; make room" in words(app, "Footline")
        assert len(asked) == 2


async def test_bad_data_is_among_the_checks(home: Path) -> None:
    session = demo_session()
    session.change_spec(train_files=["missing.jsonl"])
    app = FinetuneApp(fixed_services(home), session)
    async with app.run_test(size=(80, 24)) as pilot:
        await show(pilot, "train")
        assert "✗ data     missing.jsonl" in words(app, "#settings-checks")
        assert "cannot start yet" in words(app, "#settings-checks")


async def test_the_monitor_follows_a_run_as_it_is_written(home: Path) -> None:
    session = demo_session()
    run = session.monitored = make_run(home, preparation(), status=Status.PREPARING)
    app = FinetuneApp(fixed_services(home), session)
    async with app.run_test(size=(80, 24)) as pilot:
        await show(pilot, "train")
        assert "before the first step" in words(app, "#monitor-picture")
        append(run, [*training(1, 90), hardware(gpu=True)])
        write_run_state(run, step=90)
        await look_again(pilot)
        picture = words(app, "#monitor-picture")
        assert " 90/300 █" in picture
        assert "GPU0 RTX4090" in picture
        assert "o" in picture
        append(run, training(91, 176))
        await look_again(pilot)
        assert " 176/300 █" in words(app, "#monitor-picture")
        assert "eval 150" in words(app, "#monitor-panel")


async def test_an_idle_monitor_sends_nothing(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    session = demo_session()
    session.monitored = make_run(home, [*preparation(), *training()])
    app = FinetuneApp(fixed_services(home), session)
    async with app.run_test(size=(80, 24)) as pilot:
        await show(pilot, "train")
        drawn: list[object] = []
        monkeypatch.setattr(Lines, "refresh", lambda self, *regions, **_: drawn.extend(regions))
        await look_again(pilot)
        assert drawn == []


async def test_stop_asks_first(home: Path) -> None:
    asked: list[tuple[str, str]] = []
    session = demo_session()
    session.monitored = make_run(home, [*preparation(), *training()])
    services = fixed_services(home, request=lambda run, kind: asked.append((run.id, kind)))
    app = FinetuneApp(services, session)
    async with app.run_test(size=(80, 24)) as pilot:
        await show(pilot, "train")
        await pilot.press("S")
        await settle(pilot)
        assert isinstance(app.screen, AskScreen)
        await pilot.press("escape")
        await settle(pilot)
        assert asked == []
        await pilot.press("S")
        await settle(pilot)
        await pilot.press("y")
        await settle(pilot)
        assert asked == [("r7-demo-structured-output", "stop")]


async def test_a_checkpoint_needs_no_question(home: Path) -> None:
    asked: list[str] = []
    session = demo_session()
    session.monitored = make_run(home, [*preparation(), *training()])
    services = fixed_services(home, request=lambda run, kind: asked.append(kind))
    app = FinetuneApp(services, session)
    async with app.run_test(size=(80, 24)) as pilot:
        await show(pilot, "train")
        await pilot.press("c")
        await settle(pilot)
        assert asked == ["checkpoint"]
        assert "checkpoint" in words(app, "Footline")


async def test_an_ended_run_can_go_on_and_cannot_be_stopped(home: Path) -> None:
    resumed: list[RunDirectory] = []
    session = demo_session()
    run = session.monitored = make_run(
        home, [*preparation(), *training()], status=Status.STOPPED, why="a stop was requested"
    )

    def resume(asked: RunDirectory) -> None:
        resumed.append(asked)
        write_run_state(run)

    app = FinetuneApp(fixed_services(home, resume_run=resume), session)
    async with app.run_test(size=(80, 24)) as pilot:
        await show(pilot, "train")
        assert "stopped at step 176" in words(app, "#monitor-picture")
        await pilot.press("S", "c")
        await settle(pilot)
        assert not isinstance(app.screen, AskScreen)
        await pilot.press("r")
        await settle(pilot)
        await look_again(pilot)
        assert resumed == [run]
        assert "▶ running" in words(app, "#monitor-picture")


async def test_keys_of_the_monitor_change_the_plot_and_the_panel(home: Path) -> None:
    session = demo_session()
    session.monitored = make_run(home, [*preparation(), *training()], log="loading\nhello\n")
    app = FinetuneApp(fixed_services(home), session)
    async with app.run_test(size=(80, 24)) as pilot:
        await show(pilot, "train")
        plain = words(app, "#monitor-picture")
        for key in "ysx":
            await pilot.press(key)
            await settle(pilot)
            changed = words(app, "#monitor-picture")
            assert changed != plain
            await pilot.press(key)
            await settle(pilot)
            assert words(app, "#monitor-picture") == plain
        await pilot.press("right_square_bracket")
        await settle(pilot)
        assert "[samples]" in words(app, "#monitor-picture")
        assert "want" in words(app, "#monitor-panel")
        await pilot.press("right_square_bracket")
        await settle(pilot)
        assert "model_name_or_path: demo" in words(app, "#monitor-panel")
        await pilot.press("l")
        await settle(pilot)
        assert "hello" in words(app, "#monitor-panel")


async def test_tabs_and_switches_work_with_the_mouse(home: Path) -> None:
    session = demo_session()
    session.monitored = make_run(home, [*preparation(), *training()])
    app = FinetuneApp(fixed_services(home), session)
    async with app.run_test(size=(80, 24)) as pilot:
        await show(pilot, "train")
        picture = app.query_one("#monitor-picture", Lines)
        rows = picture.words.splitlines()
        tabs = next(index for index, row in enumerate(rows) if "[log]" in row)
        await pilot.click(picture, offset=(rows[tabs].index("config") + 1, tabs))
        await settle(pilot)
        assert app.query_one(Monitor).tab == "config"


async def test_settings_are_one_level_out_and_the_monitor_one_key_away(home: Path) -> None:
    session = demo_session()
    session.monitored = make_run(home, [*preparation(), *training()])
    app = FinetuneApp(fixed_services(home), session)
    async with app.run_test(size=(80, 24)) as pilot:
        await show(pilot, "train")
        await pilot.press("escape")
        await settle(pilot)
        assert not app.query_one(Monitor).display
        assert "w watch r7" in words(app, "#settings-checks")
        await pilot.press("w")
        await settle(pilot)
        assert app.query_one(Monitor).display


async def test_a_dead_run_says_so(home: Path) -> None:
    from finetune_tui.core.runs.processes import ProcessId

    session = demo_session()
    run = session.monitored = make_run(home, [*preparation(), *training()])
    app = FinetuneApp(fixed_services(home), session)
    async with app.run_test(size=(80, 24)) as pilot:
        await show(pilot, "train")
        write_run_state(run, worker=ProcessId(4_194_000, "1"), heartbeat=NOW - 4)
        await look_again(pilot)
        assert "✗ dead" in words(app, "#monitor-picture")


HOLDING = {
    "status": Status.PAUSED,
    "phase": "holding",
    "why": "held on request, memory and GPU are kept",
    "step": 176,
}


async def test_p_asks_which_pause_and_then_goes_on(home: Path) -> None:
    asked: list[str] = []
    resumed: list[RunDirectory] = []

    def resume(run: RunDirectory) -> None:
        resumed.append(run)
        write_run_state(run)
        append(run, [{"t": NOW, "kind": "continued", "step": 176}])

    session = demo_session()
    run = session.monitored = make_run(home, [*preparation(), *training()])
    services = fixed_services(
        home, request=lambda _run, kind: asked.append(kind), resume_run=resume
    )
    app = FinetuneApp(services, session)
    async with app.run_test(size=(80, 24)) as pilot:
        await show(pilot, "train")
        await pilot.press("p", "escape")
        await settle(pilot)
        assert asked == []
        await pilot.press("p", "h")
        await settle(pilot)
        assert asked == ["pause"]
        assert "p goes on" in words(app, "Footline")
        write_run_state(run, **HOLDING)
        await look_again(pilot)
        assert "‖ holding" in words(app, "#monitor-picture")
        assert "held on request" in words(app, "#monitor-picture")
        await pilot.press("p")
        await settle(pilot)
        await look_again(pilot)
        assert resumed == [run]
        assert "▶ running" in words(app, "#monitor-picture")


async def test_a_pause_may_let_go_of_the_machine(home: Path) -> None:
    asked: list[str] = []
    resumed: list[RunDirectory] = []
    session = demo_session()
    run = session.monitored = make_run(home, [*preparation(), *training()])
    services = fixed_services(
        home, request=lambda _run, kind: asked.append(kind), resume_run=resumed.append
    )
    app = FinetuneApp(services, session)
    async with app.run_test(size=(80, 24)) as pilot:
        await show(pilot, "train")
        await pilot.press("p", "j", "enter")
        await settle(pilot)
        assert asked == ["release"]
        write_run_state(run, **{**HOLDING, "phase": None, "ended": NOW - 1})
        await look_again(pilot)
        assert "the machine is free" in words(app, "#monitor-picture")
        await pilot.press("S", "c")
        await settle(pilot)
        assert not isinstance(app.screen, AskScreen)
        await pilot.press("p")
        await settle(pilot)
        assert resumed == [run]


async def test_a_pause_that_is_asked_shows_until_it_comes(home: Path) -> None:
    session = demo_session()
    run = session.monitored = make_run(home, [*preparation(), *training()])
    app = FinetuneApp(fixed_services(home), session)
    async with app.run_test(size=(80, 24)) as pilot:
        await show(pilot, "train")
        drop_request(run, "pause")
        await look_again(pilot)
        take_requests(run)
        await look_again(pilot)
        assert "pausing" in words(app, "#monitor-picture")
        append(run, training(177, 180))  # somebody took it back
        await look_again(pilot)
        assert "▶ running" in words(app, "#monitor-picture")


async def test_the_diff_tab_holds_a_run_against_the_one_before(home: Path) -> None:
    earlier = make_run(home, name="r6-demo", status=Status.FINISHED)
    earlier.spec_path.write_text(write_spec(demo_spec().changed(lora_r=8, learning_rate=1e-3)))
    make_run(home, name="r5-phi-2", status=Status.FINISHED)
    session = demo_session()
    session.monitored = make_run(home, [*preparation(), *training()])
    app = FinetuneApp(fixed_services(home), session)
    async with app.run_test(size=(80, 24)) as pilot:
        await show(pilot, "train")
        await pilot.press("D")
        await settle(pilot)
        told = words(app, "#monitor-panel")
        assert "against r6-demo" in told
        assert "8 → 32" in told
        assert "0.001 → 0.005" in told
        assert "max_length" not in told


def with_gpus(processes: tuple[GpuProcess, ...] | None) -> Session:
    session = demo_session()
    cards = [
        Gpu(
            0, uuid="GPU-a", name="NVIDIA GeForce RTX 4090", total=24 * GIB, used=GIB, free=23 * GIB
        ),
        Gpu(
            1,
            uuid="GPU-b",
            name="NVIDIA A100",
            total=80 * GIB,
            used=61 * GIB,
            free=19 * GIB,
            processes=processes,
        ),
    ]
    session.hardware = dataclasses.replace(HARDWARE, gpus=tuple(cards), gpu_error=None)
    return session


async def test_the_gpu_is_chosen_from_a_list_and_kept_by_uuid(home: Path) -> None:
    session = with_gpus((GpuProcess(9, 60 * GIB),))
    hardware_now = session.hardware
    assert hardware_now is not None
    app = FinetuneApp(fixed_services(home, read_hardware=lambda: hardware_now), session)
    async with app.run_test(size=(80, 24)) as pilot:
        await show(pilot, "train")
        await pilot.press("d")
        await settle(pilot)
        told = app.screen.query_one(Lines).words
        assert "GPU0 RTX 4090" in told
        assert "19.0G free of 80.0G, others 60.0G" in told
        assert "others unseen" in told
        await pilot.press("2")
        await settle(pilot)
        assert list(app.session.spec.gpus) == ["GPU-b"]
        assert app.session.gpu is not None
        assert app.session.gpu.index == 1
        await pilot.press("d", "0")
        await settle(pilot)
        assert list(app.session.spec.gpus) == []


async def test_without_a_gpu_the_key_takes_the_cpu_and_undo_takes_it_back(home: Path) -> None:
    session = demo_session()
    session.change_spec(use_cpu=False)
    app = FinetuneApp(fixed_services(home), session)
    async with app.run_test(size=(80, 24)) as pilot:
        await show(pilot, "train")
        await pilot.press("d")
        await settle(pilot)
        assert app.session.spec.use_cpu
        assert "on the CPU" in words(app, "Footline")
        await pilot.press("u")
        await settle(pilot)
        assert not app.session.spec.use_cpu


async def test_without_a_gpu_there_is_nothing_to_choose(home: Path) -> None:
    app = FinetuneApp(fixed_services(home), demo_session())
    async with app.run_test(size=(80, 24)) as pilot:
        await show(pilot, "train")
        await pilot.press("d")
        await settle(pilot)
        assert "no NVIDIA driver here" in words(app, "Footline")


async def test_a_run_that_is_deleted_while_it_is_watched_gives_way_to_the_settings(
    home: Path,
) -> None:
    session = demo_session()
    session.monitored = run = make_run(home, [*preparation(), *training()], status=Status.STOPPED)
    app = FinetuneApp(fixed_services(home), session)
    async with app.run_test(size=(80, 24)) as pilot:
        await show(pilot, "train")
        assert app.query_one(TrainPlace).is_watching
        shutil.rmtree(run.path)
        await look_again(pilot)
        await settle(pilot)
        assert "before you start" in app.query_one("#settings-checks", Lines).words
        assert not session.monitored
        assert "r7 was deleted" in words(app, "Footline")
        assert "broken" not in words(app, "Masthead")


async def test_a_run_on_another_machine_is_heard_of_and_has_not_ended(home: Path) -> None:
    session = demo_session()
    events = [*preparation(), *training()]
    session.monitored = make_run(home, events, host="otherbox", heartbeat=NOW - 40)
    app = FinetuneApp(fixed_services(home), session)
    async with app.run_test(size=(80, 24)) as pilot:
        await show(pilot, "train")
        shown = app.query_one("#monitor-picture", Lines).words
        assert "heard Wed 23:59" in shown
        assert "ended" not in shown
        assert shown.count("otherbox") == 1


@pytest.mark.parametrize(("keys", "wanted"), [("ph", "pause"), ("pr", "release"), ("Sy", "stop")])
async def test_an_answer_may_be_typed_right_after_the_key_that_asks(
    home: Path, keys: str, wanted: str
) -> None:
    asked: list[str] = []
    session = demo_session()
    session.monitored = make_run(home, [*preparation(), *training()])
    app = FinetuneApp(fixed_services(home, request=lambda _run, kind: asked.append(kind)), session)
    async with app.run_test(size=(80, 24)) as pilot:
        await show(pilot, "train")
        for key in keys:
            app.post_message(Key(key, key))
        await settle(pilot)
        assert asked == [wanted]
