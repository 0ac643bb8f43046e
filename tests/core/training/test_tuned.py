"""Base and tuned model in one: the base to the last bit, the tuned one as the worker had it."""

import math
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM

from finetune_tui.core import demo
from finetune_tui.core.errors import UserError, WorkFailed
from finetune_tui.core.memory.free import Free
from finetune_tui.core.runs.state import write_state
from finetune_tui.core.training import checkpoint
from finetune_tui.core.training import tuned as tuned_module
from finetune_tui.core.training.replies import in_its_precision
from finetune_tui.core.training.tuned import load_tuned
from finetune_tui.core.tuning.spec import Spec

from .families import make_folder
from .trained_runs import (
    add_checkpoint,
    as_trained,
    finished_run,
    seal,
    spec_of,
    stopped_run,
    untouched_base,
)

IDS = torch.arange(3, 43).reshape(2, 20)
ATTENTION: list[dict[str, Any]] = [{"model.layers.{0..4}.self_attn.{q_proj,v_proj}": "lora"}]
OWN_RANK = {"model.layers.1.self_attn.k_proj": {"mode": "lora", "r": 2, "lora_alpha": 16}}
NORMS = {"model.layers.{0..4}.input_layernorm": "full"}
HEAD = {"lm_head": "full"}
EMBEDDING = {"model.embed_tokens": "full"}
BIASES = {"model.layers.{0..4}.mlp.fc1": "bias"}
TOKENS = {"trainable_token_indices": ["5", "9"]}

Keys = dict[str, Any]

# On phi, which has biases everywhere and a head of its own.
KINDS: dict[str, Keys] = {
    "lora": {"modules": [*ATTENTION, OWN_RANK]},
    "dora": {"modules": ATTENTION, "use_dora": True},
    "rslora": {"modules": [*ATTENTION, OWN_RANK], "use_rslora": True},
    "pissa": {"modules": [*ATTENTION, OWN_RANK], "init_lora_weights": "pissa"},
    "olora and rslora": {
        "modules": [*ATTENTION, OWN_RANK],
        "init_lora_weights": "olora",
        "use_rslora": True,
    },
    "pissa, embedding": {
        "modules": [*ATTENTION, {"model.embed_tokens": "lora"}],
        "init_lora_weights": "pissa",
    },
    "lora, full": {"modules": [*ATTENTION, NORMS, HEAD]},
    "lora, bias": {"modules": [*ATTENTION, BIASES]},
    "lora, full, bias": {"modules": [*ATTENTION, NORMS, BIASES]},
    "full": {"modules": [NORMS, HEAD]},
    "bias": {"preset": "bitfit-top-4"},
    "tokens": TOKENS,
    "lora, tokens": {"modules": ATTENTION, **TOKENS},
}
HELD: dict[str, Keys] = {
    "bf16": {"dtype": "bfloat16"},
    "8bit": {"load_in_8bit": True},
    "4bit": {"load_in_4bit": True},
}
# One of each: an adapter of doubled rank, everything at once, in place alone, tokens alone.
FAST = ("pissa", "lora, full, bias", "full", "tokens")
FAST_HELD = (("bf16", "full"), ("4bit", "lora, full, bias"))
TIED: dict[str, Keys] = {
    "lora, embedding full": {"modules": [*ATTENTION, EMBEDDING]},
    "embedding full": {"modules": [EMBEDDING]},
    "lora, tokens": {"modules": ATTENTION, **TOKENS},
    "tokens": TOKENS,
}
EVERY_HELD = [(held, kind) for held in HELD for kind in KINDS]
FAMILIES = ("phi3", "phi3-tied", "llama", "mistral", "qwen2", "qwen3", "qwen3-moe", "gemma3-tied")


