from pathlib import Path

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
    while True:
        reading = reader.read(NOW)
        following.apply(reading)
        if not reading.events:
            return


def test_a_run_is_followed_while_it_is_written(home: Path) -> None:
    run = make_run(home, [*preparation(), *training(1, 60)])
    following, reader = followed(run)
    assert (following.step, following.total_steps) == (60, 300)
    append(run, training(61, 176))
    catch_up(following, reader)
    assert following.step == 176
    assert len(following.loss.by_step) == len(following.loss.by_time) == 176
    assert list(following.eval_loss.by_step.xs) == [50, 100, 150]


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
    assert list(following.eval_loss.by_step.xs) == [50, 100]
    before = following.seconds[-1]
    again = [{**event, "t": event["t"] + 1100} for event in training(101, 140)]
    append(following.run, again)
    catch_up(following, reader)
    assert following.step == 140
    assert list(following.loss.by_step.xs) == list(range(1, 141))
    # The pause between the attempts is no time of training.
    assert following.seconds[-1] - before < 200


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
    assert len(following.loss.by_step) == 0


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
