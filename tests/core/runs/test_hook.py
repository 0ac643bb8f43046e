"""Being told: the person's own command runs exactly once for each end, whoever was killed before."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from finetune_tui.core.runs import hook, liveness, untold
from finetune_tui.core.runs.directory import RunDirectory, create_run
from finetune_tui.core.runs.events import read_events
from finetune_tui.core.runs.hook import last_test, run_hook, try_hook
from finetune_tui.core.runs.processes import ProcessId, boot_id, host_name, is_alive
from finetune_tui.core.runs.start import start_run
from finetune_tui.core.runs.state import State, Status, write_state
from finetune_tui.core.runs.untold import (
    expect_end,
    notice_ends,
    runs_under_way,
    tell_end,
    tell_own_end,
)
from finetune_tui.core.settings import change_setting

WorkerCommand = Callable[[str], list[str]]
WaitFor = Callable[[Callable[[State], bool]], State]

WAIT = "time.sleep(60)\n"


@pytest.fixture
def told(tmp_path: Path) -> Path:
    """One line for each time the hook ran; and a hook that writes them."""
    path = tmp_path / "told"
    names = ("ID", "STATUS", "WHY", "STEP", "EVAL_LOSS", "BEST_STEP", "MODEL", "NAME", "WORDS")
    line = "|".join(f"$FINETUNE_TUI_{name}" for name in names)
    change_setting("on_end", f'echo "{line}" >> {path}; echo printed')
    return path


def ended(state: State) -> bool:
    return state.ended is not None


def at_work(state: State) -> bool:
    return state.worker is not None


def lines(told: Path, run: RunDirectory) -> list[list[str]]:
    """What was told, once whoever tells is done: the hook's own event comes last."""
    deadline = time.monotonic() + 20
    while not hooks(run):
        assert time.monotonic() < deadline, "the hook did not run"
        time.sleep(0.02)
    return [line.split("|") for line in told.read_text().splitlines()]


def hooks(run: RunDirectory) -> list[dict[str, object]]:
    return [event for event in read_events(run.events_path) if event["kind"] == "hook"]


def kill(*processes: ProcessId | None) -> None:
    for process in processes:
        assert process is not None
        os.kill(process.pid, signal.SIGKILL)
    gone(*processes)


def gone(*processes: ProcessId | None) -> None:
    deadline = time.monotonic() + 10
    while any(process and is_alive(process) for process in processes):
        assert time.monotonic() < deadline
        time.sleep(0.01)


FINISH = 'append_event(run, "finished", steps=40, eval_loss=0.5)\n'
STOPPED = 'append_event(run, "stopped", step=12)\n'
FAILED = 'append_event(run, "failed", message="bad row")\nsys.exit(1)\n'
EARLY = FINISH.replace("steps=40", 'why="no better evaluation in 3", steps=40')


@pytest.mark.parametrize(
    ("lines_of_worker", "status", "why"),
    [
        (FINISH, "finished", "finished"),
        (EARLY, "finished", "no better evaluation in 3"),
        (STOPPED, "stopped", "stopped on request at step 12"),
        (FAILED, "failed", "bad row"),
        ("os.kill(os.getpid(), signal.SIGKILL)\n", "killed", "killed by signal 9 (SIGKILL)"),
    ],
)
def test_every_end_is_told_once_with_its_facts(
    run: RunDirectory,
    worker: WorkerCommand,
    wait_for: WaitFor,
    told: Path,
    lines_of_worker: str,
    status: str,
    why: str,
) -> None:
    start_run(run, command=worker(lines_of_worker))
    state = wait_for(ended)
    (line,) = lines(told, run)
    assert line[:3] == ["r1-demo", status, why]
    assert line[3] == str(state.step)
    assert line[6] == "demo"
    gone(state.supervisor)
    assert notice_ends(run.path.parent.parent) == []
    (event,) = hooks(run)
    assert event["exit_code"] == 0
    assert "printed" in run.log_path.read_text()
    assert run.state() == state


