"""What is loaded is what the manifest shows, or nothing: never a random number in place of a weight."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    Gemma3Config,
    Gemma3ForConditionalGeneration,
)

from finetune_tui.core.errors import WorkFailed
from finetune_tui.core.models.inspection import inspect_folder, manifest_of
from finetune_tui.core.models.resolve import find_model
from finetune_tui.core.training.load import choose_device, load_base
from finetune_tui.core.tuning.spec import Spec

SPEC = Spec(use_cpu=True)
TEXT: dict[str, Any] = {
    "vocab_size": 64, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
    "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 16, "sliding_window": 16,
}  # fmt: skip
VISION: dict[str, Any] = {
    "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2,
    "image_size": 28, "patch_size": 14,
}  # fmt: skip


def load(folder: Path) -> Any:
    return load_base(find_model(str(folder)), SPEC, choose_device(SPEC, is_demo=False))


def test_a_multimodal_model_loads_as_its_text_part(tmp_path: Path) -> None:
    config = Gemma3Config(text_config=TEXT, vision_config=VISION)
    whole = Gemma3ForConditionalGeneration(config)
    whole.save_pretrained(tmp_path)
    loaded = load(tmp_path)
    shown = inspect_folder(tmp_path, "it")
    assert manifest_of(loaded, "it").modules == shown.modules
    weights = dict(whole.named_parameters())
    for name, parameter in loaded.named_parameters():
        assert torch.equal(
            parameter, weights[f"model.language_model.{name.removeprefix('model.')}"]
        )


def test_gemma_2_loads_without_the_fused_kernel(tmp_path: Path) -> None:
    AutoModelForCausalLM.from_config(Gemma2Config(**TEXT)).save_pretrained(tmp_path)
    assert load(tmp_path).config._attn_implementation == "eager"


def test_a_missing_weight_is_a_failure_and_not_a_random_one(tmp_path: Path) -> None:
    AutoModelForCausalLM.from_config(Gemma2Config(**TEXT)).save_pretrained(tmp_path)
    file = tmp_path / "model.safetensors"
    weights = load_file(file)
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, file, metadata={"format": "pt"})
    with pytest.raises(WorkFailed, match=r"lack 1 parameters.*layers\.1\.mlp\.up_proj"):
        load(tmp_path)
