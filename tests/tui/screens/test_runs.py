"""The list of runs by keys and by mouse: filter, sort, marks, labels, the bin, undo."""

import time
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from finetune_tui.core.runs.bin import list_bin
from finetune_tui.core.runs.directory import RunDirectory, list_runs
from finetune_tui.core.runs.labels import change_labels, read_labels
from finetune_tui.core.runs.state import Status, write_state
from finetune_tui.core.tuning.spec import Spec
from finetune_tui.core.tuning.spec_file import write_spec
from finetune_tui.tui.app import FinetuneApp
from finetune_tui.tui.screens.ask import AskScreen
from finetune_tui.tui.screens.runs_list import RunList
from finetune_tui.tui.screens.train import TrainPlace
from finetune_tui.tui.session import Session
from finetune_tui.tui.widgets.lines import Lines, text_of
from finetune_tui.tui.widgets.run_table import RunTable
from finetune_tui.tui.widgets.status import Footline
from tests.tui.runs_fixture import (
    NOW,
    demo_session,
    fixed_services,
    make_run,
    preparation,
    show,
    training,
)
from tests.tui.screens.runs_scenes import hostile, press, quiet, several, write

SIZE = (80, 24)


def some_runs(home: Path) -> None:
    make_run(home, name="r1-demo", status=Status.FINISHED, step=300, eval_loss=0.113)
    make_run(home, name="r2-demo", status=Status.STOPPED, step=176, why="a stop was requested")
    make_run(home, [*preparation(), *training()], name="r3-demo", step=176, eval_loss=0.192)


def table(app: FinetuneApp) -> RunTable:
    return app.query_one(RunTable)


def rows(app: FinetuneApp) -> list[str]:
    return [text_of(table(app).line_at(index)) for index in range(table(app).count)]


def names(app: FinetuneApp) -> list[str]:
    return [facts.short_id for facts in table(app).runs]


def words(app: FinetuneApp, name: str) -> str:
    return app.query_one(f"#runs-{name}", Lines).words


async def click(pilot: Pilot[Any], name: str, text: str) -> None:
    """Click on these words of a part of the list."""
    lines = pilot.app.query_one(f"#runs-{name}", Lines)
    row = next(index for index, one in enumerate(lines.lines) if text in text_of(one))
    await pilot.click(lines, offset=(text_of(lines.lines[row]).index(text) + 1, row))
    await quiet(pilot)


async def test_the_newest_run_is_first_and_its_state_is_live(home: Path) -> None:
    some_runs(home)
    app = FinetuneApp(fixed_services(home), demo_session())
    async with app.run_test(size=SIZE) as pilot:
        await show(pilot, "runs")
        assert names(app) == ["r3", "r2", "r1"]
        assert "▶ running" in rows(app)[0]
        assert "176/300" in rows(app)[0]
        assert "■ stopped" in rows(app)[1]
        assert "✓ finished" in rows(app)[2]
        run = list_runs(home)[0]
        write_state(run.state_path, run.state().changed(step=190))
        app.query_one(RunList).look()
        await quiet(pilot)
        assert "190/300" in rows(app)[0]


async def test_enter_opens_the_monitor(home: Path) -> None:
    some_runs(home)
    app = FinetuneApp(fixed_services(home), demo_session())
    async with app.run_test(size=SIZE) as pilot:
        await show(pilot, "runs")
        await press(pilot, "j", "enter")
        assert app.place_name == "train"
        assert "r2 demo" in app.query_one("#monitor-picture", Lines).words
        await press(pilot, "5", "k", "enter")
        assert "r3 demo" in app.query_one("#monitor-picture", Lines).words


async def test_a_click_points_and_a_second_one_opens(home: Path) -> None:
    some_runs(home)
    app = FinetuneApp(fixed_services(home), demo_session())
    async with app.run_test(size=SIZE) as pilot:
        await show(pilot, "runs")
        await pilot.click(RunTable, offset=(10, 2))
        assert table(app).cursor == 2
        await pilot.click(RunTable, offset=(10, 2))
        await quiet(pilot)
        assert app.place_name == "train"
        assert "r1 demo" in app.query_one("#monitor-picture", Lines).words


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
    async with app.run_test(size=SIZE) as pilot:
        await show(pilot, "runs")
        await press(pilot, "r")  # the one that runs cannot be resumed
        assert resumed == []
        await press(pilot, "S")
        assert isinstance(app.screen, AskScreen)
        await press(pilot, "y")
        assert stopped == ["stop r3-demo"]
        await press(pilot, "j", "r")
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
    async with app.run_test(size=SIZE) as pilot:
        await show(pilot, "runs")
        assert all("‖ paused" in row for row in rows(app)[:2])
        for _ in range(2):  # let go, then holding
            await press(pilot, "p", "5", "j")
        assert resumed == ["r5", "r4"]
        await press(pilot, "p", "h")
        assert asked == ["pause r3"]


