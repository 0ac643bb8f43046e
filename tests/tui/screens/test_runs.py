import time
from pathlib import Path

import pytest

from finetune_tui.core.runs.directory import RunDirectory
from finetune_tui.core.runs.state import Status
from finetune_tui.tui.app import FinetuneApp
from finetune_tui.tui.screens.ask import AskScreen
from finetune_tui.tui.widgets import run_table
from finetune_tui.tui.widgets.lines import Lines, cells, text_of
from finetune_tui.tui.widgets.run_table import RunTable, header_line, read_facts, run_line
from tests.tui.runs_fixture import (
    NOW,
    demo_session,
    fixed_services,
    make_run,
    preparation,
    settle,
    show,
    training,
)


def some_runs(home: Path) -> None:
    make_run(home, name="r1-demo", status=Status.FINISHED, step=300, eval_loss=0.113)
    make_run(home, name="r2-demo", status=Status.STOPPED, step=176, why="a stop was requested")
    make_run(home, [*preparation(), *training()], name="r3-demo", step=176, eval_loss=0.192)


def rows(app: FinetuneApp) -> list[str]:
    table = app.query_one(RunTable)
    return [text_of(table.line_at(index)) for index in range(len(table.runs))]


async def test_the_newest_run_is_first_and_its_state_is_live(home: Path) -> None:
    some_runs(home)
    app = FinetuneApp(fixed_services(home), demo_session())
    async with app.run_test(size=(80, 24)) as pilot:
        await show(pilot, "runs")
        shown = rows(app)
        assert [row.split()[0] for row in shown] == ["r3", "r2", "r1"]
        assert "▶ running" in shown[0]
        assert "176/300" in shown[0]
        assert "■ stopped" in shown[1]
        assert "✓ finished" in shown[2]


async def test_enter_opens_the_monitor(home: Path) -> None:
    some_runs(home)
    app = FinetuneApp(fixed_services(home), demo_session())
    async with app.run_test(size=(80, 24)) as pilot:
        await show(pilot, "runs")
        await pilot.press("j", "enter")
        await settle(pilot)
        assert app.place_name == "train"
        assert "r2 demo" in app.query_one("#monitor-picture", Lines).words
        await pilot.press("5")
        await settle(pilot)
        await pilot.press("k", "enter")
        await settle(pilot)
        assert "r3 demo" in app.query_one("#monitor-picture", Lines).words


async def test_resume_and_stop_are_for_those_that_can(home: Path) -> None:
    some_runs(home)
    resumed: list[str] = []
    stopped: list[str] = []
    services = fixed_services(
        home,
        resume_run=lambda run: resumed.append(run.id),
        request=lambda run, kind: stopped.append(f"{kind} {run.id}"),
    )
    app = FinetuneApp(services, demo_session())
    async with app.run_test(size=(80, 24)) as pilot:
        await show(pilot, "runs")
        await pilot.press("r")  # the one that runs cannot be resumed
        await settle(pilot)
        assert resumed == []
        await pilot.press("S")
        await settle(pilot)
        assert isinstance(app.screen, AskScreen)
        await pilot.press("y")
        await settle(pilot)
        assert stopped == ["stop r3-demo"]
        await pilot.press("j", "r")
        await settle(pilot)
        assert resumed == ["r2-demo"]


async def test_p_pauses_the_run_under_the_cursor_and_lets_it_go_on(home: Path) -> None:
    some_runs(home)
    make_run(home, name="r4-demo", status=Status.PAUSED, phase="holding", why="held on request")
    make_run(home, name="r5-demo", status=Status.PAUSED, why="released", ended=NOW - 5)
    resumed: list[str] = []
    asked: list[str] = []
    services = fixed_services(
        home,
        resume_run=lambda run: resumed.append(run.short_id),
        request=lambda run, kind: asked.append(f"{kind} {run.short_id}"),
    )
    app = FinetuneApp(services, demo_session())
    async with app.run_test(size=(80, 24)) as pilot:
        await show(pilot, "runs")
        assert [row.split()[3:5] for row in rows(app)[:2]] == [["‖", "paused"]] * 2
        for _ in range(2):  # let go, then holding
            await pilot.press("p")
            await settle(pilot)
            await pilot.press("5", "j")
            await settle(pilot)
        assert resumed == ["r5", "r4"]
        await pilot.press("p", "h")
        await settle(pilot)
        assert asked == ["pause r3"]


async def test_no_runs_says_how_to_get_one(home: Path) -> None:
    app = FinetuneApp(fixed_services(home), demo_session())
    async with app.run_test(size=(80, 24)) as pilot:
        await show(pilot, "runs")
        details = app.query_one("#runs-details", Lines).words
        assert "no runs yet" in details
        assert "opens the demo" in details


async def test_ten_thousand_runs_read_only_what_is_seen(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = [RunDirectory(home / "runs" / f"r{number}") for number in range(10_000, 0, -1)]
    read: list[RunDirectory] = []

    def counted(run: RunDirectory, now: float) -> run_table.RunFacts:
        read.append(run)
        return read_facts(run, now)

    monkeypatch.setattr("finetune_tui.tui.screens.runs.read_facts", counted)
    app = FinetuneApp(fixed_services(home, list_runs=lambda: many), demo_session())
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        await app.action_show_place("runs")
        await settle(pilot)
        began = time.perf_counter()
        for _ in range(20):
            await pilot.press("j")
        await pilot.press("G")
        await settle(pilot)
        assert time.perf_counter() - began < 5
        assert app.query_one(RunTable).selected == many[-1]
        assert many[-1] in read
        assert len(set(read)) < 100


async def test_the_cursor_stays_on_its_run_when_a_new_one_comes(home: Path) -> None:
    some_runs(home)
    app = FinetuneApp(fixed_services(home), demo_session())
    async with app.run_test(size=(80, 24)) as pilot:
        await show(pilot, "runs")
        await pilot.press("j")
        make_run(home, name="r4-demo")
        await app.action_show_place("data")
        await show(pilot, "runs")
        table = app.query_one(RunTable)
        assert table.selected is not None
        assert table.selected.id == "r2-demo"
        assert len(table.runs) == 4


@pytest.mark.parametrize("width", [45, 80, 100, 120, 200])
def test_rows_line_up_under_the_header(home: Path, width: int) -> None:
    run = make_run(home, step=176, eval_loss=0.192, model="microsoft/phi-2")
    shown = run_line(run, read_facts(run, NOW), width, NOW)
    header = text_of(header_line(width))
    assert cells(shown) == cells(header_line(width)) <= width
    assert text_of(shown).index("▶") == header.index("STATUS")
    assert text_of(shown).index("176/300") == header.index("STEP")


def test_a_broken_folder_is_a_row_like_others(home: Path) -> None:
    run = RunDirectory(home / "runs" / "r9")
    run.path.mkdir(parents=True)
    run.state_path.write_text('{"status": "\x1b[31m')
    assert "✗ broken" in text_of(run_line(run, read_facts(run, NOW), 80, NOW))
