from pathlib import Path
from typing import Any

import pytest

from finetune_tui.core.runs.directory import RunDirectory
from finetune_tui.core.runs.processes import ProcessId
from finetune_tui.core.runs.state import Status
from finetune_tui.core.tuning.spec import demo_spec
from finetune_tui.core.tuning.spec_file import write_spec
from finetune_tui.tui.screens.following import Following, RunReader
from finetune_tui.tui.screens.monitor_lines import (
    hardware_line,
    hardware_name,
    log_lines,
    name_line,
    number_lines,
    outcome_lines,
    outcome_title,
    pause_lines,
    pause_title,
    progress_line,
)
from finetune_tui.tui.screens.monitor_phases import phase_lines
from finetune_tui.tui.screens.monitor_samples import sample_lines
from finetune_tui.tui.screens.monitor_side import side_lines
from finetune_tui.tui.widgets.lines import Line, cells, text_of
from tests.tui.runs_fixture import (
    HARDWARE,
    NOW,
    Event,
    append,
    ending,
    hardware,
    make_run,
    memory,
    preparation,
    samples,
    started,
    training,
)

GONE = ProcessId(4_194_000, "1")


def follow(home: Path, events: list[Event], **state: Any) -> Following:
    return caught_up(make_run(home, events, **state))


def caught_up(run: RunDirectory) -> Following:
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
        hardware_line(following, None, width),
    ]
    assert all(cells(one) <= max(width, 40) for one in lines)


def test_the_first_line_names_run_and_state(home: Path) -> None:
    text = text_of(name_line(running(home), 80))
    assert text.startswith(" r7 demo · structured-output")
    assert text.endswith("▶ running ")


def test_a_model_in_a_folder_goes_by_the_folders_own_name(home: Path) -> None:
    following = running(home)
    following.state = following.state.changed(model="/a/long/way/down/to/models/of/mine/tiny-llama")
    assert " tiny-llama · structured-output" in text_of(name_line(following, 80))


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
    text = text_of(hardware_line(following, None, 80))
    assert text.startswith(" 98%  9.1/24.0G (yours 8.9G, others 205M)  71°C  412W")
    assert hardware_name(following, None) == "GPU0 RTX4090"
    queued = follow(home, [], name="r8-demo", status=Status.STARTING)
    assert hardware_name(queued, HARDWARE) == "CPU"
    assert "cpu 12%" in text_of(hardware_line(queued, HARDWARE, 80))
    assert "nothing measured" in text_of(hardware_line(queued, None, 80))


@pytest.mark.parametrize("own", [None, 0])
def test_memory_of_others_that_is_hidden_is_never_called_free(home: Path, own: int | None) -> None:
    event = hardware(gpu=True)
    event["gpus"][0]["own"] = own
    following = follow(home, [*preparation(), *training(), event])
    assert "9.1/24.0G (others unseen)" in text_of(hardware_line(following, None, 80))


def test_what_was_predicted_stands_beside_what_is_used(home: Path) -> None:
    start = {**started(), "predicted_device": int(8.9 * 2**30)}
    following = follow(home, [start, hardware(gpu=True)])
    assert "9.1/24.0G (predicted 8.9G, yours" in text_of(hardware_line(following, None, 80))


def test_what_was_predicted_of_the_real_batch_counts_once_it_is_known(home: Path) -> None:
    start = {**started(), "predicted_device": int(20.3 * 2**30)}
    following = follow(home, [start, *training(1, 2), memory(gpu=True), hardware(gpu=True)])
    assert "9.1/24.0G (predicted 8.9G, yours" in text_of(hardware_line(following, None, 80))
    side = words(side_lines(following, 40, 30, NOW))
    assert "memory   9.1G (predicted 8.9G)" in side


def test_in_the_end_the_peak_stands_beside_the_prediction(home: Path) -> None:
    events = [*preparation(), *training(1, 300, 0.3), *ending()]
    on_gpu = memory(NOW - 2, "end", gpu=True)
    following = follow(home, [*events[:-1], on_gpu, events[-1]], status=Status.FINISHED)
    text = words(outcome_lines(following, 80))
    assert "GPU memory   9.1G, predicted 8.9G for 16×71 tokens: 2.2% more" in text
    assert "memory: 9.1G of the GPU at the peak" in words(log_lines(following, 80))


def test_only_the_gpu_that_was_chosen_is_shown(home: Path) -> None:
    event = hardware(gpu=True)
    other = {**event["gpus"][0], "index": 1, "uuid": "GPU-2", "name": "A100"}
    event["gpus"] = [{**event["gpus"][0], "uuid": "GPU-1"}, other]
    run = make_run(home, [*preparation(), event])
    run.spec_path.write_text(write_spec(demo_spec().changed(gpus=["GPU-2"])))
    assert hardware_name(caught_up(run), None) == "GPU1 A100"


