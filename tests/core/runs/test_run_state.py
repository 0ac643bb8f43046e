"""The state file, its liveness, and processes."""

import errno
import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune_tui.core.runs import supervisor
from finetune_tui.core.runs.directory import RunDirectory
from finetune_tui.core.runs.liveness import derived_status
from finetune_tui.core.runs.processes import (
    ProcessId,
    boot_id,
    host_name,
    is_alive,
    pid_namespace,
    process_of,
    this_process,
)
from finetune_tui.core.runs.state import State, Status, read_state, write_state
from finetune_tui.core.text import plain

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
ACTIVE = [Status.STARTING, Status.PREPARING, Status.RUNNING, Status.PAUSED]


def running(**values: object) -> State:
    here = State(
        status=Status.RUNNING,
        step=12,
        total_steps=40,
        host=host_name(),
        boot_id=boot_id(),
        pid_namespace=pid_namespace(),
        supervisor=this_process(),
        heartbeat=time.time(),
    )
    return here.changed(**values)


def gone() -> ProcessId:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    process = process_of(child.pid)
    child.kill()
    child.communicate()
    assert process is not None
    return process


def test_a_state_comes_back_as_it_was(tmp_path: Path) -> None:
    state = running(loss=1.25, why="because", worker=ProcessId(7, "99"), attempt=2)
    write_state(tmp_path / "state.json", state)
    assert read_state(tmp_path / "state.json") == state
    assert [path.name for path in tmp_path.iterdir()] == ["state.json"]


def test_numbers_that_json_lacks_become_unknown(tmp_path: Path) -> None:
    write_state(tmp_path / "state.json", running(loss=math.nan, eval_loss=math.inf))
    state = read_state(tmp_path / "state.json")
    assert (state.loss, state.eval_loss) == (None, None)


@given(st.binary() | JSON.map(lambda value: json.dumps(value).encode()) | st.just(b"9" * 5000))
def test_any_bytes_are_a_state_or_broken(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    path = tmp_path_factory.mktemp("state") / "state.json"
    path.write_bytes(content)
    state = read_state(path)
    assert state.status is Status.BROKEN
    assert state.why
    assert derived_status(state).status is Status.BROKEN


@given(st.fixed_dictionaries({}, optional=dict.fromkeys(State.__dataclass_fields__, JSON)))
def test_fields_of_any_type_are_known_or_unknown(fields: dict[str, object]) -> None:
    state = State.from_json(json.loads(json.dumps({"status": "running", **fields})))
    json.dumps(state.to_json(), allow_nan=False)
    words = derived_status(state).words
    assert words == plain(words)


def test_brackets_without_end_and_missing_files_are_broken(tmp_path: Path) -> None:
    (tmp_path / "state.json").write_text("[" * 20_000)
    assert read_state(tmp_path / "state.json").status is Status.BROKEN
    assert read_state(tmp_path / "none.json").status is Status.BROKEN


def test_alive_means_this_very_process() -> None:
    here = this_process()
    assert is_alive(here)
    assert not is_alive(ProcessId(here.pid, here.start_time + "0"))
    assert not is_alive(gone())


def test_a_zombie_is_not_alive() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    process = process_of(child.pid)
    assert process is not None
    assert is_alive(process)
    os.kill(child.pid, signal.SIGKILL)
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert not is_alive(process)
    child.communicate()


@pytest.mark.parametrize("status", ACTIVE)
def test_the_death_of_both_is_seen_at_once(status: Status) -> None:
    state = running(status=status, supervisor=gone(), worker=gone())
    assert derived_status(state).status is Status.DEAD
    assert "last heard 0s ago" in derived_status(state).words


def test_one_of_the_two_is_enough_to_be_alive() -> None:
    for state in (
        running(supervisor=gone(), worker=this_process()),
        running(supervisor=this_process(), worker=gone()),
    ):
        assert derived_status(state).status is Status.RUNNING
        assert derived_status(state).words == "step 12 of 40"


def test_another_machine_is_elsewhere_and_never_dead() -> None:
    state = running(host="far\x1b[31maway", boot_id="other", supervisor=gone())
    seen = derived_status(state, (state.heartbeat or 0) + 40)
    assert seen.status is Status.ELSEWHERE
    assert seen.words == "on faraway, last heard 40s ago"
    assert derived_status(state, time.time() + 10**6).status is Status.ELSEWHERE


def test_a_restarted_machine_is_the_end() -> None:
    seen = derived_status(running(boot_id="other"))
    assert seen.status is Status.DEAD
    assert "restarted" in seen.words


def test_another_container_is_judged_by_its_heartbeat() -> None:
    state = running(pid_namespace="pid:[1]", supervisor=gone())
    assert derived_status(state).status is Status.ELSEWHERE
    assert derived_status(state, time.time() + 3600).status is Status.DEAD


def test_an_ended_run_is_what_it_says() -> None:
    seen = derived_status(State(status=Status.KILLED, why="killed by signal 9 (SIGKILL)"))
    assert (seen.status, seen.words) == (Status.KILLED, "killed by signal 9 (SIGKILL)")


def test_a_held_run_is_alive_and_says_why() -> None:
    seen = derived_status(running(status=Status.PAUSED, why="held on request"))
    assert seen.is_alive
    assert (seen.status, seen.words) == (Status.PAUSED, "paused at step 12: held on request")


def test_a_released_run_is_paused_and_not_alive() -> None:
    state = running(status=Status.PAUSED, ended=5.0, why="paused at step 12", worker=this_process())
    seen = derived_status(state)
    assert not seen.is_alive
    assert (seen.status, seen.words) == (Status.PAUSED, "paused at step 12")


def test_the_last_words_wait_for_room_on_the_disk(
    run: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries = []
    before = run.state_path.read_bytes()

    def full_twice(path: Path, state: State, durable: bool) -> None:
        tries.append(path.read_bytes())
        if len(tries) < 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        write_state(path, state, durable)

    monkeypatch.setattr(supervisor, "write_state", full_twice)
    supervisor._write(run, running(), durable=True)
    assert tries == [before] * 3
    assert run.state().status is Status.RUNNING


def test_other_errors_of_the_disk_do_not_wait(
    run: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(supervisor, "write_state", broken)
    with pytest.raises(OSError, match="Input/output"):
        supervisor._write(run, running())
