"""The result of a comparison by keys and by mouse: figures, verdicts, rows, words, tabs."""

from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from finetune_tui.core.evidence.comparison import Verdict
from finetune_tui.core.evidence.scoring import AnsweredRow
from finetune_tui.core.runs.state import Status
from finetune_tui.tui.app import FinetuneApp
from finetune_tui.tui.screens.comparison import ComparisonView
from finetune_tui.tui.widgets.lines import Lines, text_of
from finetune_tui.tui.widgets.rows import Rows
from tests.tui.comparison_fixture import compare_run, compared_home, orders, write_result
from tests.tui.runs_fixture import NOW, demo_session, fixed_services, make_run, show
from tests.tui.screens.runs_scenes import press, quiet, write

SMALL, WIDE, PHONE = (80, 24), (120, 36), (45, 20)


def shown(app: FinetuneApp, part: str) -> str:
    return app.query_one(f"#comparison-{part}", Lines).words


def rows(app: FinetuneApp) -> list[str]:
    table = app.query_one("#comparison-rows", Rows)
    lines = (text_of(table.line_at(index)) for index in range(table.count))
    return [one.replace("▌", " ", 1).rstrip() for one in lines]


async def opened(pilot: Pilot[Any], *keys: str) -> None:
    await show(pilot, "runs")
    await press(pilot, "R", *keys)


async def click(pilot: Pilot[Any], part: str, text: str) -> None:
    lines = pilot.app.query_one(f"#comparison-{part}", Lines)
    found = lines.words.splitlines()
    row = next(index for index, one in enumerate(found) if text in one)
    await pilot.click(lines, offset=(found[row].index(text) + 1, row - lines.scroll_offset.y))
    await quiet(pilot)


def app_of(home: Path) -> FinetuneApp:
    return FinetuneApp(fixed_services(home), demo_session())


async def test_figures_with_their_intervals_and_rows_by_verdict(home: Path) -> None:
    compared_home(home)
    app = app_of(home)
    async with app.run_test(size=SMALL) as pilot:
        await show(pilot, "runs")
        await press(pilot, "j", "R")  # of the trained run
        top = shown(app, "top")
        assert "r1─base against tuned─r9" in top
        assert "exact match      10% 7–15      96% 93–98   ▲ +86 +80…+90" in top
        assert "field F1         .40" in top
        assert "fixed 209" in top
        assert len(rows(app)) == 240
        assert rows(app)[0].startswith(" ▲ fixed          1  Order: 51 chairs")
        await press(pilot, "right", "right")
        assert "[regressed 3]" in shown(app, "top")
        assert [row[:12].strip() for row in rows(app)] == ["▼ regressed"] * 3
        await click(pilot, "top", "both wrong 6")
        assert len(rows(app)) == 6
        await press(pilot, "right")
        assert "[all 240]" in shown(app, "top")
        await press(pilot, "left", "escape")
        assert len(rows(app)) == 240
        await press(pilot, "escape")
        assert app.query_one("#runs-table").display


async def test_a_row_is_read_in_full_with_what_differs_underlined(home: Path) -> None:
    compared_home(home)
    app = app_of(home)
    async with app.run_test(size=SMALL) as pilot:
        await show(pilot, "runs")
        await press(pilot, "enter", "left", "enter")  # of the comparison itself
        page = app.query_one("#comparison-page", Lines)
        assert "both wrong" in page.words
        assert "exact ✗ → ✗" in page.words
        assert "orders.jsonl:1765" in page.words
        under = {span.text for one in page.lines for span in one if span.style == "under"}
        assert {"Ghent", "Porto"} <= under
        await press(pilot, "right")
        assert "orders.jsonl:1815" in page.words
        await press(pilot, "escape", "escape")
        assert "row 55 of 240" in shown(app, "row")  # the same one among all
        await press(pilot, "g")
        for _ in range(2):
            await pilot.click("#comparison-rows", offset=(20, 2))
            await quiet(pilot)
        assert "row 3 of 240" in page.words
        await press(pilot, "y")
        copied = (home / "copied.txt").read_text()
        assert copied.startswith("prompt:\nOrder: 65 rugs")
        assert 'tuned:\n{"sku": "rug", "qty": 65' in copied


@pytest.mark.soak
async def test_answers_stand_beside_each_other_where_there_is_room(home: Path) -> None:
    compared_home(home)
    app = app_of(home)
    async with app.run_test(size=WIDE) as pilot:
        await opened(pilot, "enter")
        heads = next(one for one in shown(app, "page").splitlines() if "expected" in one)
        assert "base ✗" in heads
        assert "tuned ✓" in heads


async def test_on_a_phone_the_place_where_an_answer_differs_is_seen(home: Path) -> None:
    compared_home(home)
    app = app_of(home)
    async with app.run_test(size=PHONE) as pilot:
        await opened(pilot)
        assert '… "to": "Ghent"}' in shown(app, "row")
        assert '… "to": "Athens"}' in shown(app, "row")


