"""Single tokens train, alone or beside everything else, and nothing but them changes in the embedding."""

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, set_seed

from finetune_tui.core import demo
from finetune_tui.core.data.tokens import load_tokenizer
from finetune_tui.core.errors import UserError, WorkFailed
from finetune_tui.core.models.inspection import inspect_folder
from finetune_tui.core.models.resolve import find_model
from finetune_tui.core.runs.directory import RunDirectory
from finetune_tui.core.training.apply import apply_selection
from finetune_tui.core.training.load import choose_device, load_base
from finetune_tui.core.training.results import read_back, write_results
from finetune_tui.core.training.vocabulary import trained_tokens
from finetune_tui.core.tuning.counting import trained_numbers
from finetune_tui.core.tuning.modes import LORA, Choice, Mode
from finetune_tui.core.tuning.selection import Selection
from finetune_tui.core.tuning.spec import Spec

from .families import make_folder

IDS = torch.arange(3, 43).reshape(2, 20)
TOKENS = (5, 31)
QUERY, OTHER = "model.layers.0.self_attn.q_proj", "model.layers.3.self_attn.q_proj"
BESIDE = {
    "alone": Selection(),
    "lora": Selection().set([QUERY], LORA),
    "full": Selection().set([QUERY], Choice(Mode.FULL)),
    "lora and full": Selection().set([QUERY], LORA).set([OTHER], Choice(Mode.FULL)),
}
SAMPLE = [
    ("phi", "alone"),
    ("llama-tied", "lora"),
    ("qwen2-tied", "full"),
    ("phi", "lora and full"),
]
FAMILIES = ("phi", "llama", "llama-tied", "qwen2-tied", "gemma2-tied")
EVERY = [(family, beside) for family in FAMILIES for beside in BESIDE]


@pytest.mark.parametrize(("family", "beside"), SAMPLE)
def test_a_sample_trains_tokens_and_reloads(family: str, beside: str, tmp_path: Path) -> None:
    _trains_tokens_and_reloads(family, beside, tmp_path)


@pytest.mark.soak
@pytest.mark.parametrize(("family", "beside"), [one for one in EVERY if one not in SAMPLE])
def test_the_others_do_too(family: str, beside: str, tmp_path: Path) -> None:
    _trains_tokens_and_reloads(family, beside, tmp_path)


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
@pytest.mark.parametrize("dora", [False, True])
def test_what_is_counted_before_is_what_trains(dtype: str, dora: bool, tmp_path: Path) -> None:
    """DoRA's magnitudes and the tokens included; on a base in 16 bits they train in float32."""
    folder = make_folder("phi", tmp_path)
    manifest = inspect_folder(folder, "phi")
    spec = Spec(model_name_or_path=str(folder), use_cpu=True, dtype=dtype, use_dora=dora)
    spec = spec.changed(trainable_token_indices=TOKENS)
    selection = BESIDE["lora"].set(["lm_head"], Choice(Mode.LORA, r=2))
    model = _adapted(folder, manifest, selection, spec)
    trained = [p for p in model.parameters() if p.requires_grad]
    assert sum(p.numel() for p in trained) == trained_numbers(manifest, selection, spec)
    assert {p.dtype for p in trained} == {torch.float32}
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype == "bfloat16"):
        model(input_ids=IDS, labels=IDS).loss.backward()
    assert all(p.grad is not None for p in trained)


def test_dora_on_an_embedding_counts_right(tmp_path: Path) -> None:
    folder = make_folder("phi", tmp_path)
    spec = Spec(model_name_or_path=str(folder), use_cpu=True, use_dora=True)
    _adapted(
        folder, inspect_folder(folder, "phi"), Selection().set(["model.embed_tokens"], LORA), spec
    )  # raises when it does not


def test_tokens_that_were_named_but_not_given_are_noticed(tmp_path: Path) -> None:
    folder = make_folder("phi", tmp_path)
    spec = Spec(model_name_or_path=str(folder), use_cpu=True).changed(trainable_token_indices=[5])
    base = load_base(find_model(str(folder)), spec, choose_device(spec, is_demo=False))
    with pytest.raises(WorkFailed, match="numbers would train"):
        apply_selection(base, inspect_folder(folder, "phi"), BESIDE["lora"], spec)


def test_tokens_by_id_by_name_and_by_text() -> None:
    tokenizer = load_tokenizer(str(demo.MODEL_FOLDER), "demo")
    name = tokenizer.convert_ids_to_tokens(300)
    text = tokenizer.decode([400])
    spec = Spec().changed(trainable_token_indices=[7, name, text])
    assert trained_tokens(spec, tokenizer) == (7, 300, 400)
    spec = Spec().changed(trainable_token_indices=[300, name])
    with pytest.raises(UserError, match="are the same token, 300"):
        trained_tokens(spec, tokenizer)
    spec = Spec().changed(trainable_token_indices=["antidisestablishmentarianism"])
    with pytest.raises(UserError, match="tokens of this model, not one"):
        trained_tokens(spec, tokenizer)


def _trains_tokens_and_reloads(family: str, beside: str, tmp_path: Path) -> None:
    folder = make_folder(family, tmp_path / "model")
    manifest = inspect_folder(folder, family)
    spec = Spec(model_name_or_path=str(folder), use_cpu=True, lora_r=4, lora_dropout=0.0)
    spec = spec.changed(trainable_token_indices=TOKENS)
    selection = BESIDE[beside]
    model = _adapted(folder, manifest, selection, spec)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    model.train()
    for _ in range(3):
        model(input_ids=IDS, labels=IDS).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    tuned = _logits(model)
    results = write_results(RunDirectory(tmp_path), model, selection)
    read_back(results, model, selection)
    assert results.adapter is not None
    assert (results.adapter / "adapter_model.safetensors").stat().st_size < 40_000

    plain = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    before = plain.get_input_embeddings().weight.detach().clone()
    if results.trained is not None:
        plain.load_state_dict(load_file(results.trained), strict=False)
    again = PeftModel.from_pretrained(plain, results.adapter)
    torch.testing.assert_close(_logits(again), tuned, rtol=0, atol=1e-6)
    merged = again.merge_and_unload()
    torch.testing.assert_close(_logits(merged), tuned, rtol=0, atol=1e-5)
    changed = (merged.get_input_embeddings().weight != before).any(dim=1).nonzero().flatten()
    assert tuple(changed.tolist()) == TOKENS


def _adapted(folder: Path, manifest: Any, selection: Selection, spec: Spec) -> Any:
    base = load_base(find_model(str(folder)), spec, choose_device(spec, is_demo=False))
    set_seed(spec.seed)
    return apply_selection(
        base, manifest, selection, spec, TOKENS if spec.trainable_token_indices else ()
    )


def _logits(model: Any) -> torch.Tensor:
    model.eval()
    with torch.no_grad():
        logits: torch.Tensor = model(input_ids=IDS).logits
    return logits.clone()
