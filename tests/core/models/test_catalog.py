"""The catalog against the guide's totals and against what Transformers builds."""

import json
import subprocess
import sys

import pytest

from finetune_tui.core.models.catalog import catalog, find_entries
from finetune_tui.core.models.resolve import find_model
from finetune_tui.core.models.roles import FAMILIES, Role

# The guide's table, copied by hand.
TOTALS = {
    "microsoft/phi-1_5": 1_418_270_720,
    "microsoft/phi-2": 2_779_683_840,
    "microsoft/Phi-3-mini-4k-instruct": 3_821_079_552,
    "microsoft/Phi-3-mini-128k-instruct": 3_821_079_552,
    "microsoft/Phi-3.5-mini-instruct": 3_821_079_552,
    "microsoft/Phi-4-mini-instruct": 3_836_021_760,
    "Qwen/Qwen2.5-0.5B": 494_032_768,
    "Qwen/Qwen2.5-0.5B-Instruct": 494_032_768,
    "Qwen/Qwen2.5-1.5B": 1_543_714_304,
    "Qwen/Qwen2.5-1.5B-Instruct": 1_543_714_304,
    "Qwen/Qwen2.5-7B": 7_615_616_512,
    "Qwen/Qwen2.5-7B-Instruct": 7_615_616_512,
    "Qwen/Qwen3-0.6B": 596_049_920,
    "Qwen/Qwen3-4B": 4_022_468_096,
    "Qwen/Qwen3-8B": 8_190_735_360,
    "Qwen/Qwen3-30B-A3B": 30_532_122_624,
    "meta-llama/Llama-3.1-8B": 8_030_261_248,
    "meta-llama/Llama-3.1-8B-Instruct": 8_030_261_248,
    "meta-llama/Llama-3.2-1B": 1_235_814_400,
    "meta-llama/Llama-3.2-1B-Instruct": 1_235_814_400,
    "meta-llama/Llama-3.2-3B": 3_212_749_824,
    "meta-llama/Llama-3.2-3B-Instruct": 3_212_749_824,
    "google/gemma-2-2b": 2_614_341_888,
    "google/gemma-2-2b-it": 2_614_341_888,
    "google/gemma-3-1b-it": 999_885_952,
    "google/gemma-3-4b-it": 3_880_263_168,
    "mistralai/Mistral-7B-v0.3": 7_248_023_552,
    "mistralai/Mistral-7B-Instruct-v0.3": 7_248_023_552,
    "TinyLlama/TinyLlama-1.1B-Chat-v1.0": 1_100_048_384,
    "HuggingFaceTB/SmolLM2-135M": 134_515_008,
    "HuggingFaceTB/SmolLM2-360M": 361_821_120,
    "HuggingFaceTB/SmolLM2-1.7B": 1_711_376_384,
}
TIED = {
    "microsoft/Phi-4-mini-instruct", "Qwen/Qwen2.5-0.5B", "Qwen/Qwen2.5-0.5B-Instruct",
    "Qwen/Qwen2.5-1.5B", "Qwen/Qwen2.5-1.5B-Instruct", "Qwen/Qwen3-0.6B", "Qwen/Qwen3-4B",
    "meta-llama/Llama-3.2-1B", "meta-llama/Llama-3.2-1B-Instruct", "meta-llama/Llama-3.2-3B",
    "meta-llama/Llama-3.2-3B-Instruct", "google/gemma-2-2b", "google/gemma-2-2b-it",
    "google/gemma-3-1b-it", "google/gemma-3-4b-it", "HuggingFaceTB/SmolLM2-135M",
    "HuggingFaceTB/SmolLM2-360M", "HuggingFaceTB/SmolLM2-1.7B",
}  # fmt: skip


def test_every_model_of_the_guide_with_its_total() -> None:
    assert {id: e.parameters for id, e in catalog().items() if id != "demo"} == TOTALS


@pytest.mark.parametrize("model", TOTALS)
def test_facts_and_roles(model: str) -> None:
    entry = catalog()[model]
    manifest = entry.manifest()
    assert entry.licence
    assert entry.advice
    assert entry.context
    assert entry.sources
    assert entry.parameters == manifest.parameters
    assert manifest.family in FAMILIES
    assert not manifest.guessed
    assert manifest.config.positions
    assert bool(manifest.tied) == (model in TIED) == manifest.config.tied
    assert manifest.tied in ((), (("model.embed_tokens.weight", "lm_head.weight"),))
    instruct = "nstruct" in model or "-it" in model or "Chat" in model or "Qwen3" in model
    assert entry.kind == ("instruct" if instruct else "base")
    without = {
        m.name for m in manifest.modules if m.own and not m.role and m.leaf_name != "experts"
    }
    assert without == set()


