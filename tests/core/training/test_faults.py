"""What goes wrong inside a training, through the real process: said, survived, nothing poisoned."""

import functools
import os
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from finetune_tui.core.runs.directory import RunDirectory, list_runs
from finetune_tui.core.runs.events import read_events
from finetune_tui.core.runs.processes import is_alive
from finetune_tui.core.runs.requests import drop_request
from finetune_tui.core.runs.start import holds, resumable, resume_run
from finetune_tui.core.runs.state import Status
from finetune_tui.core.training import checkpoint
from finetune_tui.core.tuning.spec import demo_spec
from tests.small_disk import mounted

from .conftest import (
    MakeRun,
    adapter_bytes,
    dump,
    finish,
    kinds,
    losses,
    maker,
    supervise,
    wait_for,
)

pytestmark = pytest.mark.training

SHORT: dict[str, Any] = {
    "max_steps": 8,
    "per_device_train_batch_size": 2,
    "gradient_accumulation_steps": 2,
}


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    """Two micro-batches of two rows a step, never interrupted."""
    run = maker(tmp_path_factory.mktemp("straight"))(**SHORT)
    finish(run)
    assert run.state().status is Status.FINISHED, said(run)
    return run


def said(run: RunDirectory) -> str:
    return dump(run) + run.log_path.read_text()[-3000:]


def events(run: RunDirectory, kind: str) -> list[dict[str, Any]]:
    return [event for event in read_events(run.events_path) if event["kind"] == kind]


def ends_equal(run: RunDirectory, straight: RunDirectory) -> None:
    assert run.state().status is Status.FINISHED, said(run)
    assert losses(run) == losses(straight)
    assert adapter_bytes(run) == adapter_bytes(straight)


# No number any more


@pytest.mark.parametrize(
    ("what", "names", "batch"),
    [
        ("nan", "the loss is not a number any more at step 6, batch 2 of 2", 12),
        pytest.param(
            "inf gradient",
            "the gradient is not a number any more at step 6",
            12,
            marks=pytest.mark.soak,
        ),
    ],
)
def test_what_is_no_number_ends_the_run_names_its_rows_and_poisons_nothing(
    make_run: MakeRun, straight: RunDirectory, what: str, names: str, batch: int
) -> None:
    run = make_run(**SHORT)
    failed = finish(run, faults=[{"at": "batch", "n": batch, "do": what}])[-1]
    assert failed["kind"] == "failed"
    assert names in failed["message"]
    assert failed["where"].rpartition(":")[0] == run.spec().train_files[0]
    assert "step-000004" in failed["hint"]
    assert run.state().status is Status.FAILED
    assert max(losses(run)) == 5
    assert [path.name for path in run.checkpoints.iterdir()] == ["step-000004"]
    finish(run, resume=True)
    ends_equal(run, straight)


# Out of memory


def test_memory_that_runs_out_at_the_first_batch_trains_as_with_fewer_rows_from_the_start(
    make_run: MakeRun, straight: RunDirectory
) -> None:
    run = make_run(**SHORT | {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 1})
    finish(run, faults=[{"at": "batch", "n": 1, "do": "oom", "rows": 2}])
    (recovered,) = events(run, "recovered")
    assert (recovered["step"], recovered["micro_batch_from"], recovered["micro_batch_to"]) == (
        0,
        4,
        2,
    )
    ends_equal(run, straight)


@pytest.mark.soak
def test_memory_that_runs_out_later_goes_on_from_that_step_and_is_remembered(
    make_run: MakeRun,
) -> None:
    big = SHORT | {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 1}
    fault = {"at": "batch", "n": 6, "do": "cpu oom", "rows": 2}
    run = make_run(**big)
    finish(run, faults=[fault])
    assert run.state().status is Status.FINISHED, said(run)
    (recovered,) = events(run, "recovered")
    assert (recovered["step"], recovered["accumulation"]) == (5, 2)
    assert sorted(e["step"] for e in events(run, "step")) == list(range(1, 9))

    killed = make_run(**big)
    # Batch 6 fails; 7 and 8 are step 6 with two rows each, 9 and 10 step 7.
    finish(killed, faults=[fault, {"at": "batch", "n": 10, "do": "SIGKILL"}])
    assert killed.state().status is Status.KILLED
    finish(killed, resume=True)
    assert wait_for(killed, "resumed")["step"] == 5
    ends_equal(killed, run)


