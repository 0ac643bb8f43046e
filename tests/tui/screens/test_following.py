import os
import time
from pathlib import Path

import pytest

from finetune_tui.core.runs import reading
from finetune_tui.core.runs.directory import RunDirectory
from finetune_tui.core.runs.requests import drop_request, take_requests
from finetune_tui.core.runs.state import Status
from finetune_tui.tui.screens.following import Following, RunReader
from tests.tui.runs_fixture import (
    NOW,
    Event,
    append,
    ending,
    make_run,
    phase,
    preparation,
    started,
    training,
    write_run_state,
)


def followed(run: RunDirectory) -> tuple[Following, RunReader]:
    following, reader = Following(run), RunReader(run)
    catch_up(following, reader)
    return following, reader


def catch_up(following: Following, reader: RunReader) -> None:
    """One look more than there was anything new: what was only skimmed is then exact."""
    while True:
        found = reader.read(NOW)
        following.apply(found)
        if not found.more and found.history is None:
            return


def steps(following: Following, name: str) -> list[float]:
    return list(following.curves.series(name).points().xs)


def test_a_run_is_followed_while_it_is_written(home: Path) -> None:
    run = make_run(home, [*preparation(), *training(1, 60)])
    following, reader = followed(run)
    assert (following.step, following.total_steps) == (60, 300)
    append(run, training(61, 176))
    catch_up(following, reader)
    assert following.step == 176
    assert len(steps(following, "loss")) == 176
    assert steps(following, "eval_loss") == [50, 100, 150]


def test_time_left_is_that_of_the_steps_left_at_the_last_pace(home: Path) -> None:
    following, _ = followed(make_run(home, [*preparation(), *training(1, 176)]))
    left = following.seconds_left()
    assert left is not None
    assert abs(left - (300 - 176) * 0.6) < 0.5


def test_a_resumed_run_loses_what_came_after_its_checkpoint(home: Path) -> None:
    events = [
        *preparation(),
        *training(1, 176),
        {"t": NOW, "kind": "resumed", "step": 100, "checkpoint": "step-000100", "skipped": []},
        started(NOW + 1000, attempt=2),
        phase(NOW + 1001, "training"),
    ]
    following, reader = followed(make_run(home, events, attempt=2))
    assert following.step == 100
    assert steps(following, "eval_loss") == [50, 100]
    before = following.curves.seconds
    again = [{**event, "t": event["t"] + 1100} for event in training(101, 140)]
    append(following.run, again)
    catch_up(following, reader)
    assert following.step == 140
    assert steps(following, "loss") == list(range(1, 141))
    # The pause between the attempts is no time of training.
    assert following.curves.seconds - before < 200


def test_a_broken_line_and_foreign_types_do_no_harm(home: Path) -> None:
    odd: list[Event] = [
        {"t": "soon", "kind": "step", "step": "x", "loss": None},
        {"t": NOW, "kind": "step", "step": 3, "loss": "NaN", "total_steps": [1]},
        {"kind": "phase", "phase": {"a": 1}, "done": "1", "total": -1},
        {"t": NOW, "kind": "eval"},
    ]
    run = make_run(home, odd)
    with run.events_path.open("a") as file:
        file.write('{"kind": "step", "st')
    following, _ = followed(run)
    assert following.step == 3
    assert steps(following, "loss") == []


def test_stopping_is_known_from_the_request_until_the_end(home: Path) -> None:
    run = make_run(home, [*preparation(), *training(1, 30)])
    following, reader = followed(run)
    assert [following.is_stopping] == [False]
    drop_request(run, "stop")
    catch_up(following, reader)
    assert [following.is_stopping] == [True]
    take_requests(run)  # the worker takes it and goes on to its next safe point
    catch_up(following, reader)
    assert [following.is_stopping] == [True]
    write_run_state(run, status=Status.STOPPED)
    catch_up(following, reader)
    assert [following.is_stopping] == [False]
    assert following.no_resume is None