@pytest.fixture(scope="module")
def phi(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_folder("phi", tmp_path_factory.mktemp("phi"))


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad(), in_its_precision(model):
        found: torch.Tensor = model(input_ids=IDS).logits
    return found.float()


def check(home: Path, spec: Spec) -> None:
    is_half = spec.load_in_8bit or spec.load_in_4bit or spec.dtype == "bfloat16"
    # Saved as one plain LoRA, PiSSA takes off its start before 16 bits round the sum, not after.
    far = 0.01 if is_half and spec.init_lora_weights != "default" else 1e-5
    model = as_trained(spec)
    run = finished_run(home, spec, model)
    base, trained = logits(untouched_base(spec)), logits(model)
    assert (trained - base).abs().max() > 1e-2
    tuned = load_tuned(run)
    assert tuned.step is None
    assert not any(p.requires_grad for p in tuned.model.parameters())
    for _ in range(2):  # back and forth
        with tuned.as_base() as switched:
            assert torch.equal(logits(switched), base)
            with tuned.as_tuned():
                torch.testing.assert_close(logits(tuned.model), trained, rtol=0, atol=far)
            assert torch.equal(logits(switched), base)
        torch.testing.assert_close(logits(tuned.model), trained, rtol=0, atol=far)


@pytest.mark.parametrize("kind", FAST)
def test_the_base_is_untouched_and_the_tuned_one_as_trained(
    kind: str, phi: Path, tmp_path: Path
) -> None:
    check(tmp_path, spec_of(phi, **KINDS[kind]))


@pytest.mark.soak
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in FAST])
def test_the_other_kinds_too(kind: str, phi: Path, tmp_path: Path) -> None:
    check(tmp_path, spec_of(phi, **KINDS[kind]))


@pytest.mark.parametrize(("held", "kind"), FAST_HELD)
def test_a_base_in_fewer_bits(held: str, kind: str, phi: Path, tmp_path: Path) -> None:
    check(tmp_path, _held(phi, held, kind))


@pytest.mark.soak
@pytest.mark.parametrize(("held", "kind"), [one for one in EVERY_HELD if one not in FAST_HELD])
def test_fewer_bits_with_every_kind(held: str, kind: str, phi: Path, tmp_path: Path) -> None:
    check(tmp_path, _held(phi, held, kind))


@pytest.mark.parametrize("kind", ["lora, embedding full"])
def test_tied_matrices_switch_together(kind: str, tmp_path: Path) -> None:
    check(tmp_path, spec_of(make_folder("gemma2-tied", tmp_path / "model"), **TIED[kind]))


@pytest.mark.soak
@pytest.mark.parametrize("family", ["llama-tied", "qwen2-tied", "gemma2-tied"])
@pytest.mark.parametrize("kind", TIED)
def test_every_tied_family(kind: str, family: str, tmp_path: Path) -> None:
    check(tmp_path, spec_of(make_folder(family, tmp_path / "model"), **TIED[kind]))


@pytest.mark.soak
@pytest.mark.parametrize("family", FAMILIES)
def test_every_family(family: str, tmp_path: Path) -> None:
    folder = make_folder(family, tmp_path / "model")
    check(tmp_path, spec_of(folder, preset="all-linear", init_lora_weights="olora"))


@pytest.mark.soak
def test_matrices_that_are_held_transposed(tmp_path: Path) -> None:
    sizes = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 128, "vocab_size": 700}
    config = AutoConfig.for_model("gpt2", **sizes, bos_token_id=0, eos_token_id=0)
    folder = tmp_path / "model"
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    for file in demo.MODEL_FOLDER.glob("tokenizer*"):
        shutil.copy(file, folder)
    attention = {"transformer.h.{0,1}.attn.{c_attn,c_proj}": "lora"}
    check(tmp_path, spec_of(folder, modules=[attention], init_lora_weights="olora"))
    check(tmp_path, spec_of(folder, modules=[attention, {"transformer.h.0.mlp.c_fc": "bias"}]))


# What a run that has no result can be judged by


