"""The queue and the command that runs when a run ends, by keys and by mouse."""

from pathlib import Path
from typing import Any

from textual.pilot import Pilot

from finetune_tui.core.runs.hook import HookResult
from finetune_tui.core.runs.queue import ItemStatus, enqueue, list_queue
from finetune_tui.core.settings import Settings
from finetune_tui.core.tuning.spec import demo_spec
from finetune_tui.tui.app import FinetuneApp
from finetune_tui.tui.screens.queue import QueueView
from finetune_tui.tui.widgets.lines import Lines, text_of
from finetune_tui.tui.widgets.rows import Rows
from finetune_tui.tui.widgets.status import Footline
from tests.tui.runs_fixture import NOW, demo_session, fixed_services, show
from tests.tui.screens.runs_scenes import press, queued, quiet, write

SIZE = (80, 24)


def ids(home: Path) -> list[str]:
    return [item.id for item in list_queue(home).items]


def rows(app: FinetuneApp) -> Rows:
    return app.query_one("#queue-rows", Rows)


def shown(app: FinetuneApp) -> list[str]:
    return [text_of(rows(app).line_at(index)) for index in range(rows(app).count)]


def title(app: FinetuneApp) -> str:
    return app.query_one("#queue-title", Lines).words


async def click_row(pilot: Pilot[Any], app: FinetuneApp, row: int, text: str) -> None:
    await pilot.click("#queue-rows", offset=(shown(app)[row].index(text), row))
    await quiet(pilot)


async def test_the_queue_lists_what_runs_waits_and_failed(home: Path) -> None:
    queued(home)
    app = FinetuneApp(fixed_services(home), demo_session())
    async with app.run_test(size=SIZE) as pilot:
        await show(pilot, "runs")
        await press(pilot, "Q")
        assert [row.strip("▌ ").split()[0] for row in shown(app)] == ["q1", "q2", "q3", "q4", "q5"]
        assert "▶ r7" in shown(app)[0]
        assert "✗ failed" in shown(app)[4]
        assert "3 waiting" in title(app)
        await press(pilot, "G")
        assert "no such file" in app.query_one("#queue-details", Lines).words
        await press(pilot, "g", "enter")
        assert app.place_name == "train"
        assert "r7" in app.query_one("#monitor-picture", Lines).words


async def test_an_empty_queue_says_what_fills_it(home: Path) -> None:
    app = FinetuneApp(fixed_services(home), demo_session())
    async with app.run_test(size=SIZE) as pilot:
        await show(pilot, "runs")
        await press(pilot, "Q", "J", "K", "X", "r", "enter")
        assert "the queue is empty" in title(app)
        assert "puts its settings here" in app.query_one("#queue-details", Lines).words


async def test_items_are_moved_by_keys_and_taken_back(home: Path) -> None:
    queued(home)
    app = FinetuneApp(fixed_services(home), demo_session())
    async with app.run_test(size=SIZE) as pilot:
        await show(pilot, "runs")
        await press(pilot, "Q", "j", "J")
        assert ids(home) == ["q1", "q3", "q2", "q4", "q5"]
        assert rows(app).cursor == 2  # it stays on what moved
        await press(pilot, "J", "K", "K")
        assert ids(home) == ["q1", "q2", "q3", "q4", "q5"]
        await press(pilot, "u")
        assert ids(home) == ["q1", "q3", "q2", "q4", "q5"]


async def test_items_are_moved_and_removed_by_mouse(home: Path) -> None:
    queued(home)
    app = FinetuneApp(fixed_services(home), demo_session())
    async with app.run_test(size=SIZE) as pilot:
        await show(pilot, "runs")
        await press(pilot, "Q")
        await click_row(pilot, app, 3, "▲")
        assert ids(home) == ["q1", "q2", "q4", "q3", "q5"]
        await click_row(pilot, app, 1, "▼")
        assert ids(home) == ["q1", "q4", "q2", "q3", "q5"]
        await click_row(pilot, app, 4, "✕")
        assert ids(home) == ["q1", "q4", "q2", "q3"]


async def test_what_was_removed_comes_back(home: Path) -> None:
    queued(home)
    app = FinetuneApp(fixed_services(home), demo_session())
    async with app.run_test(size=SIZE) as pilot:
        await show(pilot, "runs")
        await press(pilot, "Q", "X")  # what runs is not removed
        assert len(ids(home)) == 5
        await press(pilot, "j", "X")
        assert ids(home) == ["q1", "q3", "q4", "q5"]
        await press(pilot, "u")
        assert ids(home) == ["q1", "q2", "q3", "q4", "q5"]


