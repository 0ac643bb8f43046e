"""The command line as programs and people use it: answers, exit codes, one clear line."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from finetune_tui.core import demo
from finetune_tui.core.runs.directory import RunDirectory, create_run
from finetune_tui.core.runs.events import append_event
from finetune_tui.core.runs.processes import boot_id, host_name, pid_namespace, this_process
from finetune_tui.core.runs.rehearsal import Rehearsal, RehearsalCancelled
from finetune_tui.core.runs.requests import take_requests
from finetune_tui.core.runs.state import Status, write_state
from finetune_tui.core.tuning.spec import Spec, demo_spec
from finetune_tui.core.tuning.spec_file import write_spec
from finetune_tui.tui.cli import main
from tests.tui.runs_fixture import REHEARSAL

PRECISIONS = {"fp32", "bf16", "8bit", "4bit"}
PARTS = {
    "weights", "adapters", "gradients", "optimizer", "activations", "logits", "workspace", "context",
}  # fmt: skip


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FINETUNE_TUI_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def answer(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    """The one JSON object a command answers with."""
    assert main([*words, "--json"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1
    found: dict[str, Any] = json.loads(lines[0])
    return found


def refusal(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    """Exit code and the one line on stderr."""
    code = main(list(words))
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert "Traceback" not in captured.err
    assert "\x1b" not in captured.err
    return code, captured.err


def test_inspect_phi2_with_no_network(capsys: pytest.CaptureFixture[str]) -> None:
    found = answer(capsys, "inspect", "microsoft/phi-2")
    assert len(found["modules"]) == 392
    assert found["parameters"] == 2_779_683_840
    assert found["blocks"] == 32


def test_the_report_and_the_difference(capsys: pytest.CaptureFixture[str]) -> None:
    found = answer(capsys, "inspect", "phi-2", "--report")
    assert found["report"].startswith("# microsoft/phi-2")
    assert len(found["modules"]) == 392
    assert main(["inspect", "qwen2.5-1.5b", "--report"]) == 0
    assert "| 4 (blocks 24–27) |" in capsys.readouterr().out
    against = answer(capsys, "inspect", "phi-2", "--against", "phi-3.5-mini")
    assert against["a"] == "microsoft/phi-2"
    assert "model.layers.*.mlp.fc1" in against["only_a"]
    assert main(["inspect", "phi-2", "--against", "phi-3.5-mini"]) == 0
    assert "| ≠ | qkv | none | qkv_proj |" in capsys.readouterr().out
    assert refusal(capsys, "inspect", "phi-2", "--report", "--against", "phi-2")[0] == 2


def test_presets_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    words = ("presets", "qwen2.5-1.5b", "--preset", "bitfit-top-4", "attention-only-blocks-0-1")
    bitfit, attention = answer(capsys, *words)["presets"]
    assert bitfit["trainable_parameters"] == 8_192
    assert set(bitfit["modules"].values()) == {"bias"}
    assert len(attention["modules"]) == 8


def test_presets_answer(capsys: pytest.CaptureFixture[str]) -> None:
    found = answer(capsys, "presets", "phi-2")
    assert len(found["presets"]) == 9 + 5
    assert set(found["presets"][0]) == {"id", "title", "modules", "trainable_parameters", "notes"}
    assert found["presets"][0]["modules"]["model.layers.0.self_attn.q_proj"] == "lora"


def test_estimate_answer_sums(capsys: pytest.CaptureFixture[str]) -> None:
    found = answer(capsys, "estimate", "phi-2", "--preset", "personas", "--set", "lora_r=8")
    assert set(found) >= {
        "model", "preset", "trainable_parameters", "settings", "precisions", "gpu",
    }  # fmt: skip
    assert found["settings"]["lora_r"] == 8
    assert set(found["precisions"]) == PRECISIONS
    for made in found["precisions"].values():
        assert set(made["breakdown"]) == PARTS
        assert sum(made["breakdown"].values()) == made["device"]


def test_data_answer_without_a_model(capsys: pytest.CaptureFixture[str]) -> None:
    found = answer(capsys, "data", str(demo.TRAIN_FILE))
    assert found["format"] == "prompt/completion"
    assert found["rows"] == 2000
    assert found["tokens"] is None


def test_data_answer_with_a_model(capsys: pytest.CaptureFixture[str]) -> None:
    found = answer(capsys, "data", str(demo.TRAIN_FILE), "--model", "demo")
    assert found["lengths"]["unit"] == "tokens"
    assert 0 < found["trained_tokens"] < found["tokens"]
    assert found["ends_trained"] is True


def test_models_and_runs_answer(capsys: pytest.CaptureFixture[str], home: Path) -> None:
    ids = [entry["id"] for entry in answer(capsys, "models")["models"]]
    assert {"demo", "microsoft/phi-2"} <= set(ids)
    assert answer(capsys, "runs") == {"runs": []}
    create_run(home, write_spec(demo_spec()), "x", model="demo", preset="personas")
    (row,) = answer(capsys, "runs")["runs"]
    assert set(row) >= {
        "id", "model", "preset", "status", "step", "total_steps", "eval_loss", "created",
    }  # fmt: skip


def test_show_a_run_by_number_and_by_path(capsys: pytest.CaptureFixture[str], home: Path) -> None:
    run = create_run(home, write_spec(demo_spec()), "x")
    append_event(run, "step", step=3, total_steps=9, loss=0.5)
    write_state(
        run.state_path, run.state().changed(status=Status.STOPPED, why="a stop was requested")
    )
    assert answer(capsys, "show", "r1")["status"] == "stopped"
    assert answer(capsys, "show", str(run.path))["id"] == run.id
    assert main(["show", "1"]) == 0
    assert "step      3/9  loss 0.5000" in capsys.readouterr().out


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["--help"])
    assert left.value.code == 0
    shown = capsys.readouterr().out
    for command in ("models", "inspect", "presets", "estimate", "data", "train", "runs", "doctor"):
        assert command in shown


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["inspect", "microsoft/phi2"], "did you mean 'microsoft/phi-2'"),
        (["inspect", "[bold]x[/bold]\x1b[31m\x1b]0;title\x07"], "unknown model '[bold]x[/bold]'"),
        (["inspect", "a" * 5000], "unknown model"),
        (["estimate", "phi-2", "--preset", "persona"], "did you mean 'personas'"),
        (["estimate", "phi-2", "--set", "lora_rr=3"], "did you mean 'lora_r'"),
        (["estimate", "phi-2", "--set", "lora_r"], "not KEY=VALUE"),
        (["train", "--model", "demo", "--preset", "nope"], "unknown preset 'nope'"),
        (["train", "--model", "demo", "--data", "/none.jsonl"], "no such file: /none.jsonl"),
        (["train", "--model", "phi-2", "--preset", "personas"], "no training data is named"),
        (["train", "/none.yaml"], "/none.yaml: cannot be read"),
        (["train", "--model", "demo", "--rehearse", "--detach"], "not allowed with"),
        (["train", "--model", "demo", "--rehearse", "--data", "/none.jsonl"], "/none.jsonl"),
        (["train"], "nothing to train"),
        (["data", "/none.jsonl"], "/none.jsonl"),
        (["show", "r9"], "no run 'r9'"),
        (["stop", "../../etc"], "no run '../../etc'"),
        (["pause", "r9"], "no run 'r9'"),
        (["frobnicate"], "invalid choice"),
        (["inspect"], "required: model"),
    ],
)
def test_a_wrong_request_is_one_line_and_code_2(
    capsys: pytest.CaptureFixture[str], words: list[str], says: str
) -> None:
    code, line = refusal(capsys, *words)
    assert code == 2
    assert says in line


def test_errors_in_json_are_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", "nope", "--json"]) == 2
    found = json.loads(capsys.readouterr().out)
    assert set(found["error"]) == {"message", "hint", "where"}


def test_an_empty_data_file_and_a_spec_with_a_wrong_pattern(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "empty.jsonl").touch()
    code, line = refusal(
        capsys, "train", "--model", "demo", "--data", str(tmp_path / "empty.jsonl")
    )
    assert code == 2
    assert "empty" in line
    (tmp_path / "s.yaml").write_text("model: demo\nmodules:\n- model.layers.{0..9}.mlp.fc1: lora\n")
    code, line = refusal(capsys, "train", str(tmp_path / "s.yaml"))
    assert "model.layers.4.mlp.fc1" in line


def test_strict_names_the_broken_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    lines = demo.TRAIN_FILE.read_text().splitlines()[:10]
    lines[6] = "{broken"
    (tmp_path / "d.jsonl").write_text("\n".join(lines))
    code, line = refusal(capsys, "data", str(tmp_path / "d.jsonl"), "--strict")
    assert code == 2
    assert "d.jsonl:7" in line
    assert answer(capsys, "data", str(tmp_path / "d.jsonl"))["bad_rows"][0]["line"] == 7


def test_a_pipe_that_closes_early_is_no_error() -> None:
    command = (
        f"{sys.executable} -m finetune_tui.tui.cli inspect phi-2 | head -1; exit ${{PIPESTATUS[0]}}"
    )
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0
    assert done.stderr == ""


def test_the_command_line_starts_without_torch_or_textual() -> None:
    code = (
        "import sys; from finetune_tui.tui.cli import main; main(['presets', 'phi-2']);"
        "print([m for m in ('torch', 'textual', 'rich', 'numpy', 'transformers') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, env=os.environ
    )
    assert done.stdout.splitlines()[-1] == "[]"


def _a_run(home: Path, **state: Any) -> RunDirectory:
    """A run whose worker is this very process."""
    run = create_run(home, write_spec(demo_spec()), "x", model="demo")
    here = {
        "host": host_name(),
        "boot_id": boot_id(),
        "pid_namespace": pid_namespace(),
        "worker": this_process(),
        "attempt": 1,
    }
    write_state(run.state_path, run.state().changed(**{"status": Status.RUNNING, **here, **state}))
    return run


def test_pause_asks_for_one_of_two_kinds(capsys: pytest.CaptureFixture[str], home: Path) -> None:
    run = _a_run(home, step=7)
    assert answer(capsys, "pause", "r1") == {"id": run.id, "request": "pause"}
    assert take_requests(run) == ["pause"]
    assert main(["pause", "r1", "--release"]) == 0
    assert "go on with: finetune-tui resume r1" in capsys.readouterr().out
    assert take_requests(run) == ["release"]


def test_a_run_that_holds_is_resumed_by_a_request(
    capsys: pytest.CaptureFixture[str], home: Path
) -> None:
    run = _a_run(home, status=Status.PAUSED, step=7, why="held on request")
    assert answer(capsys, "runs")["runs"][0]["status"] == "paused"
    code, line = refusal(capsys, "pause", "r1")
    assert code == 2
    assert "paused already" in line
    assert answer(capsys, "resume", "r1", "--detach") == {"id": run.id, "path": str(run.path)}
    assert take_requests(run) == ["resume"]


def test_a_run_that_was_let_go_cannot_be_paused_and_says_how_it_goes_on(
    capsys: pytest.CaptureFixture[str], home: Path
) -> None:
    _a_run(home, status=Status.PAUSED, step=7, why="released at step 7", ended=1.0, worker=None)
    code, line = refusal(capsys, "pause", "r1", "--release")
    assert code == 2
    assert "`finetune-tui resume r1` goes on" in line
    assert main(["show", "r1"]) == 0
    assert "go on     finetune-tui resume r1" in capsys.readouterr().out
    assert main(["attach", "r1"]) == 0
    assert "r1 paused: released at step 7" in capsys.readouterr().out


def test_a_rehearsal_answers_in_words_and_in_json(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def rehearsed(_home: Path, _spec: Spec, _inspect: object, progress: Any, _: Any) -> Rehearsal:
        for words in ("loading", "loading: 1 of 2", "training"):
            progress(words)
        return REHEARSAL

    monkeypatch.setattr("finetune_tui.tui.commands.rehearsal.rehearse", rehearsed)
    monkeypatch.setattr("finetune_tui.tui.commands.rehearsal.free_disk", lambda _: 2**40)
    words = ("train", "--model", "demo", "--rehearse")
    found = answer(capsys, *words)
    assert found["ok"] is True
    assert found["steps"] == 300
    assert found["disk_free"] == 2**40
    assert main(words) == 0
    told = capsys.readouterr().out
    assert told.count("rehearsing: loading\n") == 1
    assert "memory      9.6G of the GPU at the peak, predicted 9.5G: 1.1% more" in told
    assert "longest row 256 tokens" in told
    monkeypatch.setattr("finetune_tui.tui.commands.rehearsal.free_disk", lambda _: 2**20)
    assert main(words) == 1
    assert "problem: the disk has 1.0M free" in capsys.readouterr().out


def test_a_rehearsal_that_is_cancelled_says_so(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(_h: Path, _s: Spec, _i: object, _p: Any, cancelled: Any) -> Rehearsal:
        os.kill(os.getpid(), signal.SIGINT)
        assert cancelled()
        raise RehearsalCancelled

    monkeypatch.setattr("finetune_tui.tui.commands.rehearsal.rehearse", interrupted)
    assert main(["train", "--model", "demo", "--rehearse"]) == 130
    assert "nothing of it is left" in capsys.readouterr().out
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.training
def test_train_in_json_is_one_event_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    words = (
        "train --model demo --preset personas --json --set max_steps=3 eval_replies=0 eval_steps=0"
    )
    assert main(words.split()) == 0
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    kinds = [event["kind"] for event in events]
    assert kinds[0] in ("phase", "started")
    assert kinds.count("step") == 3
    assert kinds[-1] == "finished"
    assert Path(events[-1]["adapter"]).is_dir()


@pytest.mark.training
def test_detach_then_hold_then_go_on_then_stop(capsys: pytest.CaptureFixture[str]) -> None:
    words = "train --model demo --preset personas --detach --json"
    settings = "--set max_steps=400 eval_replies=0 eval_steps=0"
    assert main([*words.split(), *settings.split()]) == 0
    run = json.loads(capsys.readouterr().out)
    assert main(["pause", run["id"]]) == 0
    _until_status(capsys, run["id"], "paused")
    assert main(["resume", run["id"], "--detach"]) == 0
    _until_status(capsys, run["id"], "running")
    assert main(["stop", run["id"]]) == 0
    assert main(["attach", run["id"]]) == 0
    assert "stopped" in capsys.readouterr().out
    assert main(["stop", run["id"]]) == 2
    assert "not running" in capsys.readouterr().err


def _until_status(capsys: pytest.CaptureFixture[str], run: str, status: str) -> None:
    deadline = time.monotonic() + 120
    capsys.readouterr()
    while (now := answer(capsys, "show", run)["status"]) != status:
        assert time.monotonic() < deadline, now
        time.sleep(0.1)
