"""The command line of exports: what is asked for, what is refused, and what would be written."""

import json
from pathlib import Path
from typing import Any

import pytest

from finetune_tui.core.export.exported import Exported
from finetune_tui.core.runs.directory import RunDirectory, find_run, list_runs
from finetune_tui.core.runs.events import append_event
from finetune_tui.core.runs.queue import list_queue
from finetune_tui.core.runs.state import Status, write_state
from finetune_tui.core.tuning.task_spec import ExportSpec
from finetune_tui.tui.cli import main
from tests.core.runs.adapters import add_result
from tests.tui.runs_fixture import make_run

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FINETUNE_TUI_HOME", str(tmp_path / "home"))
    for name in ("start_run", "start_runner"):
        monkeypatch.setattr(f"finetune_tui.core.runs.launch.{name}", lambda _what: None)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "home"


@pytest.fixture
def trained(home: Path) -> RunDirectory:
    return add_result(make_run(home, name="r1-demo", status=Status.FINISHED))


def exports(home: Path) -> list[RunDirectory]:
    return [run for run in list_runs(home) if run.state().task == "export"]


def refusal(capsys: Capture, *words: str) -> str:
    assert main(["export", *words]) == 2
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1
    assert captured.out == ""
    return captured.err


def test_what_the_flags_mean(trained: RunDirectory, home: Path, tmp_path: Path) -> None:
    words = ["--merge", "--dtype", "bfloat16", "--cpu", "--detach"]
    assert main(["export", "r1", "--out", "models/new", *words]) == 0
    (run,) = exports(home)
    assert run.task_spec() == ExportSpec(
        run=str(trained.path),
        out=str(tmp_path / "models" / "new"),
        merge=True,
        dtype="bfloat16",
        use_cpu=True,
    )


def test_into_the_queue(trained: RunDirectory, home: Path, capsys: Capture) -> None:
    assert main(["export", "r1", "--out", "new", "--queue"]) == 0
    assert "is in the queue" in capsys.readouterr().out
    assert [item.task for item in list_queue(home).items] == ["export"]
    assert not exports(home)


def test_a_dry_run_says_and_writes_nothing(
    trained: RunDirectory, home: Path, tmp_path: Path, capsys: Capture
) -> None:
    assert main(["export", "r1", "--out", "new", "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert "writes the adapter to" in out
    assert "adapter_model.safetensors" in out
    assert "nothing was written or sent" in out
    assert all(len(line) <= 80 for line in out.splitlines() if str(tmp_path) not in line)
    assert main(["export", "r1", "--out", "new", "--merge", "--dry-run", "--json"]) == 0
    answer: dict[str, Any] = json.loads(capsys.readouterr().out)
    writes = answer["writes"]
    assert answer["sends"] is None
    assert writes["out"] == str(tmp_path / "new")
    assert writes["dtype"] == "float32"
    assert writes["bytes"] == sum(file["bytes"] for file in writes["files"])
    sizes = {file["name"]: file["bytes"] for file in writes["files"]}
    assert sizes["model.safetensors"] == 4 * 972_220  # the demo's parameters in float32
    assert writes["memory"] > sizes["model.safetensors"]
    assert not exports(home)
    assert not (tmp_path / "new").exists()


def test_what_is_refused_is_one_line(
    trained: RunDirectory, home: Path, tmp_path: Path, capsys: Capture
) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").touch()
    make_run(home, name="r2-failed", status=Status.FAILED)
    assert "not empty" in refusal(capsys, "r1", "--out", "full")
    assert "--out" in refusal(capsys, "r1")
    assert "no run 'r9'" in refusal(capsys, "r9", "--out", "new")
    assert "r2 has no result" in refusal(capsys, "r2", "--out", "new")
    assert "add --merge" in refusal(capsys, "r1", "--out", "new", "--dtype", "float32")
    words = refusal(capsys, "r1", "--out", "new", "--merge", "--dtype", "float23")
    assert "did you mean 'float32'?" in words
    assert "add --push" in refusal(capsys, "r1", "--out", "new", "--public")
    assert "no name for a repository" in refusal(capsys, "r1", "--out", "new", "--push", "a/b/c")
    assert not exports(home)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["full", "home"]


def test_one_object_at_the_end(
    trained: RunDirectory,
    home: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Capture,
) -> None:
    """As if its worker had done it at once."""
    exported = Exported(tmp_path / "new", True, "float32", 1000, 9, 1e-7, 1e-5, 2.0, 4)

    def ends_well(run: RunDirectory) -> None:
        append_event(run, "exported", **exported.to_json())
        append_event(run, "finished", pushed=None, **exported.to_json())
        write_state(run.state_path, run.state().changed(status=Status.FINISHED, attempt=1))

    def fails(run: RunDirectory) -> None:
        append_event(run, "failed", message="no room", where="out", hint="make room")
        write_state(run.state_path, run.state().changed(status=Status.FAILED, attempt=1))

    words = ["export", "r1", "--out", "new", "--merge", "--json"]
    monkeypatch.setattr("finetune_tui.core.runs.launch.start_run", ends_well)
    assert main(words) == 0
    answer: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert answer["out"] == str(tmp_path / "new")
    assert answer["difference"] == 1e-7
    assert answer["pushed"] is None
    assert Exported.from_event(answer) == exported
    monkeypatch.setattr("finetune_tui.core.runs.launch.start_run", fails)
    assert main(words) == 1
    failed: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert failed["error"] == {"message": "no room", "where": "out", "hint": "make room"}


@pytest.mark.soak
def test_the_real_worker_exports(
    home: Path, tmp_path: Path, capsys: Capture, monkeypatch: Any
) -> None:
    monkeypatch.undo()
    monkeypatch.setenv("FINETUNE_TUI_HOME", str(home))
    monkeypatch.chdir(tmp_path)
    run = add_result(make_run(home, name="r1-demo", status=Status.FINISHED))
    assert main(["export", run.short_id, "--out", "merged", "--merge"]) == 0
    out = capsys.readouterr().out
    assert "read back from disk" in out
    assert (tmp_path / "merged" / "model.safetensors").is_file()
    assert find_run(home, "r2").state().status is Status.FINISHED
    assert main(["export", "r1", "--out", "adapter", "--json"]) == 0
    answer: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert answer["files"] == len(list((tmp_path / "adapter").iterdir()))
