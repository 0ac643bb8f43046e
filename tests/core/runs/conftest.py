"""A home with runs in it, and workers that are a few lines of Python each."""

import contextlib
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
append_event(run, "started", model="demo", attempt=run.state().attempt)
beat(status=Status.RUNNING, step=3)
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def run(home: Path) -> Iterator[RunDirectory]:
    made = create_run(home, SPEC, "demo", model="demo", preset="structured-output")
    yield made
    state = made.state()
    for process in (state.supervisor, state.worker):  # what a failed test left running
        if process and process.pid != os.getpid() and is_alive(process):
            with contextlib.suppress(ProcessLookupError):  # ended while we looked
                os.kill(process.pid, signal.SIGKILL)


@pytest.fixture
def worker(run: RunDirectory, tmp_path: Path) -> Callable[[str], list[str]]:
    """The command of a worker that goes on as the given lines say."""

    def command(lines: str) -> list[str]:
        script = tmp_path / "worker.py"
        script.write_text(WORKER + lines)
        return [sys.executable, str(script), str(run.path)]

    return command


@pytest.fixture
def wait_for(run: RunDirectory) -> Callable[[Callable[[State], bool]], State]:
    """Waits for a state of the run that the given test accepts, and returns it."""

    def wait(reached: Callable[[State], bool]) -> State:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            state = run.state()
            if reached(state):
                return state
            time.sleep(0.02)
        raise AssertionError(f"not reached; the state is {run.state()}")

    return wait