def test_a_released_run_is_no_end(
    run: RunDirectory, worker: WorkerCommand, wait_for: WaitFor, told: Path
) -> None:
    start_run(run, command=worker('append_event(run, "paused", step=3, how="release")\n'))
    gone(wait_for(ended).supervisor)
    assert not told.exists()
    start_run(run, resume=True, command=worker(FINISH))
    wait_for(lambda state: state.attempt == 2 and ended(state))
    assert [line[1] for line in lines(told, run)] == ["finished"]


def test_a_failing_hook_changes_nothing_of_the_run(
    run: RunDirectory, worker: WorkerCommand, wait_for: WaitFor
) -> None:
    change_setting("on_end", "exit 3")
    start_run(run, command=worker(FINISH))
    state = wait_for(ended)
    assert lines_of_hook(run) == [(3, "exit code 3")]
    assert run.state() == state
    assert state.status is Status.FINISHED


def lines_of_hook(run: RunDirectory) -> list[tuple[object, object]]:
    deadline = time.monotonic() + 20
    while not hooks(run) and time.monotonic() < deadline:
        time.sleep(0.02)
    return [(event["exit_code"], event["words"]) for event in hooks(run)]


def test_a_spec_cannot_bring_a_hook(
    run: RunDirectory, worker: WorkerCommand, wait_for: WaitFor, tmp_path: Path
) -> None:
    run.spec_path.write_text(run.spec_path.read_text() + f"on_end: touch {tmp_path / 'evil'}\n")
    start_run(run, command=worker(FINISH))
    gone(wait_for(ended).supervisor)
    assert not (tmp_path / "evil").exists()


def test_the_worker_has_it_told_when_its_supervisor_was_killed(
    run: RunDirectory, worker: WorkerCommand, wait_for: WaitFor, told: Path, tmp_path: Path
) -> None:
    go = tmp_path / "go"
    lines_of_worker = (
        f"while not Path({str(go)!r}).exists(): time.sleep(0.01)\n"
        "from finetune_tui.core.runs.endings import ending_of, final_state\n"
        "from finetune_tui.core.runs.untold import tell_end\n"
        'event = append_event(run, "finished", steps=40)\n'
        "end = final_state(run.state(), ending_of(run, 0, event, out_of_memory=False))\n"
        "write_state(run.state_path, end)\n"
        "tell_end(run)\n"
    )
    start_run(run, command=worker(lines_of_worker))
    state = wait_for(at_work)
    kill(state.supervisor)
    home = run.path.parent.parent
    assert notice_ends(home) == []  # it goes on
    assert runs_under_way(home) == [run]
    go.touch()
    wait_for(ended)
    assert [line[:2] for line in lines(told, run)] == [["r1-demo", "finished"]]
    assert notice_ends(home) == []


def test_the_real_worker_has_it_told_too(run: RunDirectory, told: Path) -> None:
    """Its reporter, in this process: as if the supervisor that started it were gone."""
    from finetune_tui.core.training.reporter import Reporter

    expect_end(run, 1)
    write_state(run.state_path, run.state().changed(attempt=1, status=Status.RUNNING))
    reporter = Reporter(run)
    reporter.start()
    reporter._parent = -1
    reporter.event("finished", steps=40)
    reporter.end()
    assert [line[:2] for line in lines(told, run)] == [["r1-demo", "finished"]]
    assert notice_ends(run.path.parent.parent) == []


def test_a_worker_that_the_kernel_ended_for_want_of_memory(
    run: RunDirectory, worker: WorkerCommand, tmp_path: Path, told: Path
) -> None:
    """The kernel's own counter is read before and after: here it goes up meanwhile."""
    script = tmp_path / "counting.py"
    script.write_text(
        "import itertools, sys\n"
        "from finetune_tui.core.runs import supervisor\n"
        "kills = itertools.count()\n"
        "supervisor.oom_kills = lambda: next(kills)\n"
        "sys.exit(supervisor.main(sys.argv[1:]))\n"
    )
    killed = worker("os.kill(os.getpid(), signal.SIGKILL)\n")
    command = [sys.executable, str(script), str(run.path), "--", *killed]
    assert subprocess.run(command, check=False).returncode == 1
    (line,) = lines(told, run)
    assert line[1:3] == ["killed", "killed by the kernel: out of memory"]
    assert run.liveness().words == "killed by the kernel: out of memory"