@pytest.mark.soak
def test_memory_that_runs_out_in_the_optimizer_goes_back_to_what_is_whole(
    make_run: MakeRun, straight: RunDirectory
) -> None:
    big = SHORT | {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 1}
    first = make_run(**big)
    finish(first, faults=[{"at": "optimizer", "n": 1, "do": "oom"}])
    assert events(first, "recovered")[0]["step"] == 0
    ends_equal(first, straight)


@pytest.mark.soak
def test_the_same_rows_make_a_step_whatever_is_taken_at_once(
    epochs: tuple[MakeRun, RunDirectory],
) -> None:
    """Without dropout the losses differ only by the order in which numbers are added up."""
    make_short, _ = epochs
    plain = make_short(lora_dropout=0.0)
    finish(plain)
    run = make_short(lora_dropout=0.0, per_device_train_batch_size=4, gradient_accumulation_steps=1)
    finish(run, faults=[{"at": "batch", "n": 9, "do": "oom", "rows": 2}])
    assert [e["step"] for e in events(run, "recovered")] == [8]
    expected = losses(plain)
    assert losses(run) == pytest.approx(expected, abs=1e-5)


@pytest.mark.soak
def test_memory_that_runs_out_in_a_later_optimizer_step_goes_back_to_a_checkpoint(
    make_run: MakeRun,
) -> None:
    big = SHORT | {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 1}
    run = make_run(**big)
    finish(run, faults=[{"at": "optimizer", "n": 6, "do": "oom"}])
    assert run.state().status is Status.FINISHED, said(run)
    assert events(run, "recovered")[0]["step"] == 4
    assert [e["step"] for e in events(run, "step")] == [1, 2, 3, 4, 5, 5, 6, 7, 8]


@pytest.mark.soak
def test_memory_that_runs_out_with_one_row_is_an_end_with_remedies(make_run: MakeRun) -> None:
    run = make_run(**SHORT)
    failed = finish(run, faults=[{"at": "batch", "n": 5, "do": "oom", "rows": 0}])[-1]
    assert [e["micro_batch_to"] for e in events(run, "recovered")] == [1]
    assert failed["kind"] == "failed"
    assert "with one row at a time; predicted were " in failed["message"]
    assert "gradient_checkpointing" in failed["hint"]
    assert wait_for(run, "checkpoint")["step"] == 2


@pytest.mark.soak
def test_memory_that_runs_out_in_an_evaluation_takes_fewer_rows_there(
    make_run: MakeRun, straight: RunDirectory
) -> None:
    run = make_run(**SHORT)
    finish(run, faults=[{"at": "eval", "n": 2, "do": "oom", "rows": 1}])
    (recovered,) = events(run, "recovered")
    assert recovered["micro_batch_to"] == 1
    ends_equal(run, straight)


# Asked in the middle of an accumulation


@pytest.mark.parametrize(
    ("ask", "at", "n"),
    [
        ("SIGTERM", "batch", 11),
        pytest.param("SIGINT", "batch", 9, marks=pytest.mark.soak),
        pytest.param("stop", "batch", 11, marks=pytest.mark.soak),
        pytest.param("stop", "eval", 2, marks=pytest.mark.soak),
        pytest.param("SIGTERM", "eval", 3, marks=pytest.mark.soak),
        pytest.param("SIGTERM", "eval", 7, marks=pytest.mark.soak),  # that of the last step
    ],
)
def test_a_stop_in_the_middle_of_a_step_keeps_the_last_whole_one(
    make_run: MakeRun, straight: RunDirectory, ask: str, at: str, n: int
) -> None:
    run = make_run(**SHORT)
    supervisor = supervise(run, faults=[{"at": at, "n": n, "do": ask}])
    assert supervisor.wait(timeout=120) == 0
    assert run.state().status is Status.STOPPED, said(run)
    stopped = wait_for(run, "stopped")
    assert stopped["checkpoint"] == stopped["step"] == max(losses(run))
    if at == "batch":
        assert stopped["step"] == (n - 1) // 2
    finish(run, resume=True)
    ends_equal(run, straight)
    assert [e["step"] for e in events(run, "eval")] == [4, 8]


@pytest.fixture(scope="module")
def epochs(tmp_path_factory: pytest.TempPathFactory) -> tuple[MakeRun, RunDirectory]:
    """Runs of which fourteen batches of two rows make an epoch, and one of them never interrupted."""
    folder = tmp_path_factory.mktemp("epochs")
    make = maker(folder)
    rows = Path(demo_spec().train_files[0]).read_text().splitlines(keepends=True)
    (folder / "few.jsonl").write_text("".join(rows[:28]))
    values = SHORT | {"train_files": [str(folder / "few.jsonl")], "max_steps": 10, "save_steps": 7}
    make_short = functools.partial(make, **values)
    straight = make_short()
    finish(straight)
    return make_short, straight