async def test_no_runs_says_how_to_get_one(home: Path) -> None:
    app = FinetuneApp(fixed_services(home), demo_session())
    async with app.run_test(size=SIZE) as pilot:
        await show(pilot, "runs")
        assert "no runs yet" in words(app, "details")
        assert "opens the demo" in words(app, "details")
        await press(pilot, "enter", "space", "c", "D", "X", "n", "a")  # nothing to do it with
        assert app.place_name == "runs"
        assert app.screen is app.screen_stack[0]


# Filter and sort


async def test_the_list_follows_the_filter_as_one_types(home: Path) -> None:
    several(home)
    app = FinetuneApp(fixed_services(home), demo_session())
    async with app.run_test(size=SIZE) as pilot:
        await show(pilot, "runs")
        await press(pilot, "slash", *"phi")
        assert names(app) == ["r2"]
        await press(pilot, "enter")
        assert "1 of 7 runs" in words(app, "title")
        assert "phi" in words(app, "title")
        await press(pilot, "escape")
        assert len(names(app)) == 6
        await press(pilot, "slash")
        await write(pilot, "tag:invoices -status:failed")
        assert names(app) == ["r7", "r2"]


async def test_digits_and_keys_typed_into_the_filter_stay_there(home: Path) -> None:
    several(home)
    app = FinetuneApp(fixed_services(home), demo_session())
    async with app.run_test(size=SIZE) as pilot:
        await show(pilot, "runs")
        await press(pilot, "slash")
        await pilot.press(*"2048 xXq")
        await quiet(pilot)
        assert app.place_name == "runs"
        assert app.query_one(RunList).filter_text == "2048 xXq"
        assert names(app) == []
        assert "no run matches '2048 xXq'" in words(app, "details")
        await press(pilot, "escape", "escape")
        assert len(names(app)) == 6


async def test_archived_runs_are_hidden_until_asked_for(home: Path) -> None:
    several(home)
    app = FinetuneApp(fixed_services(home), demo_session())
    async with app.run_test(size=SIZE) as pilot:
        await show(pilot, "runs")
        assert "r4" not in names(app)
        assert "1 archived" in words(app, "title")
        await click(pilot, "title", "1 archived")
        assert names(app) == ["r4"]
        await press(pilot, "a")
        assert names(app) == []
        await press(pilot, "A")
        assert "r4" in names(app)
        await press(pilot, "u")
        assert "r4" not in names(app)


async def test_s_and_the_heads_of_the_columns_sort(home: Path) -> None:
    several(home)
    app = FinetuneApp(fixed_services(home), demo_session())
    async with app.run_test(size=SIZE) as pilot:
        await show(pilot, "runs")
        newest = names(app)
        await press(pilot, "s")
        assert "oldest" in words(app, "title")
        assert names(app) == newest[::-1]
        await click(pilot, "header", "EVAL")
        assert "EVAL▴" in words(app, "header")
        assert names(app)[:3] == ["r1", "r2", "r7"]
        await click(pilot, "header", "MADE")
        assert names(app) == newest


# Marks


async def test_marks_are_the_glyphs_of_the_curves_in_order(home: Path) -> None:
    some_runs(home)
    app = FinetuneApp(fixed_services(home), demo_session())
    async with app.run_test(size=SIZE) as pilot:
        await show(pilot, "runs")
        await press(pilot, "j", "space", "k", "space")
        assert [row[:2] for row in rows(app)] == ["▲▌", "● ", "  "]
        assert "2 marked" in words(app, "title")
        await press(pilot, "space")
        assert [row[:2] for row in rows(app)] == ["▌ ", "● ", "  "]
        await press(pilot, "escape")
        assert [row[:2] for row in rows(app)] == ["▌ ", "  ", "  "]


async def test_a_range_marks_all_on_the_way(home: Path) -> None:
    some_runs(home)
    app = FinetuneApp(fixed_services(home), demo_session())
    async with app.run_test(size=SIZE) as pilot:
        await show(pilot, "runs")
        await press(pilot, "v", "j", "j", "v")
        assert [row[0] for row in rows(app)] == ["●", "▲", "■"]
        await press(pilot, "escape", "v", "k", "escape", "space")
        assert [row[0] for row in rows(app)] == [" ", "●", " "]


# Labels


