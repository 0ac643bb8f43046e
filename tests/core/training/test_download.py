"""The worker fetches what is not here: in bytes, stoppable, resumed; no token on any disk."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from finetune_tui.core import demo
from finetune_tui.core.runs.directory import RunDirectory
from finetune_tui.core.runs.events import read_events
from finetune_tui.core.runs.requests import drop_request
from finetune_tui.core.runs.state import Status
from tests.core.models.hub_server import FakeHub, sharded

from .conftest import MakeRun, dump, kinds, wait_for

pytestmark = pytest.mark.training

NAME = "someone/small"
TOKEN = "hf_" + "secretsecret" * 3


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[FakeHub]:
    with FakeHub(NAME, sharded(demo.MODEL_FOLDER, tmp_path / "model")).running() as hub:
        yield hub


@pytest.fixture
def environment(hub: FakeHub, tmp_path: Path) -> dict[str, str]:
    return {
        "HF_ENDPOINT": hub.url,
        "HF_HOME": str(tmp_path / "hf"),
        "HF_TOKEN": TOKEN,
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
        "OMP_NUM_THREADS": "1",
    }


def supervise(run: RunDirectory, environment: Mapping[str, str]) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "finetune_tui.core.runs.supervisor", str(run.path)]
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
    return subprocess.Popen(
        command, stdin=subprocess.DEVNULL, env={**inherited, **environment}, start_new_session=True
    )


def finish(run: RunDirectory, environment: Mapping[str, str]) -> list[dict[str, Any]]:
    supervise(run, environment).wait(timeout=240)
    return list(read_events(run.events_path))


def test_a_model_of_the_hub_is_fetched_trained_and_named_as_the_base(
    make_run: MakeRun, hub: FakeHub, environment: dict[str, str], tmp_path: Path
) -> None:
    hub.wanted_token = TOKEN
    run = make_run(model_name_or_path=NAME, use_cpu=True, max_steps=4)
    events = finish(run, environment)
    assert run.state().status is Status.FINISHED, dump(run)
    told = [event for event in events if event.get("phase") == "downloading"]
    assert told[-1]["done"] == told[-1]["total"] > 1_900_000
    assert "model-00002-of-00002.safetensors" in told[-1]["words"]

    adapter = json.loads((run.adapter / "adapter_config.json").read_text())
    assert adapter["base_model_name_or_path"] == NAME
    foreign = [path for _, path, _, _ in hub.asked if "/resolve/" not in path]
    assert set(foreign) == {f"/api/models/{NAME}/revision/main"}
    files = (path for path in tmp_path.rglob("*") if path.is_file())
    assert not [path for path in files if TOKEN.encode() in path.read_bytes()]


def test_a_stop_while_downloading_keeps_what_came(
    make_run: MakeRun, hub: FakeHub, environment: dict[str, str]
) -> None:
    hub.slow = 0.3
    run = make_run(model_name_or_path=NAME, use_cpu=True, max_steps=4)
    supervisor = supervise(run, environment)
    wait_for(run, "phase", phase="downloading")
    drop_request(run, "stop")
    supervisor.wait(timeout=60)
    assert run.state().status is Status.STOPPED, dump(run)
    assert list(Path(environment["HF_HOME"]).rglob("*.incomplete"))


@pytest.mark.soak
def test_a_gated_model_fails_with_what_to_do(
    make_run: MakeRun, hub: FakeHub, environment: dict[str, str]
) -> None:
    hub.refusal = (403, "GatedRepo", "Access is restricted")
    events = finish(make_run(model_name_or_path=NAME, use_cpu=True), environment)
    assert kinds(events)[-1] == "failed"
    assert "has not accepted the licence" in events[-1]["message"]
    assert f"{hub.url}/{NAME}" in events[-1]["hint"]


@pytest.mark.soak
def test_a_template_that_loops_ends_the_run_in_words(make_run: MakeRun, tmp_path: Path) -> None:
    folder = tmp_path / "loops"
    shutil.copytree(demo.MODEL_FOLDER, folder)
    config = json.loads((folder / "tokenizer_config.json").read_text())
    loop = "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}"
    (folder / "tokenizer_config.json").write_text(json.dumps(config | {"chat_template": loop}))
    rows = tmp_path / "chats.jsonl"
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    rows.write_text(json.dumps({"messages": turns}) + "\n")
    files = {"train_files": [str(rows)], "eval_files": [str(rows)]}
    run = make_run(model_name_or_path=str(folder), use_cpu=True, **files)
    finish(run, {"OMP_NUM_THREADS": "1"})
    state = run.state()
    assert state.status is Status.FAILED, dump(run)
    assert "to turn into tokens" in (state.why or "")
    assert "chat template loops" in (state.hint or "")