@pytest.mark.parametrize(
    ("batch", "what"),
    [
        pytest.param(batch, what, marks=pytest.mark.soak)
        for batch in (13, 14, 15, 18)
        for what in ("SIGTERM", "SIGKILL")
    ],
)
def test_an_end_near_the_end_of_an_epoch_resumes_bitwise_equal(
    epochs: tuple[MakeRun, RunDirectory], batch: int, what: str
) -> None:
    """Batch 13 is in the first epoch, 14 ends it, 15 begins the next, 18 is in it."""
    make_short, straight = epochs
    run = make_short()
    finish(run, faults=[{"at": "batch", "n": batch, "do": what}])
    assert run.state().status in (Status.STOPPED, Status.KILLED)
    finish(run, resume=True)
    ends_equal(run, straight)


# Pauses


def test_a_held_run_waits_saves_goes_on_and_can_be_released(
    make_run: MakeRun, straight: RunDirectory
) -> None:
    run = make_run(**SHORT)
    faults = [{"at": "batch", "n": n, "do": "pause"} for n in (5, 13)]
    supervisor = supervise(run, faults=faults)
    held = wait_for(run, "paused")
    assert (held["step"], held["how"]) == (2, "hold")
    wait_until(lambda: run.state().status is Status.PAUSED)
    state = run.state()
    assert state.phase == "holding"
    assert run.liveness().is_alive
    assert run.liveness().words.startswith("paused at step 2: held on request")
    wait_until(lambda: (run.state().heartbeat or 0) > (state.heartbeat or 0))
    drop_request(run, "checkpoint")
    assert wait_for(run, "checkpoint")["step"] == 2
    assert max(losses(run)) == 2
    assert resumable(run) is not None
    assert holds(run)
    assert resume_run(run) is None
    assert wait_for(run, "continued")["step"] == 2

    wait_for(run, "paused", step=6)
    drop_request(run, "release")
    assert supervisor.wait(timeout=60) == 0
    state = run.state()
    assert state.status is Status.PAUSED, said(run)
    assert state.why == "paused at step 6, memory and GPU are free"
    assert state.hint is not None
    assert "goes on from step 6" in state.hint
    assert not run.liveness().is_alive
    assert not holds(run)
    assert resumable(run) is None
    finish(run, resume=True)
    ends_equal(run, straight)


@pytest.mark.soak
def test_a_held_run_is_stopped_in_the_middle_of_a_step(
    make_run: MakeRun, straight: RunDirectory
) -> None:
    run = make_run(**SHORT)
    supervisor = supervise(run, faults=[{"at": "batch", "n": 7, "do": "pause"}])
    wait_for(run, "paused")
    drop_request(run, "stop")
    assert supervisor.wait(timeout=60) == 0
    assert run.state().status is Status.STOPPED
    assert wait_for(run, "stopped")["checkpoint"] == 3
    finish(run, resume=True)
    ends_equal(run, straight)


@pytest.mark.soak
def test_a_pause_taken_back_is_no_pause_and_a_killed_hold_is_no_release(
    make_run: MakeRun, straight: RunDirectory
) -> None:
    run = make_run(**SHORT)
    faults = [{"at": "batch", "n": 3, "do": kind} for kind in ("pause", "resume")]
    supervisor = supervise(run, faults=[*faults, {"at": "batch", "n": 11, "do": "pause"}])
    assert wait_for(run, "paused")["step"] == 5
    worker = run.state().worker
    assert worker is not None
    os.kill(worker.pid, signal.SIGKILL)
    supervisor.wait(timeout=30)
    assert run.state().status is Status.KILLED
    finish(run, resume=True)
    ends_equal(run, straight)


def wait_until(reached: Any, timeout: float = 30) -> None:
    deadline = time.monotonic() + timeout
    while not reached():
        assert time.monotonic() < deadline
        time.sleep(0.02)


# A full disk


