from pathlib import Path
from typing import Any

import pytest

from finetune_tui.core.runs.processes import ProcessId
from finetune_tui.core.runs.state import Status
from finetune_tui.tui.screens.following import Following, RunReader
from finetune_tui.tui.screens.monitor_lines import (
    hardware_line,
    hardware_title,
    log_lines,
    name_line,
    number_lines,
    outcome_lines,
    outcome_title,
    phase_lines,
    progress_line,
    sample_lines,
)
from finetune_tui.tui.widgets.lines import Line, cells, text_of
from tests.tui.runs_fixture import (
    HARDWARE,
    NOW,
    Event,
    ending,
    hardware,
    make_run,
    preparation,
    training,
)

GONE = ProcessId(4_194_000, "1")


def follow(home: Path, events: list[Event], **state: Any) -> Following:
    run = make_run(home, events, **state)
    following, reader = Following(run), RunReader(run)
    while True:
        reading = reader.read(NOW)
        following.apply(reading)
        if not reading.events:
            return following


def words(lines: list[Line]) -> str:
    return "\n".join(text_of(one).rstrip() for one in lines)


def running(home: Path) -> Following:
    return follow(home, [*preparation(), *training(), hardware(gpu=True)], step=176)


@pytest.mark.parametrize("width", [20, 45, 80, 120])
def test_no_line_leaves_the_width(home: Path, width: int) -> None:
    following = running(home)
    lines = [
        name_line(following, width),
        progress_line(following, width, NOW),
        *number_lines(following, width, 2),
        hardware_line(following.curves.hardware, None, width),
    ]
    assert all(cells(one) <= max(width, 40) for one in lines)


def test_the_first_line_names_run_and_state(home: Path) -> None:
    text = text_of(name_line(running(home), 80))
    assert text.startswith(" r7 demo · structured-output")
    assert text.endswith("▶ running ")


def test_progress_says_done_elapsed_left_and_end(home: Path) -> None:
    text = text_of(progress_line(running(home), 80, NOW))
    assert text.startswith(" 176/300 █")
    assert " 59%  2m08 +1m14 → 00:01" in text


def test_numbers_come_in_the_order_of_their_worth(home: Path) -> None:
    following = running(home)
    wide = text_of(number_lines(following, 100, 1)[0])
    assert "eval .192 (best .192@150)" in wide
    assert wide.index("loss") < wide.index("eval") < wide.index("lr ") < wide.index("|g|")
    narrow = number_lines(following, 45, 2)
    assert text_of(narrow[0]).startswith(" loss .199")
    assert "t/s" in text_of(narrow[1])


def test_hardware_speaks_of_the_gpu_or_of_the_processor(home: Path) -> None:
    following = running(home)
    text = text_of(hardware_line(following.curves.hardware, None, 80))
    assert text.startswith(" 98%  9.1/24.0G  71°C  412W")
    assert hardware_title(following.curves.hardware, None) == "GPU0 RTX4090"
    assert hardware_title(None, HARDWARE) == "CPU"
    assert "cpu 12%" in text_of(hardware_line(None, HARDWARE, 80))
    assert "nothing measured" in text_of(hardware_line(None, None, 80))


def test_a_gpu_that_says_nothing_is_shown_all_the_same() -> None:
    event = {"gpus": [{"index": 1, "name": None, "utilization": None}], "memory_used": "much"}
    assert "says nothing" in text_of(hardware_line(event, None, 80))
    assert hardware_title(event, None) == "GPU1"


def test_before_the_first_step_phases_and_a_way_out(home: Path) -> None:
    following = follow(home, preparation(7), status=Status.PREPARING)
    text = words(phase_lines(following, 80, NOW))
    assert "✓ loading     1.02M parameters, float32" in text
    assert "✓ tokenising  2000 rows" in text
    assert "▸ measuring" in text
    assert "112/240 replies" in text
    assert "· training" in text
    assert "S stops it" in text


def test_a_download_is_told_in_bytes_and_rate(home: Path) -> None:
    words_of_it = "3.1G of 5.2G, 84.0M/s: model-00002-of-00002.safetensors"
    told = {"done": 3.1 * 2**30, "total": 5.2 * 2**30, "words": words_of_it}
    event = {"t": NOW - 1, "kind": "phase", "phase": "downloading", **told}
    following = follow(home, [*preparation(1), event], status=Status.PREPARING)
    text = words(phase_lines(following, 80, NOW))
    assert "▸ downloading" in text
    assert "3.1G of 5.2G, 84.0M/s" in text


def test_before_the_worker_spoke_it_is_queued(home: Path) -> None:
    following = follow(home, [], status=Status.STARTING)
    assert "queued" in words(phase_lines(following, 80, NOW))


def test_finished_says_what_changed_and_what_is_next(home: Path) -> None:
    events = [*preparation(), *training(1, 300, 0.3), *ending()]
    following = follow(home, events, status=Status.FINISHED, adapter_bytes=480_000)
    text = words(outcome_lines(following, 80))
    assert outcome_title(following) == "what changed"
    assert "exact match  3 → 236 of 240  (1.2% → 98%)" in text
    assert "adapter      469K home/runs/r7-demo-structured-output/adapter" in text
    assert "o the same on your data" in text


def test_failed_says_why_where_and_what_to_do(home: Path) -> None:
    failed = {
        "t": NOW,
        "kind": "failed",
        "message": "the GPU's \x1b[31mmemory is full",
        "hint": "lower max_length",
        "where": "log.txt",
    }
    events = [*preparation(), *training(1, 40), failed]
    following = follow(home, events, status=Status.FAILED, why="the GPU's memory is full")
    text = words(outcome_lines(following, 80))
    assert outcome_title(following) == "why it failed at step 40"
    assert "the GPU's memory is full" in text
    assert "\x1b" not in text
    assert "at log.txt" in text
    assert "→ lower max_length" in text
    assert "l output" in text
    assert "r start again from step 0" in text


def test_stopped_can_go_on_from_its_newest_checkpoint(home: Path) -> None:
    following = follow(
        home, [*preparation(), *training()], status=Status.STOPPED, why="a stop was requested"
    )
    (following.run.checkpoints / "step-000176").mkdir()
    text = words(outcome_lines(following, 80))
    assert "a stop was requested" in text
    assert "r resume from step 176" in text


def test_dead_is_said_of_a_run_whose_processes_are_gone(home: Path) -> None:
    following = follow(home, [*preparation(), *training()], worker=GONE, heartbeat=NOW - 40)
    assert text_of(name_line(following, 80)).endswith("✗ dead ")
    assert "last heard 40s ago" in words(outcome_lines(following, 80))


def test_elsewhere_is_never_called_dead(home: Path) -> None:
    following = follow(
        home, [*preparation(), *training()], host="other-box", worker=GONE, heartbeat=NOW - 40
    )
    assert outcome_title(following) == "on another machine"
    assert "on other-box, last heard 40s ago" in words(outcome_lines(following, 80))


def test_the_log_wraps_and_the_samples_say_what_was_wanted(home: Path) -> None:
    following = running(home)
    log = log_lines(following, 45)
    assert all(cells(one) <= 45 for one in log)
    assert "23:59 eval 150: 0.1921 (best)" in words(log)
    samples = words(sample_lines(following, 80))
    assert "✗ step 0" in samples
    assert 'want {"sku": "shelf"' in samples
