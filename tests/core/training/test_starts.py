"""PiSSA and OLoRA begin at the base, load on the base as published, and begin the same after a kill."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, set_seed

from finetune_tui.core.errors import WorkFailed
from finetune_tui.core.models.inspection import inspect_folder
from finetune_tui.core.models.resolve import find_model
from finetune_tui.core.runs.directory import RunDirectory
from finetune_tui.core.training.apply import apply_selection
from finetune_tui.core.training.load import choose_device, load_base
from finetune_tui.core.training.results import read_back, write_results
from finetune_tui.core.tuning.modes import LORA, Choice, Mode
from finetune_tui.core.tuning.selection import Selection
from finetune_tui.core.tuning.spec import Spec

from .families import make_folder

HOWS = ("pissa", "pissa_niter_16", "olora")
IDS = torch.arange(3, 43).reshape(2, 20)
# Ranks of their own, the head, an embedding (which has no such start) and biases beside them.
SELECTION = (
    Selection()
    .set([f"model.layers.{block}.self_attn.q_proj" for block in range(5)], LORA)
    .set(["model.layers.1.mlp.fc1"], Choice(Mode.LORA, r=2, lora_alpha=16))
    .set(["lm_head"], Choice(Mode.LORA, r=8))
    .set(["model.embed_tokens"], Choice(Mode.LORA, r=4, lora_alpha=2))
    .set(["model.layers.0.mlp.fc2"], Choice(Mode.BIAS))
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_folder("phi", tmp_path_factory.mktemp("phi"))


def adapted(folder: Path, how: str, **keys: Any) -> Any:
    spec = Spec(model_name_or_path=str(folder), use_cpu=True, lora_r=4, lora_dropout=0.0)
    spec = spec.changed(init_lora_weights=how, lora_alpha=12, **keys)
    base = load_base(find_model(str(folder)), spec, choose_device(spec, is_demo=False))
    set_seed(spec.seed)
    return apply_selection(base, inspect_folder(folder, "phi"), SELECTION, spec)


def trained(model: Any) -> dict[str, Any]:
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


def train(model: Any, optimizer: Any, steps: int) -> None:
    model.train()
    for _ in range(steps):
        model(input_ids=IDS, labels=IDS).loss.backward()
        optimizer.step()
        optimizer.zero_grad()


def adam(model: Any) -> Any:
    return torch.optim.AdamW(trained(model).values(), lr=1e-2)


def logits(model: Any) -> torch.Tensor:
    model.eval()
    with torch.no_grad():
        found: torch.Tensor = model(input_ids=IDS).logits
    return found.clone()


@pytest.mark.parametrize("base", [{}, {"load_in_8bit": True}, {"load_in_4bit": True}])
@pytest.mark.parametrize("how", HOWS)
def test_training_begins_exactly_at_the_base(how: str, base: dict[str, bool], folder: Path) -> None:
    model = adapted(folder, how, **base)
    started = logits(model)
    with model.disable_adapter():
        torch.testing.assert_close(started, logits(model), rtol=0, atol=2e-5)
    a = model.get_submodule("base_model.model.lm_head.lora_A.default").weight
    b = model.get_submodule("base_model.model.lm_head.lora_B.default").weight
    assert a.abs().sum() > 1
    assert b.abs().sum() > 1


def test_pissa_takes_the_largest_directions(folder: Path) -> None:
    model = adapted(folder, "pissa")
    layer = model.get_submodule("base_model.model.lm_head")
    weight = layer.get_base_layer().weight.detach()
    taken = layer.scaling["default"] * layer.start_B @ layer.start_A
    values = torch.linalg.svdvals(weight)
    torch.testing.assert_close(torch.linalg.svdvals(weight - taken)[:10], values[8:18])


@pytest.mark.parametrize("keys", [{}, {"use_rslora": True}])
@pytest.mark.parametrize("how", HOWS)
def test_plain_peft_loads_it_on_the_base_as_published(
    how: str, keys: dict[str, bool], folder: Path, tmp_path: Path
) -> None:
    model = adapted(folder, how, **keys)
    before = logits(model)
    train(model, adam(model), 4)
    tuned = logits(model)
    assert (tuned - before).abs().max() > 0.1
    results = write_results(RunDirectory(tmp_path), model, SELECTION)
    read_back(results, model, SELECTION)

    plain = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    assert results.trained is not None
    plain.load_state_dict(load_file(results.trained), strict=False)
    again = PeftModel.from_pretrained(plain, results.adapter)
    torch.testing.assert_close(logits(again), tuned, rtol=0, atol=1e-5)
    torch.testing.assert_close(logits(again.merge_and_unload()), tuned, rtol=0, atol=1e-5)


@pytest.mark.parametrize("how", HOWS)
def test_a_resumed_run_begins_at_the_same_bits(how: str, folder: Path) -> None:
    straight = adapted(folder, how)
    train(straight, adam(straight), 4)

    killed = adapted(folder, how)
    optimizer = adam(killed)
    train(killed, optimizer, 2)
    parameters = {name: p.detach().clone() for name, p in trained(killed).items()}
    state = copy.deepcopy(optimizer.state_dict())

    torch.rand(7)  # whatever happened to the generators meanwhile
    resumed = adapted(folder, how)
    with torch.no_grad():
        for name, parameter in trained(resumed).items():
            parameter.copy_(parameters[name])
    optimizer = adam(resumed)
    optimizer.load_state_dict(state)
    train(resumed, optimizer, 2)
    for name, parameter in trained(straight).items():
        assert torch.equal(parameter, trained(resumed)[name]), name
    assert torch.equal(logits(straight), logits(resumed))


def test_what_was_saved_with_other_numbers_is_noticed(folder: Path, tmp_path: Path) -> None:
    model = adapted(folder, "pissa")
    results = write_results(RunDirectory(tmp_path), model, SELECTION)
    read_back(results, model, SELECTION)
    parameter = trained(model)["base_model.model.lm_head.lora_A.default.weight"]
    with torch.no_grad():
        parameter[0, 0] += 1e-3
    with pytest.raises(WorkFailed, match=r"lm_head\.lora_A\.weight was saved with other numbers"):
        read_back(results, model, SELECTION)
    with torch.no_grad():
        parameter[0, 0] = float("nan")
    written = write_results(RunDirectory(tmp_path), model, SELECTION)
    with pytest.raises(WorkFailed, match="numbers that are none"):
        read_back(written, model, SELECTION)
    assert results.adapter is not None
    (results.adapter / "adapter_model.safetensors").write_bytes(b"half")
    with pytest.raises(WorkFailed, match="cannot be read back"):
        read_back(results, model, SELECTION)
