"""Architectures that no table knows, tiny on the meta device: roles by structure, written out by hand."""

from typing import Any

import pytest

pytest.importorskip("torch")

from transformers import AutoConfig

from finetune_tui.core.errors import UserError
from finetune_tui.core.models.inspection import inspect_config
from finetune_tui.core.models.manifest import Manifest
from finetune_tui.core.models.report import report
from finetune_tui.core.models.roles import Role
from finetune_tui.core.tuning.presets import resolve_preset

_SIZES = {
    "vocab_size": 96,
    "hidden_size": 32,
    "intermediate_size": 80,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "pad_token_id": 0,
}
_GPT = {"vocab_size": 96, "n_embd": 32, "n_layer": 2, "n_head": 4}
Q, K, V, O = Role.QUERY, Role.KEY, Role.VALUE, Role.ATTENTION_OUTPUT  # noqa: E741
IN, GATE, OUT = Role.MLP_IN, Role.MLP_GATE, Role.MLP_OUT
_SPLIT = {
    "self_attn.q_proj": Q,
    "self_attn.k_proj": K,
    "self_attn.v_proj": V,
    "self_attn.o_proj": O,
}
_GATED = {"mlp.gate_proj": GATE, "mlp.up_proj": IN, "mlp.down_proj": OUT}
_MOE = {"mlp.experts.gate_up_proj": Role.EXPERTS, "mlp.experts.down_proj": Role.EXPERTS}

# model type: sizes, roles of the projections in a block, embedding, head
UNKNOWN: dict[str, tuple[dict[str, Any], dict[str, Role], str, str]] = {
    "gpt2": (
        _GPT,
        {"attn.c_attn": Role.QKV, "attn.c_proj": O, "mlp.c_fc": IN, "mlp.c_proj": OUT},
        "transformer.wte",
        "lm_head",
    ),
    "gptj": (
        _GPT | {"rotary_dim": 4},
        {"attn.k_proj": K, "attn.v_proj": V, "attn.q_proj": Q, "attn.out_proj": O,
         "mlp.fc_in": IN, "mlp.fc_out": OUT},
        "transformer.wte",
        "lm_head",
    ),
    "gpt_neox": (
        _SIZES,
        {"attention.query_key_value": Role.QKV, "attention.dense": O,
         "mlp.dense_h_to_4h": IN, "mlp.dense_4h_to_h": OUT},
        "gpt_neox.embed_in",
        "lm_head",
    ),
    "falcon": (
        _SIZES,
        {"self_attention.query_key_value": Role.QKV, "self_attention.dense": O,
         "mlp.dense_h_to_4h": IN, "mlp.dense_4h_to_h": OUT},
        "transformer.word_embeddings",
        "lm_head",
    ),
    "opt": (
        {key: value for key, value in _SIZES.items() if key != "intermediate_size"}
        | {"ffn_dim": 128, "word_embed_proj_dim": 32},
        {"self_attn.k_proj": K, "self_attn.v_proj": V, "self_attn.q_proj": Q,
         "self_attn.out_proj": O, "fc1": IN, "fc2": OUT},
        "model.decoder.embed_tokens",
        "lm_head",
    ),
    "olmo2": (_SIZES, _SPLIT | _GATED, "model.embed_tokens", "lm_head"),
    "starcoder2": (
        _SIZES, _SPLIT | {"mlp.c_fc": IN, "mlp.c_proj": OUT}, "model.embed_tokens", "lm_head",
    ),
    "glm4": (
        _SIZES | {"head_dim": 8},
        _SPLIT | {"mlp.gate_up_proj": Role.GATE_IN, "mlp.down_proj": OUT},
        "model.embed_tokens",
        "lm_head",
    ),
    "lfm2": (
        _SIZES | {"layer_types": ["full_attention"] * 2},
        {"self_attn.q_proj": Q, "self_attn.k_proj": K, "self_attn.v_proj": V, "self_attn.out_proj": O,
         "feed_forward.w1": GATE, "feed_forward.w3": IN, "feed_forward.w2": OUT},
        "model.embed_tokens",
        "lm_head",
    ),
    "mixtral": (
        _SIZES | {"num_local_experts": 4},
        _SPLIT | _MOE | {"mlp.gate": Role.ROUTER},
        "model.embed_tokens",
        "lm_head",
    ),
    "gpt_oss": (
        _SIZES | {"head_dim": 8, "num_local_experts": 4},
        _SPLIT | _MOE | {"mlp.router": Role.ROUTER},
        "model.embed_tokens",
        "lm_head",
    ),
}  # fmt: skip


