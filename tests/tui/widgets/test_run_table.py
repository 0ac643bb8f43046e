from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from textual.app import App, ComposeResult

from finetune_tui.core.runs.directory import RunDirectory
from finetune_tui.core.runs.listing import RunFacts
from finetune_tui.core.runs.liveness import Liveness
from finetune_tui.core.runs.state import Status
from finetune_tui.tui.screens.runs_lines import detail_lines
from finetune_tui.tui.themes import FALLBACKS
from finetune_tui.tui.widgets.lines import cells, text_of
from finetune_tui.tui.widgets.run_table import (
    RunTable,
    columns_for,
    header_line,
    needs_of,
    run_line,
)

NOW = 1_767_225_600.0


def facts(folder: str = "r7-demo", **values: object) -> RunFacts:
    status = Status(values.pop("status", "running"))  # type: ignore[arg-type]
    return RunFacts(RunDirectory(Path("runs") / folder), Liveness(status, ""), **values)  # type: ignore[arg-type]


@pytest.mark.parametrize("width", [45, 80, 100, 120, 200])
def test_rows_line_up_under_the_header(width: int) -> None:
    shown = run_line(facts(model="microsoft/phi-2", step=176, total_steps=300), width, NOW)
    header = text_of(header_line(width))
    assert cells(shown) == cells(header_line(width)) <= width
    assert text_of(shown).index("▶") == header.index("STATUS")
    assert text_of(shown).index("176/300") == header.index("STEP")


@given(
    st.text(max_size=80),
    st.text(max_size=80),
    st.integers(40, 250),
    st.sampled_from(Status),
    st.none() | st.integers(0, 20),
    st.none() | st.integers(0, 10**12),
)
def test_whatever_a_run_says_its_row_is_as_wide_as_the_header(
    name: str, model: str, width: int, status: Status, place: int | None, step: int | None
) -> None:
    made = facts(name=name, model=model, status=status, step=step, tags=(name,), note=model)
    assert cells(run_line(made, width, NOW, place)) == cells(header_line(width))


@given(st.integers(45, 250))
def test_the_columns_fill_the_width(width: int) -> None:
    columns = columns_for(width).cells
    assert sum(columns.values()) + 2 == width
    assert all(size > 1 for size in columns.values())
    assert {"run", "name", "status", "step"} <= set(columns)


def test_name_tags_and_note_have_columns_where_there_is_room() -> None:
    made = facts(name="rank 16", tags=("night", "invoices"), note="try more steps")
    assert "rank 16" in text_of(run_line(made, 80, NOW))
    assert "night invo" in text_of(run_line(made, 120, NOW))
    assert "try more steps" in text_of(run_line(made, 200, NOW))


def test_a_run_without_a_name_shows_its_folders_own() -> None:
    assert "demo" in text_of(run_line(facts(), 80, NOW))
    assert "by-hand" in text_of(run_line(facts("by-hand"), 80, NOW))


def test_an_arrow_stands_where_it_is_sorted() -> None:
    assert "MADE▾" in text_of(header_line(80, "newest"))
    assert "MADE▴" in text_of(header_line(80, "oldest"))
    assert "EVAL▴" in text_of(header_line(80, "best loss"))
    assert sum(text_of(header_line(200, "model")).count(arrow) for arrow in "▾▴") == 1


def test_a_mark_beyond_the_sixth_is_a_plus() -> None:
    assert [text_of(run_line(facts(), 80, NOW, place))[0] for place in (0, 5, 6)] == list("●□+")


def test_a_column_that_needs_less_leaves_it_to_one_that_needs_more() -> None:
    runs = [facts(preset="attention-refinement", model="demo"), facts(model="demo")]
    needs = needs_of(runs, 120)
    assert "attention-refinement" in text_of(run_line(runs[0], 120, NOW, needs=needs))
    assert "attention-refinement" not in text_of(run_line(runs[0], 120, NOW))
    assert cells(header_line(120, needs=needs)) == cells(header_line(120))


@given(
    st.integers(45, 250),
    st.dictionaries(
        st.sampled_from(["name", "model", "preset", "tags", "note"]), st.integers(1, 300)
    ),
)
def test_columns_fill_the_width_whatever_they_need(width: int, needs: dict[str, int]) -> None:
    columns = columns_for(width, needs).cells
    assert all(size > 0 for size in columns.values())
    assert sum(columns.values()) == sum(columns_for(width).cells.values())


async def test_the_cursor_is_seen_without_colours() -> None:
    class Host(App[None]):
        def get_theme_variable_defaults(self) -> dict[str, str]:
            return FALLBACKS

        def compose(self) -> ComposeResult:
            yield RunTable(id="table")

    async with Host().run_test(size=(80, 10)) as pilot:
        table = pilot.app.query_one(RunTable)
        table.show_runs([facts(), facts("r2-other")], NOW)
        table.marks.append(table.runs[1].run)
        assert [text_of(table.line_at(row))[:2] for row in (0, 1)] == ["▌ ", "● "]
        table.point(1)
        assert [text_of(table.line_at(row))[:2] for row in (0, 1)] == ["  ", "●▌"]


@pytest.mark.parametrize("note", ["", "forgets the currency; try more steps"])
def test_the_run_under_the_cursor_is_told_of_in_whole_parts_and_can_be_labelled(note: str) -> None:
    made = facts(
        status="stopped",
        best_eval_loss=3.7e-4,
        best_step=200,
        started=NOW - 700,
        ended=NOW - 60,
        note=note,
    )
    shown = [text_of(one).rstrip() for one in detail_lines(made, 70, 4, "1 of 2", NOW)]
    assert shown[1] == " stopped:  · best 3.7e-4 at step 200 · ended 31 Dec 23:59"
    assert note in shown[2]
    assert "n name  N note  t tags" in shown[2]