def test_when_both_were_killed_the_next_who_looks_has_it_told_once(
    run: RunDirectory, worker: WorkerCommand, wait_for: WaitFor, told: Path
) -> None:
    start_run(run, command=worker(WAIT))
    state = wait_for(at_work)
    kill(state.supervisor, state.worker)
    home = run.path.parent.parent
    assert notice_ends(home) == [run]
    tell_end(run)  # two at once
    folder = str(run.path.parent)
    command = [sys.executable, "-m", "finetune_tui.core.runs.untold", folder]
    subprocess.run(command, check=True)
    (line,) = lines(told, run)
    assert line[1:3] == ["dead", line[2]]
    assert line[2].startswith("supervisor and worker are gone; last heard")
    assert notice_ends(home) == []
    assert len(told.read_text().splitlines()) == 1


def of_another_time(run: RunDirectory, **values: object) -> None:
    """A run that some supervisor began and nobody ended."""
    state = State(status=Status.RUNNING, host=host_name(), boot_id=boot_id(), attempt=1, step=7)
    expect_end(run, 1)
    write_state(run.state_path, state.changed(worker=ProcessId(2**30, "1"), **values))


def test_after_a_reboot_the_next_who_looks_has_it_told(run: RunDirectory, told: Path) -> None:
    now = time.time()
    of_another_time(run, boot_id="another", started=now - 60, heartbeat=now - 40)
    home = run.path.parent.parent
    assert run.liveness().words == "the machine was restarted; last heard 40s ago"
    assert notice_ends(home) == [run]
    (line,) = lines(told, run)
    assert line[1] == "dead"
    assert "r1-demo dead after 20s: the machine was restarted" in line[-1]
    assert notice_ends(home) == []


