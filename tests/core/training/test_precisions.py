"""Every mode on a base in 16 bits or quantised: what trains is float32 and stays so, and it can be asked."""

from pathlib import Path
from typing import Any

import pytest
import torch

from finetune_tui.core import demo
from finetune_tui.core.data.source import open_rows
from finetune_tui.core.data.tokens import load_tokenizer
from finetune_tui.core.models.inspection import inspect_folder
from finetune_tui.core.models.manifest import Manifest
from finetune_tui.core.models.resolve import find_model
from finetune_tui.core.training.apply import apply_selection
from finetune_tui.core.training.load import choose_device, load_base
from finetune_tui.core.training.replies import answer
from finetune_tui.core.tuning.modes import Choice, Mode
from finetune_tui.core.tuning.selection import Selection, togglable
from finetune_tui.core.tuning.spec import Spec

from .families import FAMILIES, make_folder
from .test_families import IDS, mixed

BASES: dict[str, dict[str, Any]] = {
    "16bit": {},
    "8bit": {"load_in_8bit": True},
    "4bit": {"load_in_4bit": True},
}
HOW = ("bias", "full", "mixed")


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("how", HOW)
def test_what_trains_is_and_stays_float32(base: str, how: str) -> None:
    _train_and_ask(demo.MODEL_FOLDER, base, how)


@pytest.mark.soak
@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("family", FAMILIES)
def test_on_every_family(family: str, base: str, how: str, tmp_path: Path) -> None:
    _train_and_ask(make_folder(family, tmp_path), base, how)


def _train_and_ask(folder: Path, base: str, how: str) -> None:
    manifest = inspect_folder(folder, "tiny")
    spec = Spec(model_name_or_path=str(folder), use_cpu=True, dtype="bfloat16", lora_r=4)
    spec = spec.changed(**BASES[base])
    selection = _possible(manifest, how, quantised=base != "16bit")
    if not selection.choices:
        pytest.skip("this family has no biases")
    loaded = load_base(find_model(str(folder)), spec, choose_device(spec, is_demo=False))
    model = apply_selection(loaded, manifest, selection, spec)
    trained = [p for p in model.parameters() if p.requires_grad]
    before = [p.detach().clone() for p in trained]
    optimizer = torch.optim.AdamW(trained, lr=1e-5)  # a step that bfloat16 could not hold
    model.train()
    for _ in range(2):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = model(input_ids=IDS, labels=IDS).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    rows = open_rows([demo.HELDOUT_FILE])[:2]
    assert len(answer(model, load_tokenizer(str(demo.MODEL_FOLDER), "demo"), rows, longest=2)) == 2
    assert {p.dtype for p in trained} == {torch.float32}
    moved = sum(int((p != old).sum()) for p, old in zip(trained, before, strict=True))
    assert moved > sum(p.numel() for p in trained) * 0.1


def _possible(manifest: Manifest, how: str, quantised: bool) -> Selection:
    if how == "mixed":
        selection = mixed(manifest)
    else:
        mode = Mode(how)
        selection = Selection().set(togglable(manifest, "", mode), Choice(mode))
    if not quantised:
        return selection
    frozen = [n for n in selection.names(Mode.FULL) if manifest.module(n).is_quantisable]
    return selection.set(frozen, None)
