"""Comparisons through the real command, supervisor and worker."""

import json
import os
import random
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from finetune_tui.core.evidence.comparison import comparisons_of, read_comparison
from finetune_tui.core.runs.directory import RunDirectory
from finetune_tui.core.runs.events import Event, read_events
from finetune_tui.core.runs.launch import make_task_run
from finetune_tui.core.runs.lock import is_locked
from finetune_tui.core.runs.start import start_run
from finetune_tui.core.runs.state import Status
from finetune_tui.core.tuning.spec import demo_spec
from finetune_tui.core.tuning.spec_file import write_spec
from finetune_tui.core.tuning.task_spec import CompareSpec
from finetune_tui.tui.cli import main
from tests.core.training.conftest import maker, supervise

from .conftest import QUESTIONS, Trained

Capture = pytest.CaptureFixture[str]


def answer(home: Path, capsys: Capture, *words: str, code: int = 0) -> Any:
    assert main(["--home", str(home), "compare", *words, "--json"]) == code
    return json.loads(capsys.readouterr().out)


@pytest.mark.training
def test_the_command_compares_and_the_result_lies_in_the_trained_run(
    trained: Trained, capsys: Capture
) -> None:
    words = ("--forget", str(QUESTIONS), "--rows", "12", "--regex", r"^\w+$")
    found = answer(trained.home, capsys, str(trained.run.path), *words)
    folder = Path(found["path"])
    assert folder.parent == comparisons_of(trained.run)
    assert {path.name for path in folder.iterdir()} == {"result.json", "index.json", "rows.jsonl"}
    assert sum(found["held_out"]["counts"].values()) == found["held_out"]["rows"] == 12
    assert found["forgetting"]["forgotten"]["of"] >= 9  # the demo can answer those
    assert [one["metric"] for one in found["held_out"]["metrics"]] == ["regex", "exact"]


@pytest.mark.soak
def test_killed_at_any_moment_it_goes_on_to_the_same_result(
    trained: Trained, tmp_path: Path
) -> None:
    """kill -9 to worker and supervisor, up to some seconds after each attempt has said that it started."""
    draw = random.Random(5)
    spec = CompareSpec(run=str(trained.run.path), forget_files=(str(QUESTIONS),), rows=0)
    straight = finished(make_task_run(tmp_path, spec))
    run = make_task_run(tmp_path, spec)
    kills = 0
    while kills < 8:
        start_run(run, resume=kills > 0)
        while run.liveness().may_be_alive and len(events(run, "started")) <= kills:
            time.sleep(0.05)
        time.sleep(draw.uniform(0, 3))
        if not run.liveness().is_alive:
            break
        kill(run)
        kills += 1
        for folder in comparisons_of(trained.run).iterdir():
            if folder.name[0] != ".":
                read_comparison(folder)  # whole, or not there
    assert kills > 1
    resumed = finished(run, resume=True)
    for name in ("rows.jsonl", "index.json"):
        assert (resumed / name).read_bytes() == (straight / name).read_bytes()


def finished(run: RunDirectory, resume: bool = False) -> Path:
    if run.state().status is not Status.FINISHED:
        start_run(run, resume=resume)
        while run.liveness().may_be_alive:
            time.sleep(0.2)
    assert run.state().status is Status.FINISHED, run.log_path.read_text()[-2000:]
    return Path(events(run, "compared")[-1]["comparison"])


def events(run: RunDirectory, kind: str) -> list[Event]:
    return [event for event in read_events(run.events_path) if event["kind"] == kind]


def kill(run: RunDirectory) -> None:
    state = run.state()
    for process in (state.supervisor, state.worker):
        if process is not None:
            os.kill(process.pid, signal.SIGKILL)
    while run.liveness().is_alive or is_locked(run):  # until the last of its threads is gone
        time.sleep(0.05)


@pytest.mark.soak
def test_the_demo_learns_its_task_and_forgets_some_of_the_old_one(
    tmp_path: Path, capsys: Capture
) -> None:
    """The acceptance: base at most 5 %, tuned at least 95 % on the 240 rows held out."""
    run = maker(tmp_path)()
    run.spec_path.write_text(write_spec(demo_spec()))
    supervise(run).wait(timeout=1800)
    shutil.rmtree(run.checkpoints)
    words = ("--rows", "0", "--forget", str(QUESTIONS))
    found = answer(tmp_path / "home", capsys, run.id, *words)
    exact = found["held_out"]["metrics"][0]
    assert exact["base"]["total"] == 240
    assert exact["base"]["value"] <= 0.05
    assert exact["tuned"]["value"] >= 0.95
    forgotten = found["forgetting"]["forgotten"]
    assert forgotten["of"] >= 95
    assert 0 < forgotten["low"] < forgotten["rows"] / forgotten["of"] < forgotten["high"]


@pytest.mark.soak
def test_an_expression_that_takes_forever_is_one_line(trained: Trained, tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    row = {"prompt": "Say it.", "completion": " " + "word " * 40}
    rows.write_text("".join(json.dumps({**row, "prompt": f"{n}"}) + "\n" for n in range(8)))
    evil = CompareSpec(run=str(trained.run.path), regex=r"^(\w+\s*)+:$", metrics=("regex",))
    run = make_task_run(tmp_path, evil.changed(compare_files=str(rows)))
    start_run(run)
    while run.liveness().may_be_alive:
        time.sleep(0.2)
    (failed,) = events(run, "failed")
    assert "the regular expression took more than 2 s" in failed["message"]
    assert "\n" not in failed["message"]
    assert (
        failed["t"] - events(run, "started")[0]["t"] < 40
    )  # four answers of 2 s of CPU, and the model
