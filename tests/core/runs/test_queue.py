"""The queue: an order on disk, and a runner that takes from it whoever else comes and goes."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finetune_tui.core.errors import UserError, WorkFailed
from finetune_tui.core.runs import running_queue
from finetune_tui.core.runs.directory import RunDirectory, create_run, list_runs
from finetune_tui.core.runs.processes import ProcessId, boot_id, host_name, is_alive, this_process
from finetune_tui.core.runs.queue import (
    ItemStatus,
    Queue,
    changing,
    enqueue,
    hold,
    list_queue,
    move,
    put_back,
    queue_folder,
    release,
    remove,
    retry,
)
from finetune_tui.core.runs.runner import Runner
from finetune_tui.core.runs.running_queue import keep_running, runner_state, start_runner
from finetune_tui.core.runs.slots import masked, place, slots_of
from finetune_tui.core.runs.state import Status, write_state
from finetune_tui.core.runs.untold import expect_end
from finetune_tui.core.tuning.spec import Spec
from finetune_tui.core.tuning.spec_file import read_spec, write_spec
from finetune_tui.core.tuning.task_spec import AnySpec

WAITING, RUNNING, FAILED = ItemStatus.WAITING, ItemStatus.RUNNING, ItemStatus.FAILED


def spec(name: str, **values: object) -> Spec:
    return Spec().changed(model_name_or_path="demo", name=name, **values)


def titles(queue: Queue, status: ItemStatus | None = None) -> list[str]:
    return [item.title for item in queue.items if status in (None, item.status)]


# The order on disk


def test_what_is_added_waits_in_order_with_its_spec(home: Path) -> None:
    assert list_queue(home) == Queue()
    first, second = enqueue(home, spec("a")), enqueue(home, Spec(model_name_or_path="x/phi-2"))
    assert (first.id, second.id, second.title) == ("q1", "q2", "phi-2")
    assert list_queue(home).items == (first, second)
    assert read_spec(first.path) == spec("a")
    assert list_queue(home).item("Q2") == list_queue(home).item("2") == second
    with pytest.raises(UserError, match="'q7' is not in the queue"):
        list_queue(home).item("q7")


def test_relative_files_are_those_of_whoever_added_them(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "rows.jsonl").touch()
    monkeypatch.chdir(tmp_path)
    item = enqueue(home, spec("a", train_files=["rows.jsonl"]))
    assert read_spec(item.path).train_files == (str(tmp_path / "rows.jsonl"),)


def test_items_move_and_go_and_come_back(home: Path) -> None:
    for name in "abcd":
        enqueue(home, spec(name))
    assert titles(move(home, "q4", 0)) == ["d", "a", "b", "c"]
    assert titles(move(home, "q4", 99)) == ["a", "b", "c", "d"]
    assert titles(move(home, "q1", 2)) == ["b", "c", "a", "d"]
    removed = remove(home, "q3")
    assert titles(list_queue(home)) == ["b", "a", "d"]
    assert not removed.item.path.exists()
    assert titles(put_back(home, removed)) == ["b", "c", "a", "d"]
    assert read_spec(removed.item.path) == spec("c")
    with pytest.raises(UserError, match="q3 is in the queue"):
        put_back(home, removed)
    remove(home, "q4")
    assert enqueue(home, spec("e")).id == "q5"  # a number is not given twice


def test_a_broken_queue_is_said_and_left_alone(home: Path) -> None:
    item = enqueue(home, spec("a"))
    path = queue_folder(home) / "queue.json"
    for content in ("", "[]", "nonsense", '{"items": 3}'):
        path.write_text(content)
        with pytest.raises(UserError, match="the specs lie beside it"):
            list_queue(home)
        with pytest.raises(UserError):
            enqueue(home, spec("b"))
        assert "queue.json" in runner_state(home).words
        assert path.read_text() == content
    assert item.path.exists()


ITEMS = st.fixed_dictionaries(
    {},
    optional={
        "id": st.sampled_from(["q1", "q2", "q", "x", "q1/../..", "q" + "9" * 30]) | st.integers(),
        "status": st.sampled_from(["waiting", "running", "done"]) | st.none(),
        "gpus": st.none() | st.lists(st.text() | st.integers()),
        "added": st.floats() | st.text() | st.integers(),
        "title": st.text() | st.none(),
    },
)


@settings(max_examples=50)
@given(st.lists(ITEMS | st.integers()), st.none() | st.integers() | st.text())
def test_any_items_make_a_queue(
    tmp_path_factory: pytest.TempPathFactory, items: list[object], last: object
) -> None:
    home = tmp_path_factory.mktemp("home")
    queue_folder(home).mkdir()
    text = json.dumps({"items": items, "last_number": last})
    (queue_folder(home) / "queue.json").write_text(text)
    queue = list_queue(home)
    assert len({item.id for item in queue.items}) == len(queue.items)
    assert all(item.path.parent == queue_folder(home) for item in queue.items)
    assert enqueue(home, spec("new")).id not in {item.id for item in queue.items}


MOVES = st.lists(
    st.tuples(st.sampled_from(["move", "remove", "back", "run", "fail"]), st.integers(1, 5)),
    max_size=6,
)


@settings(max_examples=15, deadline=None)
@given(MOVES, st.integers(-2, 9))
def test_whatever_is_done_nothing_is_lost_or_twice_there(
    tmp_path_factory: pytest.TempPathFactory, moves: list[tuple[str, int]], index: int
) -> None:
    home = tmp_path_factory.mktemp("home")
    for name in "abcde":
        enqueue(home, spec(name))
    there, gone = {f"q{number}" for number in range(1, 6)}, []
    for what, number in moves:
        item_id = f"q{number}"
        try:
            if what == "move":
                move(home, item_id, index)
            elif what == "remove":
                gone.append(remove(home, item_id))
                there.remove(item_id)
            elif what == "back" and gone:
                there.add(gone[-1].item.id)
                put_back(home, gone.pop())
            elif what in ("run", "fail"):
                status = RUNNING if what == "run" else FAILED
                with changing(home) as change:
                    item = change.queue.item(item_id).changed(status=status)
                    change.queue = change.queue.with_item(item)
        except UserError:
            pass  # it is not there, or runs
        items = list_queue(home).items
        assert sorted(item.id for item in items) == sorted(there)
        order = [(RUNNING, WAITING, FAILED).index(item.status) for item in items]
        assert order == sorted(order)
        assert all(item.path.is_file() for item in items)


# Room

GPUS = ("GPU-aaaa1111", "GPU-bbbb2222")


@pytest.mark.parametrize(
    ("values", "gpus", "busy", "placed"),
    [
        ({}, (), (), ()),
        ({}, (), ("cpu",), None),
        ({}, GPUS, (), GPUS[:1]),
        ({}, GPUS, GPUS[:1], GPUS[1:]),
        ({}, GPUS, GPUS, None),
        ({"gpus": ["GPU-aaaa"]}, GPUS, GPUS[1:], ("GPU-aaaa",)),
        ({"gpus": ["GPU-aaaa"]}, GPUS, GPUS[:1], None),
        ({"gpus": list(GPUS)}, GPUS, GPUS[1:], None),
        ({"gpus": ["GPU-gone"]}, GPUS, GPUS, ("GPU-gone",)),
        ({"use_cpu": True}, GPUS, GPUS, ()),
        ({"use_cpu": True}, GPUS, ("cpu",), None),
    ],
)
def test_one_run_for_each_gpu(
    values: dict[str, object],
    gpus: tuple[str, ...],
    busy: tuple[str, ...],
    placed: tuple[str, ...] | None,
) -> None:
    found = place(spec("a", **values), gpus, frozenset(busy))
    assert (None if found is None else found.gpus) == placed
    if found is not None:
        assert not slots_of(found, gpus) & frozenset(busy) - {"GPU-gone"}


@pytest.mark.parametrize(
    ("mask", "left"),
    [
        (None, GPUS),
        ("", ()),
        ("1", GPUS[1:]),
        ("1,0", GPUS[::-1]),
        ("GPU-bbbb", GPUS[1:]),
        ("1,7,0", GPUS[1:]),
        ("-1", ()),
        ("1,1", GPUS[1:]),
    ],
)
def test_gpus_that_a_person_hid_are_left_alone(mask: str | None, left: tuple[str, ...]) -> None:
    assert masked(GPUS, mask) == left


def test_a_run_that_names_no_gpu_takes_the_first() -> None:
    assert slots_of(spec("a"), GPUS) == {GPUS[0]}
    assert slots_of(spec("a"), ()) == {"cpu"}


# The runner, look by look


class Bench:
    """A runner whose runs are state files: they go on and end when a test says so."""

    def __init__(self, home: Path, gpus: tuple[str, ...] = ()) -> None:
        self.home = home
        self.begun: list[tuple[str, bool]] = []
        self.gpus = gpus
        self.runner = Runner(home, self._make, self._begin, lambda: self.gpus)

    def _make(self, home: Path, asked: AnySpec) -> RunDirectory:
        if asked.name == "bad":
            raise UserError("no training data is named", where="train_files")
        if asked.name == "worse":
            raise RuntimeError("a fault")
        assert isinstance(asked, Spec)
        return create_run(home, write_spec(asked), asked.name or "")

    def _begin(self, run: RunDirectory, resume: bool) -> None:
        self.begun.append((run.id, resume))
        expect_end(run, run.state().attempt + 1)
        self.write(run, status=Status.RUNNING, attempt=run.state().attempt + 1)

    def write(self, run: RunDirectory, **values: object) -> None:
        known: dict[str, object] = {
            "host": host_name(),
            "boot_id": boot_id(),
            "supervisor": this_process(),
            "heartbeat": time.time(),
        }
        write_state(run.state_path, run.state().changed(**(known | values)))

    def end(self, number: int, status: Status, **values: object) -> None:
        run = next(run for run in list_runs(self.home) if run.number == number)
        self.write(run, status=status, ended=time.time(), why="because", **values)

    def look(self) -> list[tuple[str, str, str | None]]:
        self.runner.look()
        return [(item.id, item.status.value, item.run) for item in list_queue(self.home).items]


def test_without_a_gpu_one_runs_after_the_other(home: Path) -> None:
    bench = Bench(home)
    for name in "ab":
        enqueue(home, spec(name))
    waiting = [("q1", "running", "r1-a"), ("q2", "waiting", None)]
    assert bench.look() == bench.look() == waiting
    with pytest.raises(UserError, match="q1 runs as r1-a"):
        remove(home, "q1")
    with pytest.raises(UserError, match="q1 does not wait: it runs as r1-a"):
        move(home, "q1", 1)
    bench.end(1, Status.FINISHED)
    assert bench.look() == [("q2", "running", "r2-b")]
    assert not (queue_folder(home) / "q1.yaml").exists()
    bench.end(2, Status.STOPPED)
    assert bench.runner.look() is False
    assert list_queue(home).items == ()


def test_one_for_each_gpu_and_a_named_one_waits_for_its_own(home: Path) -> None:
    bench = Bench(home, GPUS)
    enqueue(home, spec("a", gpus=["GPU-bbbb"]))
    enqueue(home, spec("b", gpus=["GPU-bbbb"]))
    enqueue(home, spec("c"))
    enqueue(home, spec("d"))
    rows = bench.look()
    assert [row[1] for row in rows] == ["running", "running", "waiting", "waiting"]
    assert [row[0] for row in rows] == ["q1", "q3", "q2", "q4"]
    assert list_queue(home).item("q3").gpus == GPUS[:1]
    assert [run.spec().gpus for run in list_runs(home)] == [GPUS[:1], ("GPU-bbbb",)]
    bench.end(1, Status.FINISHED)
    assert [row[0] for row in bench.look() if row[1] == "running"] == ["q3", "q2"]


def test_a_run_that_somebody_started_by_hand_takes_its_place_too(home: Path) -> None:
    bench = Bench(home)
    by_hand = create_run(home, "task: train\nmodel_name_or_path: demo\n", "hand")
    bench._begin(by_hand, False)
    enqueue(home, spec("a"))
    assert bench.look() == [("q1", "waiting", None)]
    bench.end(1, Status.FINISHED)
    assert bench.look() == [("q1", "running", "r2-a")]


def test_what_fails_is_kept_with_its_reason_and_the_next_has_its_turn(home: Path) -> None:
    bench = Bench(home)
    for name in ("bad", "worse", "gone", "a", "b"):
        enqueue(home, spec(name))
    (queue_folder(home) / "q3.yaml").write_text("model_name_or_path: [\n")
    bench.look()
    whys = [item.why for item in list_queue(home).of(FAILED)]
    assert whys[0] == "train_files: no training data is named"
    assert whys[1] == "RuntimeError('a fault')"
    assert "not YAML" in (whys[2] or "")
    assert titles(list_queue(home), RUNNING) == ["a"]
    bench.end(1, Status.FAILED)
    bench.look()
    assert list_queue(home).items[-1].why == "r1 failed: because"
    assert titles(list_queue(home), RUNNING) == ["b"]
    assert titles(retry(home, "q4"), WAITING) == ["a"]
    remove(home, "q1")
    assert titles(list_queue(home), FAILED) == ["worse", "gone"]


def test_a_failure_holds_the_queue_when_that_is_asked(home: Path) -> None:
    bench = Bench(home)
    for name in ("bad", "a"):
        enqueue(home, spec(name))
    release(home, stops_on_failure=True)
    assert bench.runner.look() is False
    queue = list_queue(home)
    assert queue.is_held
    assert queue.held_because == "held because q1 failed; `finetune-tui queue start` goes on"
    assert titles(queue, WAITING) == ["a"]
    assert runner_state(home).words == queue.held_because
    release(home)
    assert bench.look()[0] == ("q2", "running", "r1-a")


def test_a_held_queue_starts_nothing_and_lets_run_what_runs(home: Path) -> None:
    bench = Bench(home, GPUS)
    enqueue(home, spec("a"))
    bench.look()
    enqueue(home, spec("b"))
    hold(home)
    assert bench.runner.look() is True
    assert titles(list_queue(home), WAITING) == ["b"]
    bench.end(1, Status.FINISHED)
    assert bench.runner.look() is False


def test_after_a_reboot_what_ran_goes_on(home: Path) -> None:
    bench = Bench(home)
    enqueue(home, spec("a"))
    bench.look()
    run = list_runs(home)[0]
    bench.write(run, boot_id="another")
    assert bench.look() == [("q1", "running", "r1-a")]
    assert bench.begun == [("r1-a", False), ("r1-a", True)]


def test_a_killed_worker_is_a_failure_and_a_released_one_is_nobodys(home: Path) -> None:
    bench = Bench(home, GPUS)
    for name in "ab":
        enqueue(home, spec(name))
    bench.look()
    runs = list_runs(home)
    bench.write(runs[1], supervisor=ProcessId(2**30, "1"))
    bench.end(2, Status.PAUSED)
    assert bench.look() == [("q1", "failed", "r1-a")]
    assert "supervisor and worker are gone" in (list_queue(home).items[0].why or "")


def test_a_run_on_another_host_is_waited_for(home: Path) -> None:
    bench = Bench(home)
    enqueue(home, spec("a"))
    bench.look()
    bench.write(list_runs(home)[0], host="far", heartbeat=time.time() - 7200)
    assert bench.look() == [("q1", "running", "r1-a")]


def test_a_runner_that_died_between_two_steps_is_followed_by_one_that_goes_on(home: Path) -> None:
    bench = Bench(home)
    enqueue(home, spec("a"))
    enqueue(home, spec("b"))
    run = create_run(home, write_spec(spec("a")), "a")
    with changing(home) as change:  # made, and never begun
        first, second = change.queue.items
        half = first.changed(status=RUNNING, run=run.id)
        change.queue = change.queue.with_item(half).with_item(second.changed(status=RUNNING))
    rows = bench.look()
    assert rows == [("q1", "running", "r1-a"), ("q2", "waiting", None)]
    assert bench.begun == [("r1-a", False)]


def test_a_deleted_run_is_done(home: Path) -> None:
    bench = Bench(home)
    enqueue(home, spec("a"))
    bench.look()
    list_runs(home)[0].path.rename(home / "elsewhere")
    assert bench.look() == []


# The runner as a process

FAKE = """
import json, os, sys
from pathlib import Path
from finetune_tui.core.runs import runner
from finetune_tui.core.runs.directory import create_run
from finetune_tui.core.runs.start import start_run
from finetune_tui.core.tuning.spec_file import write_spec
runner._LOOK_EVERY = 0.05
def make(home, spec):
    return create_run(home, write_spec(spec), spec.name)