def test_another_host_tells_its_own(
    run: RunDirectory, told: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two hosts on one home: here it is elsewhere, there it is over."""
    of_another_time(run, host="far", boot_id="of far", heartbeat=time.time() - 40)
    home = run.path.parent.parent
    assert run.liveness().words == "on far, last heard 40s ago"
    assert notice_ends(home) == []
    for module in (untold, liveness):
        monkeypatch.setattr(module, "host_name", lambda: "far")
    monkeypatch.setattr(liveness, "boot_id", lambda: "of far")
    monkeypatch.setattr(untold, "_start_teller", lambda folder: untold.main([str(folder)]))
    assert notice_ends(home) == [run]
    assert len(lines(told, run)) == 1
    assert notice_ends(home) == []


def test_a_rehearsal_is_no_run_to_be_told_of(
    run: RunDirectory, worker: WorkerCommand, wait_for: WaitFor, told: Path
) -> None:
    start_run(run, command=worker(FINISH), tells=False)
    gone(wait_for(ended).supervisor)
    assert notice_ends(run.path.parent.parent) == []
    assert not told.exists()
    assert not hooks(run)


def test_without_a_hook_an_end_is_over_all_the_same(run: RunDirectory, tmp_path: Path) -> None:
    of_another_time(run, boot_id="another")
    folder = run.path.parent
    untold.main([str(folder)])
    change_setting("on_end", f"touch {tmp_path / 'late'}")
    assert notice_ends(folder.parent) == []
    assert untold.main([str(folder)]) == 0
    assert not (tmp_path / "late").exists()


def test_runs_that_nobody_waits_for_are_never_told(home: Path, told: Path) -> None:
    """Runs of before there were hooks, deleted ones, ones that went on, and names that mean nothing."""
    old = create_run(home, "task: train\n", "old")
    write_state(old.state_path, State(status=Status.KILLED, host=host_name(), attempt=1, ended=5.0))
    onward = create_run(home, "task: train\n", "onward")
    expect_end(onward, 1)
    write_state(onward.state_path, State(status=Status.FINISHED, host=host_name(), attempt=2))
    expect_end(RunDirectory(home / "runs" / "r9-deleted"), 1)
    for name in ("nonsense", "..1", ".", "r1.x", "r2-onward.99999999999"):
        if name != ".":
            (home / "runs" / ".untold" / name).touch()
    assert notice_ends(home) == []
    assert not told.exists()
    assert not (home / "runs" / ".untold" / "r9-deleted.1").exists()


def test_without_room_for_a_token_the_supervisor_tells_all_the_same(
    run: RunDirectory, told: Path
) -> None:
    (run.path.parent / ".untold").touch()  # no folder can be made there
    assert expect_end(run, 1) is False
    tell_own_end(run, State(status=Status.FAILED, attempt=1), is_expected=False)
    assert len(lines(told, run)) == 1


def test_a_hook_that_takes_too_long_is_ended_with_all_it_started(
    run: RunDirectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hook, "TIME_LIMIT", 0.3)
    monkeypatch.setattr(hook, "_GRACE", 0.3)
    pid = tmp_path / "pid"
    command = f"trap '' TERM; sleep 60 & echo $! > {pid}; wait; sleep 60"
    result = run_hook(run, State(status=Status.FINISHED), command)
    assert (result.exit_code, result.ok) == (None, False)
    assert result.words.startswith("ended after 0s: a hook has")
    assert not Path(f"/proc/{pid.read_text().strip()}/stat").exists() or is_zombie(pid)


def is_zombie(pid: Path) -> bool:
    stat = Path(f"/proc/{pid.read_text().strip()}/stat").read_text()
    return stat.rpartition(")")[2].split()[0] == "Z"


def test_facts_are_plain_and_never_code(run: RunDirectory, tmp_path: Path) -> None:
    evil = f"\x1b[2Jx'; touch {tmp_path / 'evil'}; $(touch {tmp_path / 'evil'})\0"
    state = State(status=Status.FAILED, why=evil, model=evil, loss=0.5, started=5.0, ended=65.5)
    seen = tmp_path / "seen"
    command = f'printf "%s\\n" "$FINETUNE_TUI_WHY" "$FINETUNE_TUI_SECONDS" >{seen}; env >>{seen}'
    assert run_hook(run, state, command).ok
    assert not (tmp_path / "evil").exists()
    why, seconds, *rest = seen.read_text().splitlines()
    assert why.startswith("x'; touch")
    assert seconds == "60.5"
    assert "FINETUNE_TUI_BEST_STEP=" in rest
    assert f"FINETUNE_TUI_HOME={run.path.parent.parent}" in rest


def test_a_hook_reads_nothing_and_stands_in_the_run(run: RunDirectory) -> None:
    assert run_hook(run, State(status=Status.STOPPED), "cat; pwd").ok
    assert run.log_path.read_text() == f"{run.path}\n"


def test_a_test_says_how_it_went_and_is_remembered(home: Path) -> None:
    assert last_test(home, "true") is None
    assert try_hook(home, "true").ok
    remembered = last_test(home, "true")
    assert remembered is not None
    assert remembered.ok
    assert abs(remembered.time - time.time()) < 60
    assert last_test(home, "false") is None
    failed = try_hook(home, "echo 'no such thing \x1b[31m' >&2; exit 127")
    assert (failed.exit_code, failed.words) == (127, "exit code 127: no such thing")
    assert last_test(home, "true") is None
    assert "echo" not in (home / "hook.json").read_text()


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"command": 3}', "nonsense"])
def test_a_broken_memory_of_a_test_is_none(home: Path, content: str) -> None:
    home.mkdir()
    (home / "hook.json").write_text(content)
    assert last_test(home, "true") is None
    values = {"command": hook._digest("true"), "time": "x", "exit_code": 0, "words": 1}
    (home / "hook.json").write_text(json.dumps(values))
    assert last_test(home, "true") is None