async def test_name_note_and_tags_are_typed_and_undone(home: Path) -> None:
    some_runs(home)
    run = list_runs(home)[0]
    app = FinetuneApp(fixed_services(home), demo_session())
    async with app.run_test(size=(120, 36)) as pilot:
        await show(pilot, "runs")
        await press(pilot, "n")
        await write(pilot, "rank 16")
        assert "rank 16" in rows(app)[0]
        await press(pilot, "N")
        await write(pilot, "5 more")
        await press(pilot, "t")
        await write(pilot, "night, rank")
        assert "5 more" in words(app, "details")
        assert "#night #rank" in words(app, "details")
        labels = read_labels(run)
        assert (labels.name, labels.note, labels.tags) == ("rank 16", "5 more", ("night", "rank"))
        await press(pilot, "u")
        assert read_labels(run).tags == ()
        await press(pilot, "u", "u")
        assert read_labels(run).name == ""
        assert "rank 16" not in rows(app)[0]
        await press(pilot, "U")
        assert read_labels(run).name == "rank 16"


async def test_marked_runs_get_more_tags_and_lose_those_after_a_dash(home: Path) -> None:
    some_runs(home)
    first, second, third = list_runs(home)
    change_labels(first, tags=("old", "kept"))
    app = FinetuneApp(fixed_services(home), demo_session())
    async with app.run_test(size=SIZE) as pilot:
        await show(pilot, "runs")
        await press(pilot, "space", "j", "space", "t")
        await write(pilot, "new -old")
        assert read_labels(first).tags == ("kept", "new")
        assert read_labels(second).tags == ("new",)
        assert read_labels(third).tags == ()


async def test_what_cannot_be_a_tag_is_said_and_changes_nothing(home: Path) -> None:
    some_runs(home)
    app = FinetuneApp(fixed_services(home), demo_session())
    async with app.run_test(size=SIZE) as pilot:
        await show(pilot, "runs")
        await press(pilot, "t")
        await write(pilot, "good b$d")
        assert "'b$d' cannot be a tag" in app.query_one(Footline).words
        assert read_labels(list_runs(home)[0]).tags == ()
        await press(pilot, "u")
        assert "nothing to take back" in app.query_one(Footline).words


# The bin


async def test_deleting_asks_once_and_can_be_undone(home: Path) -> None:
    some_runs(home)
    app = FinetuneApp(fixed_services(home), demo_session())
    async with app.run_test(size=SIZE) as pilot:
        await show(pilot, "runs")
        await press(pilot, "G", "X", "n")
        assert len(list_runs(home)) == 3
        await press(pilot, "X")
        assert isinstance(app.screen, AskScreen)
        await press(pilot, "y")
        assert names(app) == ["r3", "r2"]
        assert [binned.id for binned in list_bin(home)] == ["r1-demo"]
        assert "u takes this back" in app.query_one(Footline).words
        await press(pilot, "u")
        assert names(app) == ["r3", "r2", "r1"]
        assert list_bin(home) == []
        await press(pilot, "U")
        assert names(app) == ["r3", "r2"]


async def test_of_marked_runs_those_that_live_stay(home: Path) -> None:
    some_runs(home)
    app = FinetuneApp(fixed_services(home), demo_session())
    async with app.run_test(size=SIZE) as pilot:
        await show(pilot, "runs")
        await press(pilot, "v", "G", "v", "X", "y")
        assert names(app) == ["r3"]
        assert "2 not" not in app.query_one(Footline).words
        assert "1 not" in app.query_one(Footline).words
        await press(pilot, "u")
        assert names(app) == ["r3", "r2", "r1"]


async def test_the_bin_shows_what_was_deleted_and_gives_it_back(home: Path) -> None:
    some_runs(home)
    app = FinetuneApp(fixed_services(home), demo_session())
    async with app.run_test(size=SIZE) as pilot:
        await show(pilot, "runs")
        await press(pilot, "G", "X", "y", "b")
        heading = app.query_one("#bin-title", Lines)
        assert "1 in the bin" in heading.words
        await press(pilot, "enter")
        assert "the bin is empty" in heading.words
        assert "r1-demo" in [run.id for run in list_runs(home)]
        await press(pilot, "u")
        assert "1 in the bin" in heading.words
        await press(pilot, "X", "y")
        assert "the bin is empty" in heading.words
        assert len(list_runs(home)) == 2
        await pilot.click(heading, offset=(text_of(heading.lines[0]).index("esc"), 0))
        await quiet(pilot)
        assert app.query_one(RunList).display
        assert names(app) == ["r3", "r2"]


# From here on


async def test_a_duplicate_is_the_spec_in_train(home: Path) -> None:
    several(home)
    app = FinetuneApp(fixed_services(home), demo_session())
    async with app.run_test(size=SIZE) as pilot:
        await show(pilot, "runs")
        await press(pilot, "enter", "5", "G", "k", "d")  # a run is being watched meanwhile
        assert app.place_name == "train"
        assert not app.query_one(TrainPlace).is_watching
        assert app.session.spec.lora_r == 32
        assert app.session.spec.name == "rank 32"
        assert app.session.spec.note is None


