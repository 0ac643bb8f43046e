"""What is asked of a worker, and what it says when there is no room to say it."""

import errno
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from finetune_tui.core.runs.directory import RunDirectory, create_run
from finetune_tui.core.runs.events import Event, EventWriter, read_events
from finetune_tui.core.runs.requests import drop_request
from finetune_tui.core.runs.state import Status
from finetune_tui.core.training import reporter as module
from finetune_tui.core.training.reporter import ReleaseRequested, Reporter, StopRequested
from finetune_tui.core.training.room import Ballast, is_disk_full


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    return create_run(tmp_path, "task: train\nmodel_name_or_path: demo\n", "x")


@pytest.fixture
def reporter(run: RunDirectory) -> Iterator[Reporter]:
    made = Reporter(run)
    made.start()
    made.update(status=Status.RUNNING, phase="training", step=7)
    yield made
    made.end()


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> "Disk":
    return Disk(monkeypatch)


class Disk:
    """A disk that is full when told so, for the record and the state."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.is_full = False
        append, write = EventWriter.append, vars(module)["write_state"]

        def full_append(writer: EventWriter, event: Event) -> None:
            self.refuse()
            append(writer, event)

        def full_write(*args: Any, **rest: Any) -> None:
            self.refuse()
            write(*args, **rest)

        monkeypatch.setattr(EventWriter, "append", full_append)
        monkeypatch.setattr(module, "write_state", full_write)
        monkeypatch.setattr(module, "free_bytes", lambda _: 1000 if self.is_full else 10**9)

    def refuse(self) -> None:
        if self.is_full:
            raise OSError(errno.ENOSPC, "No space left on device")


def meanwhile(action: Callable[[], object], seconds: float = 0.5) -> None:
    timer = threading.Timer(seconds, action)
    timer.daemon = True
    timer.start()


def told(run: RunDirectory) -> list[str]:
    """Kinds of events, without those the heartbeat adds on its own time."""
    kinds = [event["kind"] for event in read_events(run.events_path)]
    return [kind for kind in kinds if kind != "hardware"]


def test_a_hold_lasts_until_resume_and_its_time_is_known(
    run: RunDirectory, reporter: Reporter
) -> None:
    drop_request(run, "pause")
    meanwhile(lambda: drop_request(run, "resume"))
    reporter.check()
    assert told(run)[-2:] == ["paused", "continued"]
    assert 0.3 < reporter.held < 10
    assert (reporter.state.status, reporter.state.phase) == (Status.RUNNING, "training")
    assert reporter.state.why is None


@pytest.mark.parametrize(
    ("ask", "raised"), [("stop", StopRequested), ("release", ReleaseRequested)]
)
def test_who_holds_can_be_told_to_leave(
    run: RunDirectory, reporter: Reporter, ask: str, raised: type[Exception]
) -> None:
    drop_request(run, "pause")
    meanwhile(lambda: drop_request(run, ask))
    with pytest.raises(raised):
        reporter.check()
    assert "continued" not in told(run)


@pytest.mark.parametrize(
    "asked", [("pause", "resume"), ("release", "resume"), ("pause", "release", "resume")]
)
def test_what_is_taken_back_was_never_asked(
    run: RunDirectory, reporter: Reporter, asked: tuple[str, ...]
) -> None:
    for kind in asked:
        drop_request(run, kind)
        time.sleep(0.02)
    reporter.check()
    assert told(run) == []


def test_a_stop_is_final(run: RunDirectory, reporter: Reporter) -> None:
    for kind in ("stop", "resume"):
        drop_request(run, kind)
        time.sleep(0.02)
    with pytest.raises(StopRequested):
        reporter.check()
    assert told(run) == ["stopping"]


def test_a_checkpoint_stays_asked_until_there_is_a_step_to_save(
    run: RunDirectory, reporter: Reporter
) -> None:
    saved: list[object] = [None]
    drop_request(run, "checkpoint")
    reporter.check()
    reporter.save = saved.pop
    reporter.check()
    assert saved == []
    saved = ["path", "never asked for"]
    reporter.save = lambda: saved.pop(0)
    reporter.check()
    reporter.check()
    assert saved == ["never asked for"]


def test_events_without_room_are_kept_in_order_and_the_next_safe_point_waits(
    run: RunDirectory, reporter: Reporter, disk: Disk
) -> None:
    reporter.event("step", step=1)
    disk.is_full = True
    reporter.event("step", step=2)
    reporter.event("step", step=3)
    assert not (run.path / ".ballast").exists()
    meanwhile(lambda: setattr(disk, "is_full", False))
    reporter.check()
    reporter.event("step", step=4)
    events = [(e["kind"], e["step"]) for e in read_events(run.events_path) if "step" in e]
    assert events == [
        *(("step", 1), ("step", 2), ("step", 3)),
        *(("paused", 7), ("continued", 7), ("step", 4)),
    ]
    assert reporter.state.status is Status.RUNNING
    assert (run.path / ".ballast").exists()


def test_a_write_is_tried_again_when_there_is_room(
    run: RunDirectory, reporter: Reporter, disk: Disk
) -> None:
    disk.is_full = True

    def write() -> str:
        disk.refuse()
        return "written"

    meanwhile(lambda: setattr(disk, "is_full", False))
    assert reporter.with_room(write, "a checkpoint", 5000) == "written"
    paused = next(e for e in read_events(run.events_path) if e["kind"] == "paused")
    assert paused["how"] == "disk full"
    assert paused["why"].startswith("the disk is full: a checkpoint needs")


def test_who_waits_for_room_can_be_stopped_and_other_errors_are_errors(
    run: RunDirectory, reporter: Reporter, disk: Disk
) -> None:
    disk.is_full = True
    meanwhile(lambda: drop_request(run, "stop"))
    with pytest.raises(StopRequested):
        reporter.with_room(disk.refuse, "a checkpoint", 5000)
    disk.is_full = False
    with pytest.raises(ZeroDivisionError):
        reporter.with_room(lambda: 1 // 0, "a checkpoint", 5000)


@pytest.mark.parametrize(
    ("error", "is_full"),
    [
        (OSError(errno.ENOSPC, "x"), True),
        (OSError(errno.EDQUOT, "x"), True),
        (OSError(errno.EIO, "x"), False),
        (RuntimeError("I/O error: No space left on device (os error 28)"), True),
        (RuntimeError("else"), False),
    ],
)
def test_a_full_disk_is_recognised(error: Exception, is_full: bool) -> None:
    assert is_disk_full(error) is is_full


def test_the_ballast_takes_its_room_and_gives_it_up(tmp_path: Path) -> None:
    ballast = Ballast(tmp_path / "ballast", bytes=8192)
    assert ballast.lay()
    assert ballast.path.stat().st_size == 8192
    ballast.free()
    ballast.free()
    assert not ballast.path.exists()
    assert not Ballast(tmp_path / "none" / "ballast").lay()