def begin(run, resume):
    start_run(run, resume=resume, command=[sys.executable, {worker!r}, str(run.path)])
runner._make, runner._begin, runner.visible_gpus = make, begin, lambda: ()
sys.exit(runner.main(sys.argv[1:]))
"""
LINES = """
go = run.path.parent.parent / "go"
while not go.exists(): time.sleep(0.01)
append_event(run, "finished", steps=1)
"""


@pytest.fixture
def processes(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Real runners over small workers that finish when the given file is there."""
    from tests.core.runs.conftest import WORKER

    (tmp_path / "worker.py").write_text(WORKER + LINES)
    fake = FAKE.replace("{worker!r}", repr(str(tmp_path / "worker.py")))
    (tmp_path / "fake_runner.py").write_text(fake)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(running_queue, "RUNNER", "fake_runner")
    home.mkdir()
    yield home / "go"
    (home / "go").touch()
    if process := runner_process(home):
        os.kill(process.pid, signal.SIGKILL)


def runner_process(home: Path) -> ProcessId | None:
    try:
        record = json.loads((queue_folder(home) / "runner.json").read_text())
    except OSError:
        return None
    process = ProcessId.from_json(record.get("process"))
    return process if process and is_alive(process) else None


def until(reached: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30
    while not reached():
        assert time.monotonic() < deadline, "not reached"
        time.sleep(0.02)


def running(home: Path) -> list[str]:
    return titles(list_queue(home), RUNNING)


def test_the_queue_runs_to_its_end_in_a_session_of_its_own(home: Path, processes: Path) -> None:
    for name in "ab":
        enqueue(home, spec(name))
    start_runner(home)
    until(lambda: running(home) == ["a"])
    state = runner_state(home)
    process = runner_process(home)
    assert process is not None
    assert (state.is_alive, state.words) == (True, f"runs (pid {process.pid})")
    assert os.getsid(process.pid) == process.pid
    start_runner(home)
    assert runner_process(home) == process
    processes.touch()
    until(lambda: not list_queue(home).items)
    until(lambda: not is_alive(process))
    assert [run.state().status for run in list_runs(home)] == [Status.FINISHED] * 2
    assert runner_state(home).words == "nothing waits"
    assert not (queue_folder(home) / "runner.json").exists()


def test_a_second_runner_is_refused(home: Path, processes: Path) -> None:
    enqueue(home, spec("a"))
    start_runner(home)
    command = [sys.executable, "-m", "fake_runner", str(home)]
    second = subprocess.run(command, capture_output=True, text=True, check=False)
    assert second.returncode == 2
    assert "the queue has a runner" in second.stdout


def test_a_killed_runner_is_started_again_and_finds_its_runs(home: Path, processes: Path) -> None:
    for name in "ab":
        enqueue(home, spec(name))
    start_runner(home)
    until(lambda: list_runs(home) and list_runs(home)[0].state().worker)
    process = runner_process(home)
    assert process is not None
    os.kill(process.pid, signal.SIGKILL)
    until(lambda: not is_alive(process))
    assert list_runs(home)[0].liveness().is_alive
    assert runner_state(home).restarts
    assert runner_state(home).words.startswith("was killed; last heard")
    assert keep_running(home) == "the queue's runner was gone and is started again"
    assert keep_running(home) is None
    processes.touch()
    until(lambda: not list_queue(home).items)
    assert [run.id for run in list_runs(home)] == ["r2-b", "r1-a"]
    assert all(run.state().attempt == 1 for run in list_runs(home))


def test_after_a_reboot_it_says_so_and_waits_for_a_person(home: Path, processes: Path) -> None:
    processes.touch()
    assert keep_running(home) is None
    enqueue(home, spec("a"))
    record = {"host": host_name(), "boot_id": "another", "heartbeat": time.time()}
    path = queue_folder(home) / "runner.json"
    path.write_text(json.dumps(record))
    words = "the machine was restarted; `finetune-tui queue start` goes on"
    assert runner_state(home).words == words
    assert keep_running(home) == f"the queue waits: {words}"
    assert titles(list_queue(home), WAITING) == ["a"]
    start_runner(home)
    until(lambda: not list_queue(home).items)


def test_a_runner_on_another_host_is_left_alone_while_it_is_heard(
    home: Path, processes: Path
) -> None:
    enqueue(home, spec("a"))
    path = queue_folder(home) / "runner.json"
    path.write_text(json.dumps({"host": "far", "heartbeat": time.time() - 40}))
    state = runner_state(home)
    assert (state.is_alive, state.words) == (True, "on far, last heard 40s ago")
    start_runner(home)
    assert titles(list_queue(home), WAITING) == ["a"]
    path.write_text(json.dumps({"host": "far", "heartbeat": time.time() - 400}))
    assert not runner_state(home).is_alive
    assert keep_running(home) == "the queue waits: on far, last heard 6m40 ago"
    for content in ("", "[]", "{}", '{"host": 3, "heartbeat": "x"}'):
        path.write_text(content)
        assert not runner_state(home).is_alive


def test_a_runner_that_cannot_begin_is_an_error_at_once(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    enqueue(home, spec("a"))
    monkeypatch.setattr(running_queue, "RUNNER", "no_such_module")
    with pytest.raises(WorkFailed, match="ended before it began"):
        start_runner(home)