def test_tokens_seen_are_the_guides() -> None:
    phi2, phi3 = catalog()["microsoft/phi-2"], catalog()["microsoft/Phi-3-mini-4k-instruct"]
    assert phi2.tokens_seen is not None
    assert phi3.tokens_seen is not None
    assert round(phi2.tokens_seen / phi2.parameters) == 504
    assert round(phi3.tokens_seen / phi3.parameters) == 864


def test_every_block_of_phi_35() -> None:
    names = catalog()["microsoft/Phi-3.5-mini-instruct"].manifest().by_name
    for block in range(32):
        for below in (
            "self_attn.o_proj", "self_attn.qkv_proj", "mlp", "mlp.gate_up_proj", "mlp.down_proj",
            "mlp.activation_fn", "resid_mlp_dropout", "post_attention_layernorm",
        ):  # fmt: skip
            assert f"model.layers.{block}.{below}" in names


@pytest.mark.parametrize(
    ("model", "roles"),
    [
        (
            "microsoft/phi-2",
            {"dense": Role.ATTENTION_OUTPUT, "fc1": Role.MLP_IN, "fc2": Role.MLP_OUT},
        ),
        ("microsoft/Phi-4-mini-instruct", {"qkv_proj": Role.QKV, "gate_up_proj": Role.GATE_IN}),
        ("Qwen/Qwen3-8B", {"q_norm": Role.NORM, "k_norm": Role.NORM, "gate_proj": Role.MLP_GATE}),
        ("Qwen/Qwen3-30B-A3B", {"gate": Role.ROUTER, "gate_up_proj": Role.EXPERTS}),
        ("google/gemma-3-4b-it", {"pre_feedforward_layernorm": Role.NORM, "up_proj": Role.MLP_IN}),
    ],
)
def test_roles_where_layouts_differ(model: str, roles: dict[str, Role]) -> None:
    found = {module.leaf_name: module.role for module in catalog()[model].manifest().modules}
    assert {name: found[name] for name in roles} == roles


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("phi-2", "microsoft/phi-2"),
        ("PHI-2", "microsoft/phi-2"),
        ("qwen2.5-1.5b", "Qwen/Qwen2.5-1.5B"),
        ("qwen/qwen2.5-1.5b-instruct", "Qwen/Qwen2.5-1.5B-Instruct"),
        ("phi-3.5-mini", "microsoft/Phi-3.5-mini-instruct"),
        ("tinyllama", "TinyLlama/TinyLlama-1.1B-Chat-v1.0"),
    ],
)
def test_a_short_name_that_means_one(typed: str, meant: str) -> None:
    assert [entry.id for entry in find_entries(typed)] == [meant]
    assert find_model(typed).name == meant


def test_a_short_name_that_means_several() -> None:
    assert len(find_entries("phi-3-mini")) == 2
    assert find_entries("") == []
    assert find_entries("phi-") == []


def test_answers_need_no_torch_and_no_second() -> None:
    code = (
        "import sys, time; begun = time.perf_counter()\n"
        "from finetune_tui.core.models.catalog import catalog\n"
        "found = [entry.parameters for entry in catalog().values()]\n"
        "catalog()['Qwen/Qwen3-30B-A3B'].manifest()\n"
        "assert 'torch' not in sys.modules\n"
        "print(time.perf_counter() - begun)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 2  # 0.1 on an idle machine


@pytest.mark.parametrize("model", catalog())
def test_it_equals_meta_instantiation(model: str) -> None:
    """Names, classes, shapes and counts, read from the built model here and not by `inspection`."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    from finetune_tui.core import demo
    from finetune_tui.core.models.inspection import manifest_of

    entry = catalog()[model]
    facts = json.loads(entry.file.read_bytes()).get("config")
    config = (
        AutoConfig.for_model(**facts) if facts else AutoConfig.from_pretrained(demo.MODEL_FOLDER)
    )
    with torch.device("meta"):
        built = AutoModelForCausalLM.from_config(config)
    manifest = entry.manifest()
    lines = [module for module in manifest.modules if not module.is_packed]
    named = list(built.named_modules())
    assert [line.name for line in lines] == [name for name, _ in named]
    assert manifest.architecture == type(built).__name__
    for line, (_, module) in zip(lines, named, strict=True):
        assert line.cls == type(module).__name__
        assert dict(line.own) == {
            k: tuple(p.shape) for k, p in module.named_parameters(recurse=False)
        }
        assert line.parameters == sum(p.numel() for p in module.parameters())
    assert manifest.blocks == config.num_hidden_layers
    assert manifest_of(built, model) == manifest  # and nothing in the file is older than the code
