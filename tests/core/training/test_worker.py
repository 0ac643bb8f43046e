"""One whole run through the real supervisor and worker, looked at from every side."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from finetune_tui.core import demo
from finetune_tui.core.models.catalog import catalog
from finetune_tui.core.models.resolve import find_model
from finetune_tui.core.runs.directory import RunDirectory
from finetune_tui.core.runs.start import resumable
from finetune_tui.core.runs.state import Status
from finetune_tui.core.training import checkpoint
from finetune_tui.core.training.apply import apply_selection
from finetune_tui.core.training.load import choose_device, load_base
from finetune_tui.core.tuning.modes import Choice, Mode
from finetune_tui.core.tuning.presets import PRESETS, resolve_preset
from finetune_tui.core.tuning.resolve import selection_of
from finetune_tui.core.tuning.selection import Selection, trainable_parameters
from finetune_tui.core.tuning.spec import demo_spec

from .conftest import MakeRun, finish, finish_here, kinds, losses, maker

pytestmark = pytest.mark.training

Finished = tuple[RunDirectory, list[dict[str, Any]]]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """One run that everything below looks at."""
    run = maker(tmp_path_factory.mktemp("worker"))(eval_replies=4)
    return run, finish(run)


def test_it_finishes_and_says_each_thing_once(finished: Finished) -> None:
    run, events = finished
    assert run.state().status is Status.FINISHED, run.log_path.read_text()[-2000:]
    told = kinds(events)
    assert told.count("started") == 1
    assert told.count("step") == 12
    assert told.count("eval") == 3
    assert told[-1] == "finished"
    assert [e["when"] for e in events if e["kind"] == "measured"] == ["before", "after"]


def test_the_loss_falls(finished: Finished) -> None:
    found = losses(finished[0])
    assert sum(found[step] for step in (10, 11, 12)) < sum(found[step] for step in (1, 2, 3))


def test_the_step_event_has_the_promised_keys(finished: Finished) -> None:
    step = next(event for event in finished[1] if event["kind"] == "step")
    promised = "step loss learning_rate grad_norm tokens tokens_per_second epoch"
    assert set(promised.split()) <= step.keys()
    last = finished[1][-1]
    promised = "steps train_loss eval_loss adapter trained seconds peak_allocated peak_reserved"
    assert set(f"{promised} predicted_allocated".split()) <= last.keys()


def test_plain_peft_loads_the_adapter_and_gives_the_apps_logits(finished: Finished) -> None:
    run, _ = finished
    ids = torch.arange(5, 45).unsqueeze(0)
    plain_base = AutoModelForCausalLM.from_pretrained(demo.MODEL_FOLDER, dtype=torch.float32)
    plain = PeftModel.from_pretrained(plain_base, run.adapter).eval()

    spec = run.spec()
    reference = find_model("demo")
    ours = load_base(reference, spec, choose_device(spec, is_demo=True))
    manifest = catalog()["demo"].manifest()
    adapted = apply_selection(ours, manifest, selection_of(spec, manifest), spec).eval()
    best = run.state().best_step
    assert best is not None
    checkpoint.load_trained(run.checkpoints / checkpoint.folder_name(best), adapted)
    with torch.no_grad():
        torch.testing.assert_close(plain(ids).logits, adapted(ids).logits, rtol=0, atol=1e-6)


def test_the_adapter_changes_the_model(finished: Finished) -> None:
    tensors = load_file(finished[0].adapter / "adapter_model.safetensors")
    assert any(
        name.endswith("lora_B.weight") and tensor.abs().max() > 0
        for name, tensor in tensors.items()
    )


def test_the_adapter_is_the_trained_bytes_and_at_most_one_percent(finished: Finished) -> None:
    run, events = finished
    trained = next(e for e in events if e["kind"] == "started")["trainable_parameters"] * 4
    written = sum(path.stat().st_size for path in run.adapter.iterdir())
    assert trained <= written <= trained * 1.01


def test_the_adapter_names_every_module_in_full(finished: Finished) -> None:
    config = json.loads((finished[0].adapter / "adapter_config.json").read_text())
    spec = finished[0].spec()
    assert set(config["target_modules"]) == set(
        selection_of(spec, catalog()["demo"].manifest()).choices
    )


def test_as_many_checkpoints_stay_as_were_asked_for_best_and_last_among_them(
    finished: Finished,
) -> None:
    run, _ = finished
    kept = {path.name for path in run.checkpoints.iterdir()}
    assert len(kept) == run.spec().save_total_limit == 2
    assert kept >= {checkpoint.folder_name(step) for step in {12, run.state().best_step or 12}}


def test_nothing_is_pickled(finished: Finished) -> None:
    suffixes = {path.suffix for path in finished[0].path.rglob("*") if path.is_file()}
    assert suffixes <= {".json", ".jsonl", ".safetensors", ".yaml", ".txt", ""}


def test_a_finished_run_is_not_resumed(finished: Finished) -> None:
    assert "finished" in (resumable(finished[0]) or "")


@pytest.mark.parametrize("preset", PRESETS)
def test_counts_are_torchs_own_for_every_preset(preset: str) -> None:
    spec = demo_spec(preset)
    manifest = catalog()["demo"].manifest()
    selection = resolve_preset(preset, manifest).selection
    base = load_base(find_model("demo"), spec, choose_device(spec, is_demo=True))
    adapted = apply_selection(base, manifest, selection, spec)
    counted = sum(p.numel() for p in adapted.parameters() if p.requires_grad)
    assert counted == trainable_parameters(manifest, selection, spec.lora_r)


def test_rank_and_alpha_of_single_modules_reach_peft() -> None:
    spec = demo_spec()
    manifest = catalog()["demo"].manifest()
    name = "model.layers.1.mlp.fc1"
    selection = Selection().set(["lm_head"], Choice(Mode.LORA))
    selection = selection.set([name], Choice(Mode.LORA, r=2, lora_alpha=64))
    base = load_base(find_model("demo"), spec, choose_device(spec, is_demo=True))
    adapted = apply_selection(base, manifest, selection, spec)
    module = adapted.get_submodule(f"base_model.model.{name}")
    assert module.r["default"] == 2
    assert module.scaling["default"] == 32


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        pytest.param({"train_files": ["/nowhere.jsonl"]}, "nowhere.jsonl", marks=pytest.mark.soak),
        ({"max_length": 8}, "no row has a token to train on"),
    ],
)
def test_what_cannot_work_fails_in_words(
    make_run: MakeRun, settings: dict[str, Any], says: str
) -> None:
    run = make_run(**settings)
    events = finish(run)
    assert run.state().status is Status.FAILED
    assert kinds(events).count("failed") == 1
    assert says in events[-1]["message"] + str(events[-1]["where"])
    assert not run.adapter.exists()


@pytest.mark.soak
def test_a_loss_that_is_not_a_number_ends_the_run_and_poisons_nothing(
    make_run: MakeRun, tmp_path: Path
) -> None:
    folder = tmp_path / "broken"
    shutil.copytree(demo.MODEL_FOLDER, folder)
    weights = load_file(folder / "model.safetensors")
    weights["model.layers.2.mlp.fc1.bias"][7] = float("nan")
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    run = make_run(model_name_or_path=str(folder))
    events = finish(run)
    assert run.state().status is Status.FAILED
    assert "not a number any more at step 1" in events[-1]["message"]
    assert list(run.checkpoints.iterdir()) == []


def test_bad_rows_are_named_and_the_others_train(make_run: MakeRun, tmp_path: Path) -> None:
    lines = demo.TRAIN_FILE.read_text().splitlines()[:40]
    lines[6] = '{"prompt": "broken'
    lines[9] = "[" * 20_000
    (tmp_path / "d.jsonl").write_text("\n".join(lines))
    run = make_run(train_files=[str(tmp_path / "d.jsonl")], max_steps=2, eval_steps=0)
    events = finish(run)
    assert run.state().status is Status.FINISHED
    warned = [event["where"] for event in events if event["kind"] == "warning"]
    warned = [where for where in warned if where.startswith(str(tmp_path))]
    assert [where.rpartition(":")[2] for where in warned] == ["7", "10"]

    strict = make_run(train_files=[str(tmp_path / "d.jsonl")], strict=True)
    failed = finish(strict)[-1]
    assert failed["where"].endswith("d.jsonl:7")


def test_biases_of_a_quantised_base_train(make_run: MakeRun) -> None:
    run = make_run(preset="bitfit-top-2", load_in_4bit=True)
    finish_here(run)
    assert run.trained.exists()
    assert not run.adapter.exists()
    before = load_file(demo.MODEL_FOLDER / "model.safetensors")
    after = load_file(run.trained)
    assert len(after) == 14  # seven in each of two blocks
    assert not any(torch.equal(before[name].float(), tensor) for name, tensor in after.items())


@pytest.mark.soak
def test_a_quantised_base_trains_after_an_eval(make_run: MakeRun) -> None:
    run = make_run(load_in_4bit=True, max_steps=6, eval_steps=2, save_steps=0)
    events = finish(run)
    assert run.state().status is Status.FINISHED, run.log_path.read_text()[-2000:]
    found = [event["loss"] for event in events if event["kind"] == "step"]
    assert len(found) == 6
    assert found[-1] < found[0]
