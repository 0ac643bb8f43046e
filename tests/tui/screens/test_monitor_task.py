"""How comparisons and exports are told: in the monitor, the log, the list, and on return."""

from pathlib import Path
from typing import Any

import pytest

from finetune_tui.core.runs.arranging import Filter
from finetune_tui.core.runs.directory import list_runs
from finetune_tui.core.runs.listing import read_facts
from finetune_tui.core.runs.state import Status
from finetune_tui.core.runs.words import event_words
from finetune_tui.tui.returning import look_back
from finetune_tui.tui.screens.following import Following, RunReader
from finetune_tui.tui.screens.monitor_lines import name_line, outcome_lines, outcome_title
from finetune_tui.tui.screens.monitor_phases import phase_lines
from finetune_tui.tui.screens.monitor_task import task_outcome
from finetune_tui.tui.widgets.lines import Line, cells, text_of
from tests.tui.comparison_fixture import asking
from tests.tui.runs_fixture import NOW, Event, make_run, started

COMPARED: Event = {
    "t": NOW - 2,
    "kind": "compared",
    "rows": 240,
    "judged_by": "exact",
    "title": "exact match",
    "fixed": 209,
    "regressed": 3,
    "both_right": 22,
    "both_wrong": 6,
    "base": {"value": 0.1, "low": 0.07, "high": 0.15},
    "tuned": {"value": 0.96, "low": 0.93, "high": 0.98},
    "difference": {"value": 0.86, "low": 0.8, "high": 0.9},
    "metrics": {"exact": {"base": 0.1, "tuned": 0.96}, "json": {"base": 0.35, "tuned": 0.99}},
    "forgotten": {"rows": 60, "base_right": 54, "forgotten": 8, "low": 0.1, "high": 0.3},
}
EXPORTED: Event = {
    "t": NOW - 2,
    "kind": "finished",
    "why": "merged model",
    "out": "/models/in\x1b[31mvoices",
    "merged": True,
    "dtype": "bfloat16",
    "bytes": 5 * 2**30,
    "files": 7,
    "difference": 1e-5,
    "tolerance": 1e-4,
    "prompts": 8,
    "pushed": {"url": "https://hub/me/invoices", "private": True},
}
FINISHED: Event = {
    "t": NOW - 1,
    "kind": "finished",
    "seconds": 41.0,
    "why": "exact match 10% → 96%",
}


def follow(home: Path, events: list[Event], **state: Any) -> Following:
    run = make_run(home, events, name="r9-x", **{"task": "compare", "target": "r7-demo", **state})
    following, reader = Following(run), RunReader(run)
    reading = reader.read(NOW)
    following.apply(reading)
    while reading.more:
        reading = reader.read(NOW)
        following.apply(reading)
    return following


def words(lines: list[Line]) -> str:
    return "\n".join(text_of(one).rstrip() for one in lines)


def test_a_comparison_says_what_it_found_in_lines_that_fit(tmp_path: Path) -> None:
    over = follow(tmp_path, [*asking(300), COMPARED, FINISHED], status=Status.FINISHED)
    told = words(task_outcome(over, 80))
    assert "exact match   10% → 96%  ▲ +86 +80…+90" in told
    assert "of 240 rows   209 fixed · 3 regressed · 22 both right · 6 both wrong" in told
    assert "also          valid JSON 35% → 99%" in told
    assert "forgotten     8 of 54 that the base had right, 15%" in told
    for width in (45, 80, 200):
        assert all(cells(one) <= width for one in task_outcome(over, width))


@pytest.mark.parametrize(
    "compared",
    [
        {"kind": "compared"},
        {**COMPARED, "base": [], "forgotten": {"forgotten": "x"}, "metrics": {"json": 3}},
        {**COMPARED, "rows": -(10**30), "fixed": None, "title": 7, "difference": {"value": "x"}},
    ],
)
def test_foreign_events_break_nothing(tmp_path: Path, compared: Event) -> None:
    over = follow(tmp_path, [*asking(300), compared, FINISHED], status=Status.FINISHED)
    assert "R read the rows" in words(task_outcome(over, 80))


def test_an_export_says_what_it_wrote_and_where(tmp_path: Path) -> None:
    over = follow(tmp_path, [started(), EXPORTED], status=Status.FINISHED, task="export")
    told = words(task_outcome(over, 100))
    assert "in            /models/invoices" in told
    assert "merged        5.0G in 7 files, bfloat16" in told
    assert "checked       read back from disk" in told
    assert "pushed        https://hub/me/invoices, private" in told


def test_what_did_not_finish_says_why_without_steps_or_checkpoints(tmp_path: Path) -> None:
    failed = {"t": NOW, "kind": "failed", "message": "no row can be asked", "where": "a.jsonl"}
    over = follow(tmp_path, [*asking()[:5], failed], status=Status.FAILED, why="no row")
    assert task_outcome(over, 80) == []
    assert outcome_title(over) == "why it failed"
    told = words(outcome_lines(over, 80))
    assert "no row can be asked" in told
    assert "r go on" in told
    assert "step" not in told
    assert "✗ tokenising" in words(phase_lines(over, 80, NOW))


def test_while_it_goes_on_its_phases_have_numbers_and_no_training_is_to_come(
    tmp_path: Path,
) -> None:
    live = follow(tmp_path, asking(), step=396, total_steps=600)
    told = words(phase_lines(live, 80, NOW))
    assert "96/300 answers" in told
    assert "applying" not in told
    assert "r9 compare r7 · demo" in text_of(name_line(live, 80))


def test_lists_and_the_way_back_know_what_work_a_run_was(tmp_path: Path) -> None:
    why = "exact match 10% → 96% on 240 rows"
    state = {"status": Status.FINISHED, "ended": NOW - 600, "why": why}
    follow(tmp_path, asking(300), **state)
    (run,) = list_runs(tmp_path)
    facts = read_facts(run, NOW)
    assert (facts.task, facts.target, facts.task_words) == ("compare", "r7-demo", "compare r7")
    assert Filter.parse("task:compare").matches(facts)
    assert not Filter.parse("task:train").matches(facts)
    assert not Filter.parse("-task:compare").matches(facts)
    away = look_back([run], NOW - 3600, NOW).away
    assert away == f"r9-x finished 10m00 ago · {why} · c shows it"


def test_events_of_other_work_in_words() -> None:
    assert event_words(asking()[0]) == "started: compare of r1-demo"
    assert event_words(COMPARED) == (
        "compared 240 rows: 209 fixed, 3 regressed, 22 both right, 6 both wrong"
    )
    exported = {**EXPORTED, "kind": "exported"}
    assert event_words(exported) == "exported: merged model, 5.0G, in /models/invoices"