def test_a_stopped_run_that_is_resumed_is_not_stopping_while_its_worker_comes_up(
    home: Path,
) -> None:
    stopped = [
        {"t": NOW, "kind": "stopping", "why": "a stop was requested"},
        {"t": NOW, "kind": "stopped", "step": 30},
    ]
    run = make_run(home, [*preparation(), *training(1, 30), *stopped], status=Status.STOPPED)
    following, reader = followed(run)
    write_run_state(run, status=Status.PREPARING)  # no event of the new worker yet
    catch_up(following, reader)
    assert following.is_alive
    assert not following.is_stopping


def test_phases_that_come_back_keep_their_row(home: Path) -> None:
    following, _ = followed(make_run(home, preparation()))
    names = [row.name for row in following.phases.rows]
    assert names == ["starting", "loading", "tokenising", "measuring", "applying", "training"]
    loading = following.phases.rows[1]
    assert abs(loading.spent - 1.3) < 0.01
    assert following.phases.to_come == ()


def test_a_step_ends_the_phase_of_an_evaluation(home: Path) -> None:
    run = make_run(home, [*preparation(), *training(1, 50), phase(NOW - 80, "measuring", 3, 3)])
    following, reader = followed(run)
    assert following.phases.current is not None
    assert following.phases.current.name == "measuring"
    append(run, training(51, 52))
    catch_up(following, reader)
    assert following.phases.current.name == "training"


def test_what_was_waited_is_no_time_of_training(home: Path) -> None:
    events = [*preparation(), *training(1, 100)]
    late = [{**event, "t": event["t"] + 3600} for event in training(101, 110)]
    held = {"t": NOW - 54, "kind": "paused", "step": 100, "how": "hold"}
    going_on = {"t": NOW - 54.9 + 3600, "kind": "continued", "step": 100}
    following, _ = followed(make_run(home, [*events, held, going_on, *late]))
    assert following.step == 110
    assert (following.seconds_left() or 0) < 300


def test_phases_to_come_before_any_was_seen(home: Path) -> None:
    following, _ = followed(make_run(home))
    assert following.phases.to_come == ("loading", "tokenising", "applying", "training")


def test_a_finished_run_says_why_it_cannot_go_on(home: Path) -> None:
    run = make_run(home, [*preparation(), *training(1, 300), *ending()], status=Status.FINISHED)
    following, _ = followed(run)
    assert not following.is_alive
    assert following.no_resume is not None
    assert "finished" in following.no_resume


@pytest.mark.parametrize("name", ["events.jsonl", "state.json", "spec.yaml", "requests"])
@pytest.mark.parametrize("what", ["pipe", "device", "loop", "folder", "missing"])
def test_whatever_lies_in_its_folder_a_run_can_be_opened(home: Path, name: str, what: str) -> None:
    """A pipe would be waited for, a device may never end."""
    run = make_run(home, [*preparation(), *training(1, 20)])
    path = run.path / name
    if path.is_dir():
        path.rmdir()
    else:
        path.unlink()
    if what == "pipe":
        os.mkfifo(path)
    elif what == "device":
        path.symlink_to("/dev/zero")
    elif what == "loop":
        path.symlink_to(path)
    elif what == "folder":
        path.mkdir()
    began = time.perf_counter()
    following, _ = followed(run)
    assert time.perf_counter() - began < 5
    assert following.step == (0 if name == "events.jsonl" else 20)
    assert (following.spec is None) == (name == "spec.yaml")
    assert (following.state.status is Status.BROKEN) == (name == "state.json")


def test_a_long_run_is_shown_at_once_and_made_exact_beside_the_screen(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "_SHORT", 2**14)
    monkeypatch.setattr(reading, "_TAIL", 2**12)
    monkeypatch.setattr(reading, "_STEPS", 50)
    run = make_run(home, [*preparation(), *training(1, 300), *ending()], status=Status.FINISHED)
    following, reader = Following(run), RunReader(run)
    following.apply(reader.read(NOW))
    assert following.step == 300
    assert len(steps(following, "loss")) < 150
    assert steps(following, "eval_loss") == [50, 100, 150, 200, 250, 300]
    rows = [row.name for row in following.phases.rows]
    catch_up(following, reader)
    assert steps(following, "loss") == list(range(1, 301))
    assert [row.name for row in following.phases.rows] == rows
