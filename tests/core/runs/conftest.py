"""A home with runs in it, and workers that are a few lines of Python each."""

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from finetune_tui.core.runs.directory import RunDirectory, create_run
from finetune_tui.core.runs.processes import is_alive
from finetune_tui.core.runs.state import State

SPEC = "task: train\nmodel_name_or_path: demo\n"

# What every small worker begins with: it adopts the lock and writes the state as the real one does.
WORKER = """
import os, signal, sys, time
from pathlib import Path
from finetune_tui.core.runs.directory import RunDirectory
from finetune_tui.core.runs.events import append_event
from finetune_tui.core.runs.lock import adopt_or_take_lock
from finetune_tui.core.runs.processes import this_process
from finetune_tui.core.runs.state import Status, write_state
run = RunDirectory(Path(sys.argv[1]))
lock = adopt_or_take_lock(run)
def beat(**values):
    state = run.state().changed(worker=this_process(), heartbeat=time.time(), **values)
    write_state(run.state_path, state)
beat(status=Status.RUNNING, step=3)
append_event(run, "started", model="demo", attempt=run.state().attempt)
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def run(home: Path) -> RunDirectory:
    return create_run(home, SPEC, "demo", model="demo", preset="structured-output")


@pytest.fixture
def worker(run: RunDirectory, tmp_path: Path) -> Callable[[str], list[str]]:
    """The command of a worker that goes on as the given lines say."""

    def command(lines: str) -> list[str]:
        script = tmp_path / "worker.py"
        script.write_text(WORKER + lines)
        return [sys.executable, str(script), str(run.path)]

    return command


@pytest.fixture(autouse=True)
def _no_process_is_left(request: pytest.FixtureRequest) -> Iterator[None]:
    """End what a failed test left running."""
    yield
    if "run" not in request.fixturenames:
        return
    state = request.getfixturevalue("run").state()
    for process in (state.supervisor, state.worker):
        if process and process.pid != os.getpid() and is_alive(process):
            os.kill(process.pid, signal.SIGKILL)


def wait_for(run: RunDirectory, reached: Callable[[State], bool], seconds: float = 20.0) -> State:
    """The first state that `reached` accepts."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        state = run.state()
        if reached(state):
            return state
        time.sleep(0.02)
    raise AssertionError(f"not within {seconds} s; the state is {run.state()}")
