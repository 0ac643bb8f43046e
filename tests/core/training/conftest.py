"""Real runs of the demo: the real supervisor, the real worker, few steps."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from finetune_tui.core.runs.directory import RunDirectory, create_run
from finetune_tui.core.runs.events import read_events
from finetune_tui.core.runs.state import Status
from finetune_tui.core.training.reporter import Reporter
from finetune_tui.core.tuning.spec import demo_spec
from finetune_tui.core.tuning.spec_file import write_spec

SMALL: dict[str, Any] = {
    "max_steps": 12,
    "eval_steps": 4,
    "save_steps": 4,
    "eval_replies": 0,
    "per_device_train_batch_size": 4,
    "lora_dropout": 0.1,
}

FAULTS = Path(__file__).with_name("faults.py")

MakeRun = Callable[..., RunDirectory]


@pytest.fixture
def make_run(tmp_path: Path) -> MakeRun:
    return maker(tmp_path)


def maker(folder: Path) -> MakeRun:
    """Makes runs of the demo with few steps; keyword arguments are keys of the spec."""

    def make(**values: Any) -> RunDirectory:
        few_rows = folder / "heldout.jsonl"
        if not few_rows.exists():
            lines = Path(demo_spec().eval_files[0]).read_text().splitlines(keepends=True)
            few_rows.write_text("".join(lines[:8]))
        settings = {**SMALL, "eval_files": [str(few_rows)], **values}
        spec = demo_spec().changed(**settings)
        return create_run(folder / "home", write_spec(spec), "test")

    return make


def supervise(
    run: RunDirectory, resume: bool = False, faults: Sequence[dict[str, Any]] = ()
) -> "subprocess.Popen[bytes]":
    """Start a supervisor as a child, so that a test can wait for it and kill it.

    faults: what goes wrong in the worker (faults.py).
    """
    resuming = ["--resume"] if resume else []
    command = [sys.executable, "-m", "finetune_tui.core.runs.supervisor", str(run.path), *resuming]
    if faults:
        worker = [sys.executable, str(FAULTS), json.dumps(list(faults)), str(run.path), *resuming]
        command += ["--", *worker]
    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
        start_new_session=True,
    )


def finish(
    run: RunDirectory, resume: bool = False, faults: Sequence[dict[str, Any]] = ()
) -> list[dict[str, Any]]:
    """Run to the end; every event."""
    supervise(run, resume, faults).wait(timeout=240)
    return list(read_events(run.events_path))


def finish_here(run: RunDirectory, resume: bool = False) -> None:
    """The same work in this very process: a worker's start costs seconds of imports."""
    from finetune_tui.core.training.work import work

    reporter = Reporter(run)
    reporter.start()
    try:
        work(run, reporter, resume)
        reporter.update(status=Status.FINISHED)
    finally:
        reporter.end()


def wait_for(run: RunDirectory, kind: str, timeout: float = 120, **fields: Any) -> dict[str, Any]:
    """The first event of a kind with these fields, as soon as it is written."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        for event in read_events(run.events_path):
            if event["kind"] == kind and all(event.get(k) == v for k, v in fields.items()):
                return event
        time.sleep(0.02)
    last = run.log_path.read_text()[-2000:] if run.log_path.exists() else "no log"
    raise AssertionError(f"no {kind} with {fields} within {timeout} s\n{last}")


def kinds(events: list[dict[str, Any]]) -> list[str]:
    return [event["kind"] for event in events]


def adapter_bytes(run: RunDirectory) -> bytes:
    return (run.adapter / "adapter_model.safetensors").read_bytes()


def trained_bytes(run: RunDirectory) -> list[bytes]:
    """The result to the last bit: the adapter, what trained in place, or both."""
    found = [run.adapter / "adapter_model.safetensors", run.trained]
    return [path.read_bytes() for path in found if path.exists()]


def losses(run: RunDirectory) -> dict[int, float]:
    """Step → loss; what a resumed run repeated overwrites what came before."""
    return {e["step"]: e["loss"] for e in read_events(run.events_path) if e["kind"] == "step"}


def dump(run: RunDirectory) -> str:
    return json.dumps(run.state().to_json(), indent=1)