def test_a_gpu_that_says_nothing_is_shown_all_the_same(home: Path) -> None:
    silent = [{"index": 1, "name": None, "utilization": None}, "no GPU"]
    event = {"t": NOW, "kind": "hardware", "gpus": silent, "memory_used": "much"}
    following = follow(home, [*preparation(), event])
    assert "says nothing" in text_of(hardware_line(following, None, 80))
    assert hardware_name(following, None) == "GPU1"


def paused(how: str, phase_name: str, why: str) -> tuple[list[Event], dict[str, Any]]:
    event = {"t": NOW - 4, "kind": "paused", "step": 176, "how": how, "why": why}
    state = {"status": Status.PAUSED, "phase": phase_name, "step": 176, "why": why}
    return [*preparation(), *training(), event], state


def test_a_run_that_holds_says_why_and_how_it_goes_on(home: Path) -> None:
    why = "held on request, memory and GPU are kept"
    events, state = paused("hold", "holding", why)
    following = follow(home, events, **state)
    assert text_of(name_line(following, 80)).endswith("‖ holding ")
    assert pause_title(following) == "holding at step 176"
    text = words(pause_lines(following, 80))
    assert why in text
    assert "p go on" in text
    assert "→" not in text_of(progress_line(following, 80, NOW))


def test_a_full_disk_is_not_gone_on_from_by_a_key(home: Path) -> None:
    why = "the disk is full: a checkpoint of step 176 needs 1.4M, 12.0K is free"
    events, state = paused("disk full", "disk full", why)
    text = words(pause_lines(follow(home, events, **state), 80))
    assert "a checkpoint of step 176 needs 1.4M" in text
    assert "it goes on by itself when there is room" in text
    assert "p go on" not in text


def test_a_run_that_was_let_go_says_that_the_machine_is_free(home: Path) -> None:
    events, state = paused("release", "holding", "a release was requested")
    following = follow(home, events, **state, ended=NOW - 3)
    (following.run.checkpoints / "step-000176").mkdir()
    (following.run.checkpoints / "step-000176" / "manifest.json").touch()
    assert not following.is_alive
    assert "the machine is free" in text_of(name_line(following, 80))
    assert "p resume from step 176" in words(outcome_lines(following, 80))


def test_a_recovery_stays_in_view(home: Path) -> None:
    recovered = {
        "t": NOW - 60,
        "kind": "recovered",
        "what": "out of memory",
        "step": 90,
        "micro_batch_from": 16,
        "micro_batch_to": 8,
    }
    events = [*preparation(), *training(1, 90), recovered, *training(91, 176)]
    following = follow(home, events)
    assert "recovered 1×" in text_of(name_line(following, 80))
    side = words(side_lines(following, 40, 30, NOW))
    assert "8 rows at once" in side
    assert "recovered: out of memory" in words(log_lines(following, 80))


def test_patience_is_counted_as_the_worker_counts_it(home: Path) -> None:
    run = make_run(home, [*preparation(), *training(1, 150)])
    run.spec_path.write_text(write_spec(demo_spec().changed(early_stopping_patience=3)))
    assert "patience 0/3" in text_of(number_lines(caught_up(run), 100, 1)[0])
    append(run, [{"t": NOW, "kind": "eval", "step": 160, "eval_loss": 0.9}])
    append(run, [{"t": NOW, "kind": "eval", "step": 170, "eval_loss": 0.8}])
    assert "(best .192@150 patience 2/3)" in text_of(number_lines(caught_up(run), 100, 1)[0])


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
    (following.run.checkpoints / "step-000176" / "manifest.json").touch()
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
    told = words(sample_lines(following, 80))
    assert "─before training" in told
    assert 'want {"sku": "shelf"' in told


def test_base_and_tuned_replies_stand_together_at_each_look(home: Path) -> None:
    look = [{**sample, "when": "eval"} for sample in samples(100, NOW - 50)]
    following = follow(home, [*preparation(), *training(), *look])
    narrow = words(sample_lines(following, 80))
    assert narrow.index("─step 100") < narrow.index("─before training")
    assert "2 of 3 as wanted" in narrow
    assert 'base {"sku": "shelf", "qty": 74, "to": "Ghent"}' in narrow
    assert 'now  {"sku": "shelf", "qty": 74, "to": "Athens"}' in narrow
    assert 'same {"sku": "shelf", "qty": 74, "to": "Ghent"}' in narrow
    assert "2 of 3 as wanted: 2 fixed" in narrow
    assert "✓ fixed  Order" in narrow
    assert "✗ both wrong  Order" in narrow
    assert narrow.index("now  {") < narrow.index("base {")
    wide = sample_lines(following, 80, side_by_side=True)
    assert all(cells(one) <= 80 for one in wide)
    assert any("base" in text_of(one) and "now" in text_of(one) for one in wide)


def test_a_gpu_is_told_of_where_not_all_of_it_has_room(home: Path) -> None:
    following = follow(home, [*preparation(), *training(), memory(gpu=True), hardware(gpu=True)])
    shown = text_of(hardware_line(following, None, 45))
    assert shown.startswith(" 98%  9.1/24.0G")
    assert cells(hardware_line(following, None, 45)) == 45