async def test_a_duplicate_whose_model_is_gone_is_told_in_words(home: Path, tmp_path: Path) -> None:
    run = make_run(home, status=Status.FINISHED)
    run.spec_path.write_text(write_spec(Spec(model_name_or_path=str(tmp_path / "gone"))))
    app = FinetuneApp(fixed_services(home), demo_session())
    async with app.run_test(size=SIZE) as pilot:
        await show(pilot, "runs")
        await press(pilot, "d")
        assert app.place_name == "runs"
        assert "there is no such folder" in " ".join(app.query_one(Footline).words.split())


@pytest.mark.parametrize(("pressed", "place"), [("n", "train"), ("o", "data")])
async def test_with_nothing_open_the_monitor_goes_on_from_the_runs_own_settings(
    home: Path, pressed: str, place: str
) -> None:
    several(home)
    app = FinetuneApp(fixed_services(home), Session())
    async with app.run_test(size=SIZE) as pilot:
        await show(pilot, "runs")
        await press(pilot, "G", "k", "enter", pressed)
        assert app.place_name == place
        assert app.session.reference is not None
        assert app.session.spec.lora_r == 32


async def test_a_run_without_a_spec_cannot_be_duplicated_and_says_so(home: Path) -> None:
    hostile(home)
    app = FinetuneApp(fixed_services(home), demo_session())
    async with app.run_test(size=SIZE) as pilot:
        await show(pilot, "runs")
        await press(pilot, "j", "d")
        assert app.place_name == "runs"
        assert "spec.yaml" in app.query_one(Footline).words


async def test_y_copies_the_name_and_capital_y_the_path(home: Path) -> None:
    some_runs(home)
    app = FinetuneApp(fixed_services(home), demo_session())
    async with app.run_test(size=SIZE) as pilot:
        await show(pilot, "runs")
        await press(pilot, "y")
        assert app.clipboard == "r3-demo"
        await press(pilot, "Y")
        assert app.clipboard == "home/runs/r3-demo"


# Many, new and strange ones


async def test_thousands_of_runs_are_there_at_once_and_moving_is_instant(home: Path) -> None:
    for number in range(1, 1501):
        run = RunDirectory(home / "runs" / f"r{number}")
        run.path.mkdir(parents=True)
        run.state_path.write_text(
            f'{{"status": "finished", "step": {number}, "created": {number}}}'
        )
    app = FinetuneApp(fixed_services(home), demo_session())
    async with app.run_test(size=SIZE) as pilot:
        await quiet(pilot)
        began = time.perf_counter()
        await app.action_show_place("runs")
        while not table(app).count:
            await pilot.pause(0.005)
        assert time.perf_counter() - began < 2  # measured 0.1 s; a busy machine has room
        assert names(app)[0] == "r1500"
        await quiet(pilot)
        assert table(app).count == 1500
        began = time.perf_counter()
        for _ in range(20):
            await pilot.press("j")
        await pilot.press("G")
        assert table(app).selected is table(app).runs[-1]
        assert time.perf_counter() - began < 5


async def test_the_cursor_stays_on_its_run_when_a_new_one_comes(home: Path) -> None:
    some_runs(home)
    app = FinetuneApp(fixed_services(home), demo_session())
    async with app.run_test(size=SIZE) as pilot:
        await show(pilot, "runs")
        await press(pilot, "j")
        make_run(home, name="r4-demo")
        await press(pilot, "3", "5")
        selected = table(app).selected
        assert selected is not None
        assert selected.id == "r2-demo"
        assert len(names(app)) == 4


async def test_strange_folders_are_listed_as_what_they_are(home: Path) -> None:
    hostile(home)
    app = FinetuneApp(fixed_services(home), demo_session())
    async with app.run_test(size=SIZE) as pilot:
        await show(pilot, "runs")
        shown = {facts.id[:5]: facts.status for facts in table(app).runs}
        assert shown == {
            "r1-de": Status.FINISHED,
            "r2": Status.BROKEN,
            "r3-fr": Status.NEWER,
            "r9-xx": Status.FOREIGN,
            "photo": Status.FOREIGN,
            "loop": Status.BROKEN,
        }
        assert "\x1b" not in "".join(rows(app))
        for _ in range(5):  # none of what can be done with a run harms
            await pilot.press("j", "r", "p", "S", "n", "escape", "c")
            await press(pilot, "escape", "enter", "5")
        assert sorted(path.name for path in (home / "runs" / "r9-xx").glob("*")) == []
