"""Gradient checkpointing: the same gradients, and nothing runs again below the lowest block that trains."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch

from finetune_tui.core.models.inspection import inspect_folder
from finetune_tui.core.models.manifest import Manifest
from finetune_tui.core.models.resolve import find_model
from finetune_tui.core.training.apply import apply_selection
from finetune_tui.core.training.load import choose_device, load_base
from finetune_tui.core.training.recomputing import recompute_blocks
from finetune_tui.core.tuning.modes import Choice, Mode
from finetune_tui.core.tuning.selection import Selection
from finetune_tui.core.tuning.spec import Spec

from .families import make_folder
from .test_families import IDS

BLOCKS = 5
LOWEST = 3
"""The lowest block that trains."""

TRAINS = {
    "lora": ("self_attn.q_proj", Choice(Mode.LORA)),
    "full": ("mlp.fc1", Choice(Mode.FULL)),
    "bias": ("self_attn.dense", Choice(Mode.BIAS)),
}


@pytest.mark.parametrize(
    ("how", "base"),
    [
        *(("lora", "float32"), ("full", "float32"), ("bias", "float32"), ("lora", "bfloat16")),
        *(("lora", "4bit"), ("lora", "8bit"), ("bias", "4bit")),
    ],
)
def test_gradients_are_the_same_and_frozen_blocks_below_run_once(
    how: str, base: str, tmp_path: Path
) -> None:
    folder = make_folder("phi", tmp_path)
    manifest = inspect_folder(folder, "phi")
    selection = _top_blocks(manifest, *TRAINS[how])
    expected, runs = _step(folder, manifest, selection, base, recomputes=False)
    assert runs == dict.fromkeys(range(BLOCKS), 1)
    found, runs = _step(folder, manifest, selection, base, recomputes=True)
    assert runs.pop(BLOCKS - 1) == 2
    # A bias alone needs nothing of its own block.
    assert runs == {block: 2 if block >= LOWEST and how != "bias" else 1 for block in runs}
    assert found.keys() == expected.keys()
    for name, gradient in found.items():
        assert torch.equal(gradient, expected[name]), name
        assert gradient.any()


def test_an_embedding_that_trains_still_gets_its_gradient(tmp_path: Path) -> None:
    folder = make_folder("phi", tmp_path)
    manifest = inspect_folder(folder, "phi")
    selection = Selection().set(["model.embed_tokens"], Choice(Mode.FULL))
    expected, _ = _step(folder, manifest, selection, "float32", recomputes=False)
    found, runs = _step(folder, manifest, selection, "float32", recomputes=True)
    assert runs == dict.fromkeys(range(BLOCKS), 2)
    assert [torch.equal(found[name], expected[name]) for name in expected] == [True]


def _top_blocks(manifest: Manifest, leaf: str, choice: Choice) -> Selection:
    names = [f"{manifest.blocks_at}.{block}.{leaf}" for block in range(LOWEST, BLOCKS)]
    return Selection().set(names, choice)


def _step(
    folder: Path, manifest: Manifest, selection: Selection, base: str, recomputes: bool
) -> tuple[dict[str, torch.Tensor], dict[int, int]]:
    """(gradient by name, how often each block's MLP ran) of one forward and backward."""
    spec = Spec(model_name_or_path=str(folder), use_cpu=True, lora_dropout=0.0)
    spec = spec.changed(**({f"load_in_{base}": True} if "bit" in base else {"dtype": base}))
    loaded = load_base(find_model(str(folder)), spec, choose_device(spec, is_demo=False))
    torch.manual_seed(0)
    model = apply_selection(loaded, manifest, selection, spec)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:  # zeros would hide the gradient of A
            torch.nn.init.normal_(parameter, std=0.1)
    if recomputes:
        recompute_blocks(model)
    model.train()
    runs = _counted(model, manifest)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=base != "float32"):
        loss = model(input_ids=IDS, labels=IDS).loss
    loss.backward()
    gradients = {name: p.grad for name, p in model.named_parameters() if p.requires_grad}
    return gradients, dict(sorted(runs.items()))


def _counted(model: Any, manifest: Manifest) -> Counter[int]:
    runs: Counter[int] = Counter()

    def count(block: int) -> Any:
        return lambda *_: runs.update([block])

    for name, module in model.named_modules():
        block = manifest.block_index(name.removeprefix("base_model.model."))
        if block is not None and name.endswith(f".{block}"):
            module.input_layernorm.register_forward_hook(count(block))
    return runs
