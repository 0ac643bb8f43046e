"""Every way to hold the base × every kind of LoRA: it learns, and as a plain model would."""

from pathlib import Path
from typing import Any

import pytest
import torch
from peft.utils.integrations import dequantize_module_weight
from transformers import set_seed

from finetune_tui.core.models.inspection import inspect_folder
from finetune_tui.core.models.manifest import Manifest
from finetune_tui.core.models.resolve import find_model
from finetune_tui.core.training.apply import apply_selection
from finetune_tui.core.training.load import choose_device, load_base
from finetune_tui.core.tuning.presets import resolve_preset
from finetune_tui.core.tuning.spec import Spec

from .families import make_folder

FIVE = ("phi", "phi3", "qwen2", "llama", "gemma2-tied")
BASES: dict[str, dict[str, Any]] = {
    "fp32": {"dtype": "float32"},
    "bf16": {"dtype": "bfloat16"},
    "fp16": {"dtype": "float16"},
    "8bit": {"dtype": "bfloat16", "load_in_8bit": True},
    "4bit": {"dtype": "bfloat16", "load_in_4bit": True},
}
METHODS: dict[str, dict[str, Any]] = {
    "lora": {},
    "dora": {"use_dora": True},
    "rslora": {"use_rslora": True},
    "gaussian": {"init_lora_weights": "gaussian"},
    "pissa": {"init_lora_weights": "pissa"},
    "olora": {"init_lora_weights": "olora"},
}
# A quantised base computes in bfloat16: it is compared with a bfloat16 model of the numbers it holds.
# How far a gradient may then point away (1 - cosine); 8-bit rounds the inputs as well.
TOLERANCE = {"fp32": 1e-6, "bf16": 5e-3, "fp16": 1e-4, "8bit": 5e-3, "4bit": 1e-5}
LONGER_OR_SHORTER = {"fp32": 1e-5, "bf16": 0.1, "fp16": 0.01, "8bit": 0.1, "4bit": 1e-3}
SAMPLE = [
    ("phi", "fp32", "dora"),
    ("phi3", "4bit", "lora"),
    ("qwen2", "8bit", "dora"),
    ("llama", "bf16", "pissa"),
    ("llama", "fp16", "lora"),
    ("gemma2-tied", "4bit", "dora"),
    ("phi", "8bit", "lora"),
]
EVERY = [(family, base, method) for family in FIVE for base in BASES for method in METHODS]
IDS = torch.arange(3, 67).reshape(2, 32)


@pytest.mark.parametrize(("family", "base", "method"), SAMPLE)
def test_a_sample_learns_as_a_plain_model_does(
    family: str, base: str, method: str, tmp_path: Path
) -> None:
    _learns_as_a_plain_model_does(family, base, method, tmp_path)


@pytest.mark.soak
@pytest.mark.parametrize(("family", "base", "method"), [one for one in EVERY if one not in SAMPLE])
def test_the_others_do_too(family: str, base: str, method: str, tmp_path: Path) -> None:
    _learns_as_a_plain_model_does(family, base, method, tmp_path)


def _learns_as_a_plain_model_does(family: str, base: str, method: str, tmp_path: Path) -> None:
    folder = make_folder(family, tmp_path)
    manifest = inspect_folder(folder, family)
    spec = Spec(model_name_or_path=str(folder), use_cpu=True, lora_r=4, lora_dropout=0.0)
    spec = spec.changed(preset="all-linear", **METHODS[method])
    held = spec.changed(**BASES[base])
    loaded = _base(held)
    is_quantised = held.load_in_4bit or held.load_in_8bit
    plain = _base(spec.changed(dtype="bfloat16" if is_quantised else "float32"))
    _copy_numbers(loaded, plain)
    model, reference = _adapted(loaded, manifest, held), _adapted(plain, manifest, spec)
    _same_start(model, reference)

    # An evaluation first: after it bitsandbytes computes 4 bits wrongly on some CPUs.
    computes = {"fp32": None, "fp16": torch.float16}.get(base, torch.bfloat16)
    also = computes if is_quantised else None
    _evaluate(model, computes)
    gradient, wanted = _gradient(model, computes), _gradient(reference, also)
    cosine = torch.nn.functional.cosine_similarity(gradient, wanted, dim=0)
    assert 1 - float(cosine) < TOLERANCE[base]
    assert abs(float(gradient.norm() / wanted.norm()) - 1) < LONGER_OR_SHORTER[base]

    losses, expected = _train(model, computes), _train(reference, also)
    assert losses[-1] < losses[0] - 0.05
    torch.testing.assert_close(losses, expected, rtol=0.01, atol=0)


def _base(spec: Spec) -> Any:
    return load_base(find_model(spec.model_name_or_path), spec, choose_device(spec, is_demo=False))


def _copy_numbers(loaded: Any, plain: Any) -> None:
    """The plain model gets the numbers that the other one really holds."""
    modules = dict(plain.named_modules())
    for name, module in loaded.named_modules():
        if isinstance(getattr(module, "weight", None), torch.nn.Parameter):
            weight = dequantize_module_weight(module).detach()
            modules[name].weight.data.copy_(weight)
            if getattr(module, "bias", None) is not None:
                modules[name].bias.data.copy_(module.bias.detach())


def _adapted(base: Any, manifest: Manifest, spec: Spec) -> Any:
    set_seed(spec.seed)
    selection = resolve_preset("all-linear", manifest).selection
    return apply_selection(base, manifest, selection, spec)


def _same_start(model: Any, reference: Any) -> None:
    """B is zero at first, which hides A's gradient; DoRA's magnitudes depend on it."""
    torch.manual_seed(3)
    with torch.no_grad():
        for (name, ours), (_, theirs) in zip(_trained(model), _trained(reference), strict=True):
            if "lora_B" in name:
                ours.add_(torch.randn_like(ours) * 0.02)
            theirs.copy_(ours)
    for (_, ours), (_, theirs) in zip(_starts(model), _starts(reference), strict=True):
        theirs.copy_(ours)


def _trained(model: Any) -> list[tuple[str, Any]]:
    return [(name, p) for name, p in model.named_parameters() if p.requires_grad]


def _starts(model: Any) -> list[tuple[str, Any]]:
    return [(name, buffer) for name, buffer in model.named_buffers() if "start_" in name]


def _loss(model: Any, computes: torch.dtype | None) -> Any:
    with torch.autocast("cpu", dtype=computes, enabled=computes is not None):
        return model(input_ids=IDS, labels=IDS).loss


def _evaluate(model: Any, computes: torch.dtype | None) -> None:
    model.eval()
    with torch.no_grad():
        _loss(model, computes)
    model.train()


def _gradient(model: Any, computes: torch.dtype | None) -> torch.Tensor:
    model.train()
    _loss(model, computes).backward()
    gradient = torch.cat([p.grad.flatten().float() for _, p in _trained(model)])
    model.zero_grad()
    return gradient


def _train(model: Any, computes: torch.dtype | None) -> torch.Tensor:
    """The losses of eight steps, an evaluation in between."""
    optimizer = torch.optim.AdamW([p for _, p in _trained(model)], lr=5e-3)
    losses = []
    for step in range(8):
        loss = _loss(model, computes)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.detach().float())
        if step == 3:
            _evaluate(model, computes)
    return torch.stack(losses)