def opened(model_type: str, **facts: Any) -> Manifest:
    return inspect_config(AutoConfig.for_model(model_type, **facts), model_type)


@pytest.mark.parametrize("model_type", UNKNOWN)
def test_roles_by_structure(model_type: str) -> None:
    facts, expected, embedding, head = UNKNOWN[model_type]
    manifest = opened(model_type, **facts)
    assert manifest.guessed
    assert manifest.family == "unknown"
    assert manifest.blocks == 2
    for block in range(2):
        prefix = f"{manifest.blocks_at}.{block}."
        found = {
            m.name.removeprefix(prefix): m.role
            for m in manifest.modules
            if m.name.startswith(prefix) and m.role and m.role is not Role.NORM
        }
        assert found == expected
    assert [m.name for m in manifest.modules if m.role is Role.EMBEDDING] == [embedding]
    assert [m.name for m in manifest.modules if m.role is Role.HEAD] == [head]
    norms = [m for m in manifest.modules if "norm" in m.cls.lower() and m.own]
    assert {m.role for m in norms} == {Role.NORM}


def test_a_guess_is_said_wherever_roles_are_used() -> None:
    manifest = opened("olmo2", **_SIZES)
    assert any("guessed" in note for note in resolve_preset("concept-learning", manifest).notes)
    assert "guessed" in report(manifest)
    assert Manifest.from_json(manifest.to_json()).guessed


@pytest.mark.parametrize("model_type", UNKNOWN)
@pytest.mark.parametrize("preset", ["attention-refinement", "all-linear", "attention-only-top-4"])
def test_presets_mean_something_on_a_guess(model_type: str, preset: str) -> None:
    manifest = opened(model_type, **UNKNOWN[model_type][0])
    chosen = resolve_preset(preset, manifest).selection.choices
    wanted = {
        "attention-refinement": {Q, K, V, Role.QKV},
        "attention-only-top-4": {Q, K, V, Role.QKV, O},
        "all-linear": {Q, K, V, Role.QKV, O, IN, GATE, Role.GATE_IN, OUT},
    }[preset]
    assert set(chosen) == {m.name for m in manifest.modules if m.role in wanted}


@pytest.mark.parametrize("model_type", ["mamba", "rwkv"])
def test_without_attention_heads_it_still_opens(model_type: str) -> None:
    manifest = opened(model_type, vocab_size=96, hidden_size=32, num_hidden_layers=2)
    assert manifest.config.heads == 0
    assert "attention: none" in report(manifest)
    assert resolve_preset("all-linear", manifest).selection.choices


def test_blocks_that_differ_keep_their_own_lines() -> None:
    manifest = opened(
        "qwen3_moe",
        **_SIZES,
        head_dim=8,
        num_experts=4,
        moe_intermediate_size=16,
        mlp_only_layers=[0],
    )
    assert not manifest.guessed
    assert "model.layers.0.mlp.up_proj" in manifest.by_name
    assert "model.layers.1.mlp.experts.down_proj" in manifest.by_name
    assert Manifest.from_json(manifest.to_json()) == manifest
    chosen = resolve_preset("concept-learning", manifest)
    assert "model.layers.0.mlp.up_proj" in chosen.selection.choices
    assert any("4 experts" in note for note in chosen.notes)


def test_a_multimodal_model_is_its_text_part() -> None:
    text = {**_SIZES, "head_dim": 8, "sliding_window": 16}
    vision = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1,
              "num_attention_heads": 2, "image_size": 28, "patch_size": 14}  # fmt: skip
    manifest = opened("gemma3", text_config=text, vision_config=vision)
    assert manifest.family == "gemma3_text"
    assert manifest.architecture == "Gemma3ForCausalLM"
    assert "model.layers.1.self_attn.q_norm" in manifest.by_name


@pytest.mark.parametrize(
    ("model_type", "facts", "positions"),
    [
        ("llama", {}, "rotary"),
        ("phi", {"partial_rotary_factor": 0.5}, "rotary over 50% of each head"),
        ("gpt2", _GPT, "learned, a vector for each"),
        (
            "llama",
            {"rope_scaling": {"rope_type": "linear", "factor": 8.0}},
            "rotary, stretched 8×",
        ),
    ],
)
def test_positions_in_words(model_type: str, facts: dict[str, Any], positions: str) -> None:
    sizes = {} if model_type == "gpt2" else _SIZES
    assert opened(model_type, **sizes, **facts).config.positions == positions


def test_what_is_no_language_model_is_refused_in_a_line() -> None:
    with pytest.raises(UserError, match="cannot build") as caught:
        opened("vit")
    assert "\n" not in str(caught.value)
