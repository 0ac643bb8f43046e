"""Real supervisors over real workers, ended in every way a worker ends."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from finetune_tui.core.errors import UserError, WorkFailed
from finetune_tui.core.runs.directory import RunDirectory
from finetune_tui.core.runs.endings import ending_of, final_state
from finetune_tui.core.runs.events import read_events
from finetune_tui.core.runs.lock import LOCK_VARIABLE, adopt_or_take_lock, is_locked, take_lock
from finetune_tui.core.runs.processes import ProcessId, is_alive
from finetune_tui.core.runs.requests import drop_request, take_requests
from finetune_tui.core.runs.start import holds, resumable, resume_run, start_run
from finetune_tui.core.runs.state import State, Status, write_state

WorkerCommand = Callable[[str], list[str]]
WaitFor = Callable[[Callable[[State], bool]], State]

FINISH = 'append_event(run, "finished", steps=40, eval_loss=0.5)\n'
WAIT = "time.sleep(60)\n"


def ended(state: State) -> bool:
    return state.ended is not None


def at_work(state: State) -> bool:
    return state.worker is not None


def kinds(run: RunDirectory) -> list[str]:
    return [event["kind"] for event in read_events(run.events_path)]


def last(run: RunDirectory) -> dict[str, Any]:
    return list(read_events(run.events_path))[-1]


def gone(process: ProcessId | None) -> None:
    assert process is not None
    deadline = time.monotonic() + 10
    while is_alive(process):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_run_that_finishes(run: RunDirectory, worker: WorkerCommand, wait_for: WaitFor) -> None:
    pid = start_run(run, command=worker(FINISH))
    state = wait_for(ended)
    assert state.status is Status.FINISHED
    assert (state.exit_code, state.signal, state.why, state.hint) == (0, None, "finished", None)
    assert (state.step, state.eval_loss, state.attempt) == (40, 0.5, 1)
    assert state.supervisor is not None
    assert state.supervisor.pid == pid
    assert kinds(run) == ["started", "finished"]
    assert resumable(run) == "r1 is finished: there is nothing left to do"


def test_a_stopped_run_says_how_to_go_on(
    run: RunDirectory, worker: WorkerCommand, wait_for: WaitFor
) -> None:
    (run.checkpoints / "step-000012").mkdir()
    (run.checkpoints / "step-000012" / "manifest.json").touch()
    start_run(run, command=worker('append_event(run, "stopped", step=12)\n'))
    state = wait_for(ended)
    assert (state.status, state.step) == (Status.STOPPED, 12)
    assert state.why == "stopped on request at step 12"
    assert state.hint == "finetune-tui resume r1 goes on from step 12"


def test_a_released_run_is_paused_and_goes_on_when_resumed(
    run: RunDirectory, worker: WorkerCommand, wait_for: WaitFor
) -> None:
    (run.checkpoints / "step-000012").mkdir()
    (run.checkpoints / "step-000012" / "manifest.json").touch()
    released = 'append_event(run, "paused", step=12, how="release")\n'
    start_run(run, command=worker(released))
    state = wait_for(ended)
    assert (state.status, state.exit_code) == (Status.PAUSED, 0)
    assert state.why == "paused at step 12, memory and GPU are free"
    assert state.hint == "finetune-tui resume r1 goes on from step 12"
    gone(state.supervisor)
    assert not run.liveness().is_alive
    assert not holds(run)
    assert resumable(run) is None
    start_run(run, resume=True, command=worker(FINISH))
    assert wait_for(lambda state: state.attempt == 2 and ended(state)).status is Status.FINISHED


def test_a_worker_that_holds_is_told_to_go_on_and_one_that_dies_holding_was_killed(
    run: RunDirectory, worker: WorkerCommand, wait_for: WaitFor
) -> None:
    lines = 'append_event(run, "paused", step=3, how="hold")\nbeat(status=Status.PAUSED)\n'
    start_run(run, command=worker(lines + WAIT))
    state = wait_for(lambda state: state.status is Status.PAUSED)
    assert holds(run)
    assert resume_run(run) is None
    assert take_requests(run) == ["resume"]
    with pytest.raises(UserError, match="already running"):
        start_run(run, resume=True)
    assert state.worker is not None
    os.kill(state.worker.pid, signal.SIGKILL)
    assert wait_for(ended).status is Status.KILLED
    assert not holds(run)


def test_a_pause_that_is_not_yet_taken_can_be_taken_back(
    run: RunDirectory, worker: WorkerCommand, wait_for: WaitFor
) -> None:
    start_run(run, command=worker(WAIT))
    wait_for(at_work)
    assert not holds(run)
    drop_request(run, "pause")
    assert holds(run)
    assert resume_run(run) is None


def test_requests_are_taken_once_and_in_the_order_of_asking(run: RunDirectory) -> None:
    for kind in ("resume", "pause", "stop", "resume"):
        drop_request(run, kind)
        time.sleep(0.02)  # more than a disk's clock ticks
    (run.requests / "nonsense").touch()
    assert take_requests(run) == ["pause", "stop", "resume"]
    assert take_requests(run) == []
    with pytest.raises(UserError, match="'paws' is not a request; did you mean 'pause'"):
        drop_request(run, "paws")


def test_a_run_that_fails_keeps_its_own_words(
    run: RunDirectory, worker: WorkerCommand, wait_for: WaitFor
) -> None:
    start_run(
        run,
        command=worker(
            'append_event(run, "failed", message="bad row\\x1b[2J", hint="fix it", where="a:7")\n'
            "sys.exit(1)\n"
        ),
    )
    state = wait_for(ended)
    assert (state.status, state.exit_code, state.why) == (Status.FAILED, 1, "bad row")
    assert state.hint == "fix it; finetune-tui resume r1 begins again at step 0"
    assert kinds(run) == ["started", "failed"]


def test_a_killed_worker_is_told_once(
    run: RunDirectory, worker: WorkerCommand, wait_for: WaitFor
) -> None:
    start_run(run, command=worker('append_event(run, "step", step=5)\nbeat()\n' + WAIT))
    at = wait_for(lambda state: at_work(state) and "step" in kinds(run))
    assert at.worker is not None
    assert run.liveness().is_alive
    os.kill(at.worker.pid, signal.SIGKILL)
    state = wait_for(ended)
    assert (state.status, state.signal, state.exit_code) == (Status.KILLED, 9, None)
    assert state.step == 5  # as its events say, which are ahead of its heartbeat
    assert state.why == "killed by signal 9 (SIGKILL)"
    assert kinds(run) == ["started", "step", "failed"]
    assert last(run)["message"] == state.why
    gone(state.supervisor)
    assert run.state() == state
    assert resumable(run) is None


@pytest.mark.parametrize(("code", "why"), [(0, "without finishing"), (3, "exit code 3")])
def test_a_worker_that_ends_without_a_word(
    run: RunDirectory, worker: WorkerCommand, code: int, why: str, wait_for: WaitFor
) -> None:
    start_run(run, command=worker(f"print('the last line', flush=True)\nos._exit({code})\n"))
    state = wait_for(ended)
    assert (state.status, state.exit_code) == (Status.FAILED, code)
    assert why in (state.why or "")
    assert "the last line" in (state.why or "")
    assert last(run)["where"] == str(run.log_path)


def test_a_torn_last_event_does_not_hide_the_ending(
    run: RunDirectory, worker: WorkerCommand, wait_for: WaitFor
) -> None:
    tear = 'run.events_path.open("ab", buffering=0).write(b\'{"kind":"st\')\nos._exit(3)\n'
    start_run(run, command=worker(tear))
    assert wait_for(ended).status is Status.FAILED
    assert kinds(run) == ["started", "failed"]


def test_a_crash_after_the_work_was_done_does_not_undo_it(
    run: RunDirectory, worker: WorkerCommand, wait_for: WaitFor
) -> None:
    start_run(run, command=worker(FINISH + "os.kill(os.getpid(), signal.SIGSEGV)\n"))
    state = wait_for(ended)
    assert (state.status, state.signal) == (Status.FINISHED, 11)
    assert state.why == "finished; the worker then died of signal 11 (SIGSEGV)"


def test_a_worker_that_cannot_be_started(run: RunDirectory, wait_for: WaitFor) -> None:
    start_run(run, command=["/no/such/program"])
    state = wait_for(ended)
    assert state.status is Status.FAILED
    assert "No such file" in (state.why or "")
    assert kinds(run) == ["failed"]


def test_a_hangup_is_ignored_and_a_request_to_end_is_passed_on(
    run: RunDirectory, worker: WorkerCommand, wait_for: WaitFor
) -> None:
    lines = (
        "def stop(*_):\n"
        '    append_event(run, "stopped", step=3)\n'
        "    os._exit(0)\n"
        "signal.signal(signal.SIGTERM, stop)\n"
        "beat(phase='listening')\n"
    )
    pid = start_run(run, command=worker(lines + WAIT))
    state = wait_for(lambda state: state.phase == "listening")
    assert state.worker is not None
    os.kill(pid, signal.SIGHUP)
    os.kill(state.worker.pid, signal.SIGHUP)
    os.kill(pid, signal.SIGTERM)
    assert wait_for(ended).status is Status.STOPPED
    assert kinds(run) == ["started", "stopped"]


def test_the_final_state_is_written_once(
    run: RunDirectory, worker: WorkerCommand, tmp_path: Path
) -> None:
    """Every state the supervisor writes, seen through a recorder in its process."""
    record = tmp_path / "written"
    script = tmp_path / "recording.py"
    script.write_text(
        "import sys\n"
        "from pathlib import Path\n"
        "from finetune_tui.core.runs import supervisor\n"
        "real = supervisor.write_state\n"
        "def recorded(path, state, durable=False):\n"
        f"    with open({str(record)!r}, 'a') as file: print(state.status, file=file)\n"
        "    real(path, state, durable)\n"
        "supervisor.write_state = recorded\n"
        "sys.exit(supervisor.main(sys.argv[1:]))\n"
    )
    command = [sys.executable, str(script), str(run.path), "--", *worker(FINISH)]
    assert subprocess.run(command, check=False).returncode == 0
    assert record.read_text().split() == ["starting", "finished"]


def test_the_death_of_both_is_seen_at_once_and_can_be_gone_on_from(
    run: RunDirectory, worker: WorkerCommand, wait_for: WaitFor
) -> None:
    pid = start_run(run, command=worker(WAIT))
    state = wait_for(at_work)
    assert state.worker is not None
    os.kill(pid, signal.SIGKILL)
    os.kill(state.worker.pid, signal.SIGKILL)
    gone(state.supervisor)
    gone(state.worker)
    assert run.liveness().status is Status.DEAD
    assert run.summary()["status"] == "dead"
    assert resumable(run) is None
    start_run(run, resume=True, command=worker(FINISH))
    state = wait_for(ended)
    assert (state.status, state.attempt) == (Status.FINISHED, 2)


def test_a_worker_goes_on_without_its_supervisor_and_keeps_the_lock(
    run: RunDirectory, worker: WorkerCommand, tmp_path: Path, wait_for: WaitFor
) -> None:
    go = tmp_path / "go"
    lines = (
        f"while not Path({str(go)!r}).exists(): time.sleep(0.01)\n"
        "from finetune_tui.core.runs.endings import ending_of, final_state\n"
        'event = append_event(run, "finished", steps=40)\n'
        "end = final_state(run.state(), ending_of(run, 0, event, out_of_memory=False))\n"
        "write_state(run.state_path, end)\n"
    )
    pid = start_run(run, command=worker(lines))
    state = wait_for(at_work)
    os.kill(pid, signal.SIGKILL)
    gone(state.supervisor)
    assert run.liveness().status is Status.RUNNING
    assert is_locked(run)
    with pytest.raises(UserError, match=r"r1 is already running \(pid"):
        start_run(run, resume=True, command=worker(FINISH))
    go.touch()
    assert wait_for(ended).status is Status.FINISHED


def test_the_second_is_refused(run: RunDirectory, worker: WorkerCommand, wait_for: WaitFor) -> None:
    start_run(run, command=worker(WAIT))
    state = wait_for(at_work)
    for resume in (False, True):
        with pytest.raises(UserError, match="already running"):
            start_run(run, resume=resume)
    command = [sys.executable, "-m", "finetune_tui.core.runs.supervisor", str(run.path)]
    second = subprocess.run(command, capture_output=True, text=True, check=False)
    assert second.returncode == 2
    assert "already running (pid" in second.stderr
    assert run.state() == state
    assert kinds(run) == ["started"]


def test_what_ended_is_started_again_only_by_resuming(
    run: RunDirectory, worker: WorkerCommand, wait_for: WaitFor
) -> None:
    start_run(run, command=worker('append_event(run, "stopped", step=3)\n'))
    gone(wait_for(ended).supervisor)
    with pytest.raises(UserError, match="`finetune-tui resume r1` goes on"):
        start_run(run, command=worker(FINISH))
    start_run(run, resume=True, command=worker(FINISH))
    gone(wait_for(lambda state: state.status is Status.FINISHED).supervisor)
    with pytest.raises(UserError, match="nothing left to do"):
        start_run(run, resume=True, command=worker(FINISH))


def test_a_request_for_the_attempt_before_is_not_for_the_next(
    run: RunDirectory, worker: WorkerCommand, wait_for: WaitFor
) -> None:
    drop_request(run, "stop")
    start_run(run, command=worker(FINISH))
    assert wait_for(ended).status is Status.FINISHED
    assert take_requests(run) == []


def test_a_run_outlives_whoever_started_it(
    run: RunDirectory, worker: WorkerCommand, tmp_path: Path, wait_for: WaitFor
) -> None:
    go = tmp_path / "go"
    lines = f"while not Path({str(go)!r}).exists(): time.sleep(0.01)\n{FINISH}"
    starter = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import json, sys, time\n"
            "from pathlib import Path\n"
            "from finetune_tui.core.runs.directory import RunDirectory\n"
            "from finetune_tui.core.runs.start import start_run\n"
            "start_run(RunDirectory(Path(sys.argv[1])), command=json.loads(sys.argv[2]))\n"
            "time.sleep(60)\n",
            str(run.path),
            json.dumps(worker(lines)),
        ],
        start_new_session=True,
    )
    state = wait_for(at_work)
    assert state.supervisor is not None
    assert state.worker is not None
    assert os.getsid(state.supervisor.pid) == state.supervisor.pid
    assert os.getsid(state.worker.pid) == state.supervisor.pid
    os.killpg(starter.pid, signal.SIGKILL)
    starter.wait()
    assert run.liveness().is_alive
    go.touch()
    assert wait_for(ended).status is Status.FINISHED


def test_what_the_worker_left_behind_is_ended_with_it(
    run: RunDirectory, worker: WorkerCommand, wait_for: WaitFor
) -> None:
    lines = (
        "import subprocess\n"
        "from finetune_tui.core.runs.processes import process_of\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        "beat(phase=str(child.pid) + ' ' + process_of(child.pid).start_time)\n"
        "os._exit(3)\n"
    )
    start_run(run, command=worker(lines))
    pid, start_time = (wait_for(ended).phase or "").split()
    gone(ProcessId(int(pid), start_time))


def test_a_worker_gets_the_gpus_of_its_spec_and_a_safe_path(
    run: RunDirectory, worker: WorkerCommand, monkeypatch: pytest.MonkeyPatch, wait_for: WaitFor
) -> None:
    run.spec_path.write_text(
        "task: train\nmodel_name_or_path: demo\npreset: structured-output\n"
        "gpus: [GPU-11111111-2222-3333-4444-555555555555]\n"
    )
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    lines = (
        "names = ('CUDA_VISIBLE_DEVICES', 'PYTHONSAFEPATH')\n"
        'append_event(run, "finished", where=[os.environ.get(name) for name in names])\n'
    )
    start_run(run, command=worker(lines))
    wait_for(ended)
    assert last(run)["where"] == ["GPU-11111111-2222-3333-4444-555555555555", "1"]


def test_out_of_memory_is_said_in_words(run: RunDirectory) -> None:
    ending = ending_of(run, -signal.SIGKILL, None, out_of_memory=True)
    assert ending.status is Status.KILLED
    assert ending.why == "killed by the kernel: out of memory"
    assert "fewer bits" in (ending.hint or "")
    assert ending_of(run, -signal.SIGSEGV, None, out_of_memory=True).why == (
        "killed by signal 11 (SIGSEGV)"
    )
    state = final_state(State(status=Status.RUNNING, step=7), ending, now=5.0)
    assert (state.status, state.step, state.ended) == (Status.KILLED, 7, 5.0)


def test_a_supervisor_that_cannot_begin_is_an_error_at_once(run: RunDirectory) -> None:
    run.lock_path.mkdir()
    with pytest.raises(UserError, match="cannot be opened"):
        start_run(run, command=["true"])


def test_a_pipe_in_the_place_of_a_request_blocks_nobody(run: RunDirectory) -> None:
    os.mkfifo(run.requests / "stop")
    with pytest.raises(UserError, match="the request cannot be written"):
        drop_request(run, "stop")


def test_a_pipe_in_the_place_of_the_log_blocks_nobody(run: RunDirectory) -> None:
    os.mkfifo(run.log_path)
    with pytest.raises(WorkFailed, match="the supervisor cannot be started"):
        start_run(run, command=["true"])
    assert not is_locked(run)


def test_a_supervisor_that_dies_at_once_is_an_error(
    run: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(WorkFailed, match="ended before it began"):
        start_run(run, command=["true"])
    assert not is_locked(run)


def test_a_run_of_another_machine_is_left_alone_while_it_is_heard(run: RunDirectory) -> None:
    now = time.time()
    write_state(
        run.state_path, State(status=Status.RUNNING, host="far", heartbeat=now - 40, attempt=1)
    )
    assert resumable(run, now) == "r1 runs on far, last heard 40s ago"
    assert resumable(run, now + 3600) is None


def test_a_lock_that_was_not_handed_on_is_taken(
    run: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    for value in ("999", "nonsense", "0", "9" * 30):
        monkeypatch.setenv(LOCK_VARIABLE, value)
        lock = adopt_or_take_lock(run)
        assert is_locked(run)
        lock.close()
        assert not is_locked(run)
    assert LOCK_VARIABLE not in os.environ


def test_a_lock_is_held_by_one(run: RunDirectory) -> None:
    lock = take_lock(run)
    with pytest.raises(UserError, match=rf"already running \(pid {os.getpid()}\)"):
        take_lock(run)
    lock.close()
    take_lock(run).close()