@pytest.mark.parametrize("kind", ["pissa", pytest.param("full", marks=pytest.mark.soak)])
def test_a_checkpoint_stands_for_a_result_that_was_never_written(
    kind: str, phi: Path, tmp_path: Path
) -> None:
    spec = spec_of(phi, **KINDS[kind])
    base, model = logits(untouched_base(spec)), as_trained(spec)
    trained = logits(model)
    run = stopped_run(tmp_path, spec, model, step=20)
    tuned = load_tuned(run)
    assert tuned.step == 20
    assert torch.equal(logits(tuned.model), trained)
    with tuned.as_base():
        assert torch.equal(logits(tuned.model), base)


def test_the_best_checkpoint_is_taken_then_the_newest_whole_one(phi: Path, tmp_path: Path) -> None:
    spec = spec_of(phi, **KINDS["bias"])
    model = as_trained(spec)
    run = stopped_run(tmp_path, spec, model, step=10)
    add_checkpoint(run, model, step=20)
    newest = add_checkpoint(run, model, step=30)
    assert load_tuned(run).step == 30
    write_state(run.state_path, run.state().changed(best_step=10))
    assert load_tuned(run).step == 10
    write_state(run.state_path, run.state().changed(best_step=None))
    (newest / checkpoint.TRAINED).write_bytes(b"cut")
    assert load_tuned(run).step == 20


def test_a_checkpoint_with_other_numbers_is_refused(phi: Path, tmp_path: Path) -> None:
    spec = spec_of(phi, **KINDS["bias"])
    run = stopped_run(tmp_path, spec, as_trained(spec), step=10)
    folder = run.checkpoints / checkpoint.folder_name(10)
    tensors = load_file(folder / checkpoint.TRAINED)
    name = min(tensors)
    save_file(
        {**tensors, name: torch.full_like(tensors[name], math.nan)}, folder / checkpoint.TRAINED
    )
    seal(folder)
    with pytest.raises(UserError, match="holds numbers that are none"):
        load_tuned(run)
    save_file({**tensors, name: torch.zeros(1)}, folder / checkpoint.TRAINED)
    seal(folder)
    with pytest.raises(WorkFailed, match="belongs to another selection"):
        load_tuned(run)
    (folder / checkpoint.TRAINED).write_bytes(b"\xff" * 64)
    seal(folder)
    with pytest.raises(UserError, match="not a whole safetensors file"):
        load_tuned(run)
    (folder / checkpoint.MANIFEST).write_bytes(b"{}")
    with pytest.raises(UserError, match="no result, and no checkpoint is whole: of step-000010"):
        load_tuned(run)


# What is said, and what is asked


def test_it_says_how_far_it_is_and_can_be_stopped(phi: Path, tmp_path: Path) -> None:
    spec = spec_of(phi, **KINDS["bias"])
    run = finished_run(tmp_path, spec, as_trained(spec))
    phases: list[str] = []

    class Stop(Exception):
        pass

    def say(phase: str, *_: Any, **__: Any) -> None:
        phases.append(phase)
        if phase == "applying":
            raise Stop

    with pytest.raises(Stop):
        load_tuned(run, say=say)
    assert phases == ["checking the result", "loading", "applying"]


def test_another_precision_is_not_quantised(phi: Path, tmp_path: Path) -> None:
    spec = spec_of(phi, **KINDS["lora"], load_in_4bit=True)
    run = finished_run(tmp_path, spec, as_trained(spec))
    tuned = load_tuned(run, dtype="bfloat16")
    kinds = {p.dtype for name, p in tuned.model.named_parameters() if "lora_" not in name}
    assert kinds == {torch.bfloat16}
    assert tuned.spec.load_in_4bit  # what the run was asked


def test_too_little_memory_is_said_with_the_ways_out(
    phi: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = spec_of(phi, **KINDS["bias"])
    run = finished_run(tmp_path, spec, as_trained(spec))
    monkeypatch.setattr(tuned_module, "free_memory", lambda *_: Free(2**20, 2**34, "this machine"))
    with pytest.raises(UserError, match=r"about .* is needed and 1\.0M of 16\.0G is free"):
        load_tuned(run)


def _held(folder: Path, held: str, kind: str) -> Spec:
    return spec_of(folder, **KINDS[kind], **HELD[held])