def test_a_full_disk_pauses_says_so_and_goes_on_when_there_is_room(
    straight: RunDirectory, small_disk: Path
) -> None:
    """First there is no room for a step's event, later none for a checkpoint."""
    run = maker(small_disk)(**SHORT)
    folder = str(small_disk)
    supervisor = supervise(
        run,
        faults=[
            {"at": "event", "n": 2, "do": "fill", "folder": folder, "leave": 0},
            {"at": "save", "n": 1, "do": "fill", "folder": folder, "leave": 0},
        ],
    )
    filler = small_disk / "filler"
    for what in ("the run's record", "a checkpoint of step 4"):
        wait_until(lambda: run.state().status is Status.PAUSED, timeout=120)
        state = run.state()
        assert state.phase == "disk full"
        assert what in (state.why or "")
        assert "is free" in (state.why or "")
        assert run.liveness().is_alive
        assert wait_for(run, "paused", why=state.why)["how"] == "disk full"
        assert not list(run.checkpoints.iterdir())
        filler.unlink()
        wait_until(lambda: run.state().status is not Status.PAUSED)
    assert supervisor.wait(timeout=120) == 0
    assert [e["step"] for e in events(run, "step")] == list(range(1, 9))
    assert len(events(run, "continued")) == 2
    assert not (run.path / ".ballast").exists()
    ends_equal(run, straight)


@pytest.mark.soak
def test_a_run_that_waits_for_room_can_be_stopped(straight: RunDirectory, small_disk: Path) -> None:
    run = maker(small_disk)(**SHORT)
    fill = {"at": "save", "n": 2, "do": "fill", "folder": str(small_disk), "leave": 0}
    supervisor = supervise(run, faults=[fill | {"rows": 0}])  # every time it tries
    wait_until(lambda: run.state().status is Status.PAUSED, timeout=120)
    drop_request(run, "stop")
    assert supervisor.wait(timeout=60) == 0
    assert run.state().status is Status.STOPPED, said(run)
    assert "the disk is full" in events(run, "warning")[-1]["message"]
    kept, skipped = checkpoint.newest_valid(run.checkpoints)
    assert (kept, skipped) == (run.checkpoints / "step-000004", [])
    (small_disk / "filler").unlink()
    finish(run, resume=True)
    ends_equal(run, straight)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    with mounted(tmp_path / "disk", mebibytes=16) as folder:
        yield folder
        for run in list_runs(folder / "home"):  # what a failed test left waiting
            state = run.state()
            for process in (state.supervisor, state.worker):
                if process and is_alive(process):
                    os.kill(process.pid, signal.SIGKILL)


# Early stopping


IMPATIENT = SHORT | {
    "max_steps": 20,
    "eval_steps": 2,
    "early_stopping_patience": 2,
    "early_stopping_threshold": 50,  # nothing is ever that much better
}


@pytest.mark.soak
def test_a_run_that_gets_no_better_ends_early_with_its_best(make_run: MakeRun) -> None:
    run = make_run(**IMPATIENT)
    ended = finish(run)[-1]
    (stop,) = events(run, "early_stop")
    assert (stop["step"], stop["patience"], max(losses(run))) == (6, 2, 6)
    assert f"that of step {stop['best_step']}" in ended["why"]
    assert run.state().why == ended["why"]
    assert [e["seconds"] > 0 for e in events(run, "eval")] == [True] * 3


@pytest.mark.soak
def test_patience_outlives_a_kill(make_run: MakeRun) -> None:
    run = make_run(**IMPATIENT)
    finish(run)
    killed = make_run(**IMPATIENT)
    finish(killed, faults=[{"at": "batch", "n": 10, "do": "SIGKILL"}])
    finish(killed, resume=True)
    assert [e["step"] for e in events(killed, "early_stop")] == [6]
    ends_equal(killed, run)


@pytest.mark.soak
def test_the_last_step_is_kept_where_the_best_is_not_wanted(make_run: MakeRun) -> None:
    run = make_run(**SHORT, load_best_model_at_end=False, learning_rate=0.5, eval_steps=1)
    finish(run)
    assert (run.state().best_step or 8) < 8
    kept = shutil.copytree(run.checkpoints / "step-000008", run.path / "last")
    from safetensors.torch import load_file

    last = load_file(kept / checkpoint.TRAINED)
    adapter = load_file(run.adapter / "adapter_model.safetensors")
    for name, tensor in adapter.items():
        assert tensor.equal(last[name.replace(".weight", ".default.weight")])


def test_kinds_of_a_whole_run_stay_as_they_were(straight: RunDirectory) -> None:
    told = set(kinds(list(read_events(straight.events_path))))
    assert not told & {"paused", "continued", "recovered", "early_stop"}