async def test_a_failed_one_waits_again(home: Path) -> None:
    queued(home)
    app = FinetuneApp(fixed_services(home), demo_session())
    async with app.run_test(size=SIZE) as pilot:
        await show(pilot, "runs")
        await press(pilot, "Q", "G", "r")
        assert list_queue(home).item("q5").status is ItemStatus.WAITING


async def test_a_queue_that_nobody_works_off_can_be_started(home: Path) -> None:
    enqueue(home, demo_spec())
    started: list[str] = []
    services = fixed_services(home, start_queue=lambda: started.append("started"))
    app = FinetuneApp(services, demo_session())
    async with app.run_test(size=SIZE) as pilot:
        await show(pilot, "runs")
        await press(pilot, "Q")
        assert "does not run" in title(app)
        await press(pilot, "s")
        assert started == ["started"]


async def test_the_queue_is_looked_at_again_while_it_is_seen(home: Path) -> None:
    app = FinetuneApp(fixed_services(home), demo_session())
    async with app.run_test(size=SIZE) as pilot:
        await show(pilot, "runs")
        await press(pilot, "Q")
        enqueue(home, demo_spec())
        app.query_one(QueueView).refresh_from_session()
        await quiet(pilot)
        assert "1 waiting" in title(app)


async def test_train_puts_its_settings_in_the_queue(home: Path) -> None:
    home.joinpath("rows.jsonl").write_text('{"prompt": "a", "completion": "b"}\n' * 40)
    session = demo_session()
    session.change_spec(train_files=[str(home / "rows.jsonl")], lora_r=32)
    app = FinetuneApp(fixed_services(home), session)
    async with app.run_test(size=SIZE) as pilot:
        await show(pilot, "train")
        await press(pilot, "Q")
        assert "q1 is in the queue" in app.query_one(Footline).words
        assert ids(home) == ["q1"]


# When a run ends


def hook_words(app: FinetuneApp) -> str:
    return app.query_one("#on-end", Lines).words


async def test_the_command_is_chosen_tested_and_taken_out(home: Path) -> None:
    settings: dict[str, str | None] = {"on_end": None}
    tested: list[str] = []

    def change(name: str, value: Any) -> Settings:
        settings[name] = value
        return read()

    def read() -> Settings:
        return Settings(home / "settings.yaml", on_end=settings["on_end"])

    def try_hook(command: str) -> HookResult:
        tested.append(command)
        return HookResult(NOW, 3, "exit code 3", 0.1)

    services = fixed_services(home, read_settings=read, change_setting=change, try_hook=try_hook)
    app = FinetuneApp(services, demo_session())
    async with app.run_test(size=SIZE) as pilot:
        await show(pilot, "runs")
        await press(pilot, "E")
        assert "nothing is run" in hook_words(app)
        await press(pilot, "t")
        assert tested == []
        await press(pilot, "enter")
        await write(pilot, "notify 2048")
        assert read().on_end == "notify 2048"
        assert app.place_name == "runs"
        assert "never tested" in hook_words(app)
        await press(pilot, "t")
        assert tested == ["notify 2048"]
        await press(pilot, "enter")
        await pilot.press(*["backspace"] * 11)
        await write(pilot, "")
        assert read().on_end is None
        await press(pilot, "escape")
        assert not app.query_one("#runs-on_end").display


async def test_it_says_when_it_was_last_tested_and_how_that_went(
    home: Path, monkeypatch: Any
) -> None:
    results = {"ok": HookResult(NOW - 7200, 0, "ran in 0.2 s", 0.2)}
    monkeypatch.setattr(
        "finetune_tui.tui.screens.on_end.last_test", lambda _home, command: results.get(command)
    )
    settings = Settings(home / "settings.yaml", on_end="ok", problems=("line 3: no setting",))
    app = FinetuneApp(fixed_services(home, read_settings=lambda: settings), demo_session())
    async with app.run_test(size=SIZE) as pilot:
        await show(pilot, "runs")
        await press(pilot, "E")
        assert "✓ tested 2h00 ago: ran in 0.2 s" in hook_words(app)
        assert "line 3: no setting" in hook_words(app)
        lines = app.query_one("#on-end", Lines)
        row = next(i for i, one in enumerate(lines.lines) if "test it" in text_of(one))
        results["ok"] = HookResult(NOW, 1, "exit code 1", 0.2)
        await pilot.click(lines, offset=(text_of(lines.lines[row]).index("test it"), row))
        await quiet(pilot)
        assert "✗ tested 0s ago: exit code 1" in hook_words(app)
