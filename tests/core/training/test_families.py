"""Every family × every preset and mode trains, and what is saved gives the same model elsewhere."""

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from finetune_tui.core.errors import UserError
from finetune_tui.core.models.inspection import inspect_folder
from finetune_tui.core.models.manifest import Manifest
from finetune_tui.core.models.resolve import find_model
from finetune_tui.core.models.roles import Role
from finetune_tui.core.runs.directory import RunDirectory
from finetune_tui.core.training.apply import apply_selection
from finetune_tui.core.training.load import choose_device, load_base
from finetune_tui.core.training.results import Results, read_back, write_results
from finetune_tui.core.tuning.modes import LORA, Choice, Mode
from finetune_tui.core.tuning.presets import PRESETS, resolve_preset
from finetune_tui.core.tuning.selection import (
    Selection,
    togglable,
    trainable_parameters,
    with_role,
)
from finetune_tui.core.tuning.spec import Spec

from .families import FAMILIES, make_folder

IDS = torch.arange(3, 43).reshape(2, 20)
SAMPLE = [
    ("phi", "structured-output"),
    ("phi3", "attention-refinement"),
    ("llama-tied", "new-knowledge"),
    ("qwen2-tied", "bitfit-top-4"),
    ("qwen2", "mixed"),
    ("qwen3-moe", "concept-learning"),
    ("gemma2-tied", "mixed"),
    ("gemma3-tied", "personas"),
    ("mistral", "full"),
]
EVERY = [(family, how) for family in FAMILIES for how in (*PRESETS, "bias", "mixed")]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {}


@pytest.mark.parametrize(("family", "how"), SAMPLE)
def test_a_sample_trains_and_reloads_elsewhere(
    family: str, how: str, folders: dict[str, Path], tmp_path: Path, tmp_path_factory: Any
) -> None:
    _train_and_reload(family, how, folders, tmp_path, tmp_path_factory)


@pytest.mark.soak
@pytest.mark.parametrize(("family", "how"), [one for one in EVERY if one not in SAMPLE])
def test_the_others_do_too(
    family: str, how: str, folders: dict[str, Path], tmp_path: Path, tmp_path_factory: Any
) -> None:
    _train_and_reload(family, how, folders, tmp_path, tmp_path_factory)


def _train_and_reload(
    family: str, how: str, folders: dict[str, Path], tmp_path: Path, factory: Any
) -> None:
    if family not in folders:
        folders[family] = make_folder(family, factory.mktemp(family))
    folder = folders[family]
    manifest = inspect_folder(folder, family)
    selection = _selection(manifest, how)
    spec = Spec(model_name_or_path=str(folder), use_cpu=True, lora_r=4, lora_dropout=0.0)
    base = load_base(find_model(str(folder)), spec, choose_device(spec, is_demo=False))
    model = apply_selection(base, manifest, selection, spec)
    counted = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert counted == trainable_parameters(manifest, selection, spec.lora_r)

    before = _logits(model)
    _train(model)
    tuned = _logits(model)
    assert not torch.allclose(before, tuned, atol=1e-4)

    results = write_results(RunDirectory(tmp_path), model, selection)
    assert (results.adapter is not None) == bool(selection.names(Mode.LORA))
    # What trained, its names and settings; never a frozen embedding or head beside it. A tied matrix
    # in full is written under both its names: PEFT asks for both when it loads.
    tied = {name.rpartition(".")[0] for group in manifest.tied for name in group}
    twice = tied & set(selection.names(Mode.FULL)) if results.adapter else ()
    numbers = counted + sum(manifest.module(name).parameters for name in twice)
    assert 4 * numbers <= results.bytes < 4 * numbers + 40_000
    read_back(results, model, selection)
    again = _plain(folder, results)
    torch.testing.assert_close(_logits(again), tuned, rtol=0, atol=1e-6)
    if results.adapter is not None:
        merged = again.merge_and_unload()
        torch.testing.assert_close(_logits(merged), tuned, rtol=0, atol=1e-5)
        merged.save_pretrained(tmp_path / "merged")
        reloaded = AutoModelForCausalLM.from_pretrained(tmp_path / "merged", dtype=torch.float32)
        torch.testing.assert_close(_logits(reloaded), tuned, rtol=0, atol=1e-5)


def _selection(manifest: Manifest, how: str) -> Selection:
    biases = togglable(manifest, "", Mode.BIAS)
    if how == "bias" and biases:
        return Selection().set(biases, Choice(Mode.BIAS))
    if how in ("bias", "bitfit-top-4") and not biases:
        with pytest.raises(UserError):
            resolve_preset("bitfit-top-4", manifest)
        pytest.skip("this family has no biases, and the preset says so")
    if how == "mixed":
        return mixed(manifest)
    return resolve_preset(how, manifest).selection


def mixed(manifest: Manifest) -> Selection:
    """LoRA of two ranks, a block's attention output in full, its norms in full, biases elsewhere."""
    last = f"{manifest.blocks_at}.{manifest.blocks - 1}"
    selection = Selection().set(
        with_role(manifest, Role.VALUE) + with_role(manifest, Role.QKV), LORA
    )
    outputs = with_role(manifest, Role.ATTENTION_OUTPUT)
    selection = selection.set(outputs[:1], Choice(Mode.LORA, r=2, lora_alpha=8))
    selection = selection.set(outputs[-1:], Choice(Mode.FULL))
    norms = [module.name for module in manifest.descendants(last) if module.role is Role.NORM]
    selection = selection.set(norms, Choice(Mode.FULL))
    biases = [n for n in togglable(manifest, "", Mode.BIAS) if n not in selection.choices]
    selection = selection.set(biases, Choice(Mode.BIAS))
    return selection.set(["model.embed_tokens"], Choice(Mode.FULL))


def _train(model: Any) -> None:
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-2)
    model.train()
    for _ in range(3):
        loss = model(input_ids=IDS, labels=IDS).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()


def _logits(model: Any) -> torch.Tensor:
    model.eval()
    with torch.no_grad():
        logits: torch.Tensor = model(input_ids=IDS).logits
    return logits.clone()


def _plain(folder: Path, results: Results) -> Any:
    """What somebody without this package does with the results."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    if results.trained is not None:
        found = model.load_state_dict(load_file(results.trained), strict=False)
        assert not found.unexpected_keys
    return PeftModel.from_pretrained(model, results.adapter) if results.adapter else model