async def test_words_are_found_in_every_row_and_verdicts_hold_among_them(home: Path) -> None:
    compared_home(home)
    app = app_of(home)
    async with app.run_test(size=SMALL) as pilot:
        await opened(pilot, "slash")
        await write(pilot, "LAMP")
        found = rows(app)
        assert 0 < len(found) < 240
        assert f"LAMP  in {len(found)} of them" in shown(app, "top")
        await press(pilot, "right")
        assert 0 < len(rows(app)) < len(found)
        await press(pilot, "escape")
        assert len(rows(app)) == 240
        await press(pilot, "slash")
        await write(pilot, "nobody 12")
        assert rows(app) == []
        assert "no row is like that" in shown(app, "row")
        assert app.place_name == "runs"


async def test_what_was_forgotten_is_a_tab(home: Path) -> None:
    compared_home(home)
    app = app_of(home)
    async with app.run_test(size=SMALL) as pilot:
        await opened(pilot, "right_square_bracket")
        assert "[forgotten 60]" in shown(app, "top")
        assert "regressed 8" in shown(app, "top")
        assert len(rows(app)) == 60
        await press(pilot, "right_square_bracket")
        assert "sku" in shown(app, "page")
        await press(pilot, "right_square_bracket")
        assert "the expected text, white space around it aside" in " ".join(
            shown(app, "page").split()
        )
        await click(pilot, "top", "held out")
        assert len(rows(app)) == 240


async def test_several_comparisons_are_chosen_from(home: Path) -> None:
    trained, _ = compared_home(home)
    other = compare_run(home, trained, name="r10-compare-r1", status=Status.FINISHED)
    write_result(trained, other, orders(40), [], ("exact",), created=NOW - 100)
    app = app_of(home)
    async with app.run_test(size=SMALL) as pilot:
        await show(pilot, "runs")
        await press(pilot, "G", "R")
        assert "r10" in shown(app, "top")
        assert "1 of 2" in shown(app, "top")
        assert len(rows(app)) == 40
        await press(pilot, "c", "2")
        assert "─r9" in shown(app, "top")
        assert len(rows(app)) == 240


async def test_a_checkpoint_that_stood_in_for_the_result_is_named(home: Path) -> None:
    trained, run = compared_home(home)
    write_result(trained, run, orders(40), [], ("exact",), step=120)
    app = app_of(home)
    async with app.run_test(size=SMALL) as pilot:
        await opened(pilot, "left_square_bracket")
        assert "base against the checkpoint at step 120" in shown(app, "top")
        told = " ".join(shown(app, "page").split())
        assert "the checkpoint at step 120, for the run has no result of its own" in told


async def test_without_a_comparison_it_says_what_to_do(home: Path) -> None:
    run = make_run(home, name="r1-demo", status=Status.FINISHED)
    run.adapter.mkdir()
    app = app_of(home)
    async with app.run_test(size=SMALL) as pilot:
        await opened(pilot, "enter", "y", "right", "slash", "right_square_bracket", "j")
        assert "No comparison of this run yet." in shown(app, "page")
        await click(pilot, "page", "compare base and tuned")
        assert "compare r1" in app.query_one("#compare-title", Lines).words


async def test_broken_files_are_said_and_break_nothing(home: Path) -> None:
    trained, _ = compared_home(home)
    folder = trained.path / "comparisons" / "r9"
    (folder / "rows.jsonl").write_text("{\n" * 240)
    app = app_of(home)
    async with app.run_test(size=SMALL) as pilot:
        await opened(pilot, "j", "enter")
        assert "a row of this comparison is broken" in shown(app, "row")
        (folder / "index.json").write_text("[]")
        await press(pilot, "escape", "R")
        assert "this is no index of a comparison" in shown(app, "row")


async def test_foreign_text_never_reaches_the_terminal(home: Path) -> None:
    trained = make_run(home, name="r1-demo", status=Status.FINISHED)
    by = compare_run(home, trained, status=Status.FINISHED)
    row = AnsweredRow(0, "a.jsonl:1", "hi \x1b[2J", "yes\x07", "\x1b]0;pwned\x07no", "yes\x07")
    write_result(trained, by, [row], [], ("exact",))
    app = app_of(home)
    async with app.run_test(size=SMALL) as pilot:
        await opened(pilot, "enter")
        for part in ("top", "page", "row"):
            text = shown(app, part)
            assert not {"\x1b", "\x07"} & set(text)
        assert "no" in shown(app, "page")


@pytest.mark.soak
async def test_ten_thousand_rows_open_at_once(home: Path) -> None:
    trained = make_run(home, name="r1-demo", status=Status.FINISHED)
    by = compare_run(home, trained, status=Status.FINISHED)
    write_result(trained, by, orders(10_000), [], ("exact",))
    app = app_of(home)
    async with app.run_test(size=SMALL) as pilot:
        await opened(pilot)
        assert len(rows(app)[:1]) == 1
        await press(pilot, "G")
        assert "row 10,000 of 10,000" in shown(app, "row")
        assert app.query_one(ComparisonView).row is not None
        await press(pilot, "left")
        assert all(row.strip().startswith("✗") for row in rows(app)[:5])
        assert Verdict.BOTH_WRONG is app.query_one(ComparisonView).shown.verdict
