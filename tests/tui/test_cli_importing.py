"""import and script, as people and programs use them."""

import json
from pathlib import Path

import pytest

from finetune_tui.core.runs.directory import RunDirectory, create_run
from finetune_tui.core.tuning.spec import demo_spec
from finetune_tui.core.tuning.spec_file import parse_spec, read_spec, write_spec
from finetune_tui.tui.cli import main

FILES = Path(__file__).parents[1] / "core" / "tuning" / "importing" / "files"
AXOLOTL = FILES / "axolotl-llama3-lora.yml"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FINETUNE_TUI_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def test_what_is_printed_is_a_spec_with_its_notes_on_top(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["import", str(AXOLOTL)]) == 0
    text = capsys.readouterr().out
    assert text.startswith("# From axolotl's axolotl-llama3-lora.yml.\n")
    assert "#   57  deepspeed: one device trains here" in text
    spec = parse_spec(text)
    assert (spec.model_name_or_path, spec.lora_r) == ("meta-llama/Llama-3.1-8B", 32)
    out = tmp_path / "spec.yaml"
    assert main(["import", str(AXOLOTL), "--out", str(out)]) == 0
    assert read_spec(out) == spec
    said = capsys.readouterr().out
    assert "226 modules train" in said
    assert "look at what is 3 different here" in said
    assert main(["import", str(AXOLOTL), "--out", str(out)]) == 2
    assert "is there already" in capsys.readouterr().err


def test_a_program_gets_one_object(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["import", str(AXOLOTL), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["tool"] == "axolotl"
    assert len(found["modules"]) == 226
    assert found["modules"]["lm_head"] == "full"
    assert found["settings"]["gradient_accumulation_steps"] == 4
    assert {"kind": "changes", "key": "deepspeed", "line": 57} in [
        {name: note[name] for name in ("kind", "key", "line")} for note in found["notes"]
    ]
    assert parse_spec(found["spec"]).lora_r == 32


def test_train_says_whose_file_it_is(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for name, title in (
        ("axolotl-llama3-lora.yml", "axolotl"),
        ("llama-factory-qwen-freeze.yaml", "LLaMA-Factory"),
        ("trl-phi2-qlora.yaml", "TRL"),
    ):
        assert main(["train", str(FILES / name)]) == 2
        said = capsys.readouterr().err
        assert f"this is a file of {title}; `finetune-tui import" in said
        assert said.count("\n") == 1
    own = tmp_path / "own.yaml"
    own.write_text("base_model: microsoft/phi-2\npresett: x\n")
    assert main(["train", str(own)]) == 2
    assert "presett: unknown key" in capsys.readouterr().err


def test_what_is_wrong_is_one_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    bad = tmp_path / "bad.yml"
    for text, says in (
        ("a: [1", "not YAML"),
        ("a: 1", "cannot be told by its keys"),
        ("a: !!python/name:os.system", "a setting is no code"),
    ):
        bad.write_text(text)
        assert main(["import", str(bad)]) == 2
        said = capsys.readouterr().err
        assert says in said
        assert said.count("\n") == 1
    assert main(["import", str(tmp_path / "gone.yml")]) == 2
    assert main(["import", str(AXOLOTL), "--out", str(tmp_path / "no" / "spec.yaml")]) == 2


def test_a_run_as_a_script(capsys: pytest.CaptureFixture[str], home: Path, tmp_path: Path) -> None:
    run: RunDirectory = create_run(home, write_spec(demo_spec()), "demo")
    assert main(["script", run.short_id]) == 0
    text = capsys.readouterr().out
    compile(text, "reproduce.py", "exec")
    out = tmp_path / "reproduce.py"
    assert main(["script", run.short_id, "--out", str(out)]) == 0
    assert out.read_text() == text
    assert f"python {out}" in capsys.readouterr().out
    assert main(["script", run.short_id, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["run"], found["out"]) == (run.id, None)
    assert found["script"] == text
    assert main(["script", run.short_id, "--out", str(out)]) == 2
    assert "is there already" in capsys.readouterr().err
