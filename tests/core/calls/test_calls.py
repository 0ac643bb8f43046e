"""Calls into a torch process: answered, refused, cancelled, bounded."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from finetune_tui.core import demo
from finetune_tui.core.calls.client import CallProcess, inspect_folder
from finetune_tui.core.errors import UserError, WorkFailed
from finetune_tui.core.models.catalog import catalog
from finetune_tui.core.models.manifest import Manifest

TOKENS = {
    "files": [str(demo.TRAIN_FILE)],
    "weights": str(demo.MODEL_FOLDER),
    "name": "demo",
    "max_length": 256,
    "completion_only_loss": True,
    "assistant_only_loss": True,
    "last_turn_only": False,
    "strict": False,
    "examples": 1,
}


@pytest.fixture(scope="module")
def process() -> Iterator[CallProcess]:
    with CallProcess() as process:
        yield process


def test_inspecting_a_folder_gives_the_shipped_manifest() -> None:
    found = Manifest.from_json(inspect_folder(demo.MODEL_FOLDER, "demo"))
    assert found == catalog()["demo"].manifest()


def test_tokens_are_counted_with_progress(process: CallProcess) -> None:
    words: list[str] = []
    answer = process.call("tokens", TOKENS, lambda progress: words.append(progress["words"]))
    assert answer["rows"] == 2000
    assert 0 < answer["trained_tokens"] < answer["tokens"]
    assert answer["ends_trained"] is True
    assert "tokenising" in words


def test_a_refusal_comes_back_as_it_was_meant(process: CallProcess) -> None:
    with pytest.raises(UserError, match=r"none\.jsonl") as refused:
        process.call("tokens", TOKENS | {"files": ["/nowhere/none.jsonl"]})
    assert refused.value.exit_code == 2


def test_a_fault_over_there_is_one_line_here(process: CallProcess) -> None:
    with pytest.raises(WorkFailed, match="KeyError"):
        process.call("tokens", {})
    assert process.call("tokens", TOKENS)["rows"] == 2000


def test_a_cancel_gets_through(process: CallProcess, tmp_path: Path) -> None:
    rows = demo.TRAIN_FILE.read_text() * 60
    (tmp_path / "long.jsonl").write_text(rows)
    cancelled = threading.Event()
    with pytest.raises(UserError, match="cancelled"):
        process.call(
            "tokens",
            TOKENS | {"files": [str(tmp_path / "long.jsonl")]},
            lambda progress: cancelled.set() if progress.get("done") else None,
            cancelled=cancelled,
        )


def test_too_long_is_ended_and_the_next_call_works(process: CallProcess, tmp_path: Path) -> None:
    (tmp_path / "long.jsonl").write_text(demo.TRAIN_FILE.read_text() * 60)
    with pytest.raises(WorkFailed, match="took too long"):
        process.call("tokens", TOKENS | {"files": [str(tmp_path / "long.jsonl")]}, timeout=0.3)
    assert process.call("tokens", TOKENS)["rows"] == 2000


def test_too_much_memory_is_ended(tmp_path: Path) -> None:
    (tmp_path / "long.jsonl").write_text(demo.TRAIN_FILE.read_text() * 60)
    with (
        CallProcess(most_memory=2**20) as process,
        pytest.raises(WorkFailed, match="needed more than"),
    ):
        process.call("tokens", TOKENS | {"files": [str(tmp_path / "long.jsonl")]})


def test_a_killed_process_is_said_and_replaced(process: CallProcess) -> None:
    process.call("tokens", TOKENS)
    children = psutil.Process().children()
    servers = [child for child in children if "server" in " ".join(child.cmdline())]

    def kill(_progress: object) -> None:
        for server in servers:
            if server.is_running():
                os.kill(server.pid, signal.SIGKILL)

    with pytest.raises(WorkFailed, match="ended with code -9"):
        process.call("tokens", TOKENS, kill)
    assert process.call("tokens", TOKENS)["rows"] == 2000


_SLOW = """
import json, sys, threading, time
request = json.loads(sys.stdin.readline())
cancelled = threading.Event()
threading.Thread(target=lambda: (sys.stdin.readline(), cancelled.set()), daemon=True).start()
def say(answer):
    print(json.dumps({"id": request["id"], **answer}), flush=True)
for number in range(request["params"]["words"]):
    say({"progress": {"words": str(number)}})
    if cancelled.wait(0.25):
        break
time.sleep(request["params"]["last"] if cancelled.is_set() else 0)
say({"result": "stopped" if cancelled.is_set() else "whole"})
"""


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Iterator[CallProcess]:
    """Tells a word four times a second, and takes its time to end after a cancel."""
    start = subprocess.Popen

    def slowly(command: list[str], **more: Any) -> Any:
        return start([sys.executable, "-c", _SLOW], **more)

    monkeypatch.setattr(subprocess, "Popen", slowly)
    with CallProcess(use_gpu=True, gpus=("GPU-1",)) as process:
        yield process


def test_time_may_count_from_the_last_word(slow: CallProcess) -> None:
    params = {"words": 10, "last": 0}
    assert slow.call("slow", params, timeout=1.5, renewed=True) == "whole"
    slow.close()
    with pytest.raises(WorkFailed, match="took too long"):
        slow.call("slow", params, timeout=1.5)


def test_one_that_is_cancelled_may_be_given_the_time_to_end(slow: CallProcess) -> None:
    cancelled = threading.Event()
    cancelled.set()
    params = {"words": 100, "last": 0.5}
    assert slow.call("slow", params, cancelled=cancelled, patience=30) == "stopped"
    slow.close()
    with pytest.raises(WorkFailed, match="took too long"):
        slow.call("slow", params | {"last": 60}, cancelled=cancelled, patience=0.5)
    assert not slow.is_alive
