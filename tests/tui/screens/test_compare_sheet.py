"""The sheet before a comparison, and comparisons and exports among the runs."""

from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from finetune_tui.core.errors import UserError
from finetune_tui.core.runs.directory import RunDirectory
from finetune_tui.core.runs.queue import QueueItem
from finetune_tui.core.runs.state import Status
from finetune_tui.core.tuning.task_spec import CompareSpec
from finetune_tui.tui.app import FinetuneApp
from finetune_tui.tui.screens.ask import AskScreen
from finetune_tui.tui.screens.compare_sheet import CompareForm, CompareView
from finetune_tui.tui.widgets.field_form import FieldInput
from finetune_tui.tui.widgets.lines import Lines, text_of
from finetune_tui.tui.widgets.run_table import RunTable
from finetune_tui.tui.widgets.status import Footline
from tests.tui.comparison_fixture import asking, compare_run, compared_home
from tests.tui.runs_fixture import demo_session, fixed_services, make_run, show
from tests.tui.screens.runs_scenes import press, quiet, write

SMALL = (80, 24)


def finished(home: Path) -> RunDirectory:
    run = make_run(home, name="r1-demo", status=Status.FINISHED, step=300)
    run.adapter.mkdir()
    return run


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[CompareSpec]:
    """What was started or put in the queue; data and rules are checked elsewhere."""
    monkeypatch.setattr("finetune_tui.tui.screens.compare_sheet.check_compare", lambda *_: None)
    return []


def app_of(home: Path, started: list[CompareSpec]) -> FinetuneApp:
    def start(spec: Any) -> RunDirectory:
        started.append(spec)
        return compare_run(home, RunDirectory(Path(spec.run)), asking())

    def queue(spec: Any) -> QueueItem:
        started.append(spec)
        return QueueItem("q3", "compare r1", home)

    services = fixed_services(home, start_task=start, enqueue_task=queue)
    return FinetuneApp(services, demo_session())


def sheet(app: FinetuneApp) -> str:
    return app.query_one("#form-rows", Lines).words


async def select(pilot: Pilot[Any], name: str) -> None:
    form = pilot.app.query_one(CompareForm)
    while form.field_name != name:
        await pilot.press("j")


async def test_c_and_enter_compare_with_what_fits(home: Path, started: list[CompareSpec]) -> None:
    run = finished(home)
    app = app_of(home, started)
    async with app.run_test(size=SMALL) as pilot:
        await show(pilot, "runs")
        await press(pilot, "C", "enter")
        assert [(spec.run, spec.rows, spec.metrics) for spec in started] == [
            (str(run.path.absolute()), 200, ())
        ]
        assert started[0].use_cpu  # there is no GPU here
        assert app.place_name == "train"
        picture = app.query_one("#monitor-picture", Lines).words
        assert "r9 compare r1" in picture
        assert "asking tuned" in picture
        assert "96/300 answers" in picture
        assert "[log]─config─output" in picture
        assert "before the first step" not in picture


async def test_every_key_is_edited_with_help_and_refused_in_words(
    home: Path, started: list[CompareSpec]
) -> None:
    finished(home)
    app = app_of(home, started)
    async with app.run_test(size=SMALL) as pilot:
        await show(pilot, "runs")
        await press(pilot, "C")
        view, words = app.query_one(CompareView), app.query_one("CompareForm #form-words", Lines)
        await select(pilot, "metrics")
        assert "exact, json, schema" in words.words
        await press(pilot, "enter")
        app.query_one("CompareForm FieldInput", FieldInput).value = ""
        await write(pilot, "exakt")
        assert "did you mean 'exact'?" in " ".join(words.words.split())
        app.query_one("CompareForm FieldInput", FieldInput).value = ""
        await write(pilot, "json, exact")
        assert list(view.spec.metrics) == ["json", "exact"]
        await press(pilot, "backspace", "right")
        assert list(view.spec.metrics) == ["exact"]
        await select(pilot, "rows")
        await press(pilot, "enter")
        await write(pilot, "50")
        assert view.spec.rows == 50
        assert app.place_name == "runs"
        await press(pilot, "Q")
        assert "q3 is in the queue" in app.query_one(Footline).words
        assert [spec.rows for spec in started] == [50]
        await press(pilot, "escape")
        assert app.query_one(RunTable).display


async def test_what_cannot_be_compared_says_why(
    home: Path, started: list[CompareSpec], monkeypatch: pytest.MonkeyPatch
) -> None:
    make_run(home, name="r1-demo", step=100)
    app = app_of(home, started)

    def refuse(*_: object) -> None:
        raise UserError("no row can be asked", where="notes.txt")

    async with app.run_test(size=SMALL) as pilot:
        await show(pilot, "runs")
        await press(pilot, "C")
        assert "r1 has no result yet" in app.query_one(Footline).words
        RunDirectory(home / "runs" / "r1-demo").adapter.mkdir()
        monkeypatch.setattr("finetune_tui.tui.screens.compare_sheet.check_compare", refuse)
        await press(pilot, "C", "enter")
        assert "notes.txt: no row can be asked" in app.query_one(Footline).words
        assert started == []


async def test_a_comparison_is_a_run_among_the_others(
    home: Path, started: list[CompareSpec]
) -> None:
    trained, over = compared_home(home)
    live = compare_run(home, trained, asking(), name="r10-compare-r1", step=396, total_steps=600)
    app = app_of(home, started)
    async with app.run_test(size=SMALL) as pilot:
        await show(pilot, "runs")
        table = app.query_one(RunTable)
        rows = [text_of(table.line_at(at)) for at in range(table.count)]
        assert "compare r1" in rows[0]
        assert "396/600" in rows[0]
        assert "compare r1" in rows[1]
        await press(pilot, "slash")
        await write(pilot, "task:compare")
        assert [facts.run for facts in table.runs] == [live, over]
        await press(pilot, "c")
        assert "no curves" in app.query_one(Footline).words
        await press(pilot, "p", "S")
        assert isinstance(app.screen, AskScreen)
        assert "r starts it again" in app.screen.query_one(Lines).words
        await press(pilot, "escape", "escape", "G")  # the trained run
        await pilot.pause(0.2)  # what was compared is read when the cursor rests
        await quiet(pilot)
        assert "exact match 10% → 96%, 209 fixed" in app.query_one("#runs-details", Lines).words
        await press(pilot, "k")
        assert "10% → 96% on 240 rows" in app.query_one("#runs-details", Lines).words
        await press(pilot, "space", "k", "space", "D")
        told = " ".join(app.query_one("#difference", Lines).words.split())
        assert "a comparison, not a training" in told
        await press(pilot, "escape", "j", "d")  # its settings again
        assert app.query_one(CompareView).spec.forget_files == ("/data/questions.jsonl",)
        assert "…tions.jsonl" in sheet(app)


async def test_the_monitor_says_what_a_comparison_found(
    home: Path, started: list[CompareSpec]
) -> None:
    compared_home(home)
    app = app_of(home, started)
    async with app.run_test(size=SMALL) as pilot:
        await show(pilot, "runs")
        await press(pilot, "w")
        picture = app.query_one("#monitor-picture", Lines).words
        assert "exact match   10% → 96%  ▲ +86 +80…+90" in picture
        assert "209 fixed · 3 regressed" in picture
        assert "8 of 54 that the base had right, 15%" in picture
        assert "✗ saving" not in picture
        await press(pilot, "right_square_bracket", "right_square_bracket", "p", "c", "P")
        assert app.place_name == "train"
        await press(pilot, "R")
        assert "[held out 240]" in app.query_one("#comparison-top", Lines).words
