"""Roles: what a module does, whatever its name.

One table per family says which leaf name has which role; adding a family is adding a row. What each
role means to a person (mnemonic, place in the pipeline) stands beside it.
"""

from dataclasses import dataclass
from enum import StrEnum


class Role(StrEnum):
    QUERY = "query"
    KEY = "key"
    VALUE = "value"
    QKV = "qkv"
    ATTENTION_OUTPUT = "attention output"
    MLP_IN = "MLP in"
    MLP_GATE = "MLP gate"
    GATE_IN = "gate+in"
    MLP_OUT = "MLP out"
    ROUTER = "router"
    EXPERTS = "experts"
    EMBEDDING = "embedding"
    HEAD = "head"
    NORM = "norm"


@dataclass(frozen=True, slots=True)
class RoleGuide:
    """What to tell a person about a role. `stage` is its place in the pipeline picture."""

    mnemonic: str
    does: str
    stage: str


PIPELINE = ("embed", "qkv", "out", "mlp-in", "mlp-out", "norm", "head")

ROLE_GUIDE: dict[Role, RoleGuide] = {
    Role.QUERY: RoleGuide("the search query", "asks what this token should look for", "qkv"),
    Role.KEY: RoleGuide("the index keywords", "says what this token has on offer", "qkv"),
    Role.VALUE: RoleGuide("the document", "is what gets handed over on a match", "qkv"),
    Role.QKV: RoleGuide(
        "query, keywords and document in one",
        "asks, offers and hands over in one fused matrix",
        "qkv",
    ),
    Role.ATTENTION_OUTPUT: RoleGuide(
        "the refinery", "mixes what the heads found back into the stream", "out"
    ),
    Role.MLP_IN: RoleGuide("the first factory step", "widens the stream into features", "mlp-in"),
    Role.MLP_GATE: RoleGuide("the factory's valve", "decides which features pass", "mlp-in"),
    Role.GATE_IN: RoleGuide(
        "valve and first factory step",
        "widens the stream and gates it in one fused matrix",
        "mlp-in",
    ),
    Role.MLP_OUT: RoleGuide(
        "the last factory step", "brings the features back to the stream", "mlp-out"
    ),
    Role.ROUTER: RoleGuide("the dispatcher", "sends each token to a few experts", "mlp-in"),
    Role.EXPERTS: RoleGuide(
        "the specialists", "hold many small factories, packed together", "mlp-in"
    ),
    Role.EMBEDDING: RoleGuide("the dictionary", "turns a token into its vector", "embed"),
    Role.HEAD: RoleGuide("the speaker", "picks the next word from the stream", "head"),
    Role.NORM: RoleGuide("the volume knob", "keeps the stream at an even level", "norm"),
}

# Leaf name → role. Transformers keeps these names stable within a family.
_ATTENTION = {
    "q_proj": Role.QUERY,
    "k_proj": Role.KEY,
    "v_proj": Role.VALUE,
    "o_proj": Role.ATTENTION_OUTPUT,
}
_GATED_MLP = {
    "gate_proj": Role.MLP_GATE,
    "up_proj": Role.MLP_IN,
    "down_proj": Role.MLP_OUT,
}
_ENDS = {"embed_tokens": Role.EMBEDDING, "lm_head": Role.HEAD}
_NORMS = {
    "input_layernorm": Role.NORM,
    "post_attention_layernorm": Role.NORM,
    "norm": Role.NORM,
}
_HEAD_NORMS = {"q_norm": Role.NORM, "k_norm": Role.NORM}
_FEEDFORWARD_NORMS = {
    "pre_feedforward_layernorm": Role.NORM,
    "post_feedforward_layernorm": Role.NORM,
}

_LLAMA = _ATTENTION | _GATED_MLP | _ENDS | _NORMS
_GEMMA_2 = _LLAMA | _FEEDFORWARD_NORMS
_QWEN_3 = _LLAMA | _HEAD_NORMS

# `model_type` of the config → table. This is the one place where a family is added; Llama's row also
# serves SmolLM2 and TinyLlama, Phi-3's also Phi-4-mini. What is not here is guessed: see `structure`.
FAMILIES: dict[str, dict[str, Role]] = {
    # Attention and MLP side by side behind one norm, biases everywhere.
    "phi": {
        "q_proj": Role.QUERY,
        "k_proj": Role.KEY,
        "v_proj": Role.VALUE,
        "dense": Role.ATTENTION_OUTPUT,
        "fc1": Role.MLP_IN,
        "fc2": Role.MLP_OUT,
        "input_layernorm": Role.NORM,
        "final_layernorm": Role.NORM,
        "q_layernorm": Role.NORM,
        "k_layernorm": Role.NORM,
    }
    | _ENDS,
    # Query, key and value in one matrix, gate and in likewise.
    "phi3": {
        "qkv_proj": Role.QKV,
        "o_proj": Role.ATTENTION_OUTPUT,
        "gate_up_proj": Role.GATE_IN,
        "down_proj": Role.MLP_OUT,
    }
    | _ENDS
    | _NORMS,
    "llama": _LLAMA,
    "mistral": _LLAMA,
    "qwen2": _LLAMA,
    "qwen3": _QWEN_3,
    "qwen3_moe": _QWEN_3 | {"gate": Role.ROUTER},
    "gemma2": _GEMMA_2,
    "gemma3_text": _GEMMA_2 | _HEAD_NORMS,
}

FUSED: dict[Role, tuple[Role, ...]] = {
    Role.QKV: (Role.QUERY, Role.KEY, Role.VALUE),
    Role.GATE_IN: (Role.MLP_GATE, Role.MLP_IN),
}
"""Which roles one fused matrix holds; whoever trains one of them trains all of them."""


def role_of(family: str, leaf_name: str) -> Role | None:
    """The role of a module by its family's table; None for containers and what has no role."""
    return FAMILIES.get(family, {}).get(leaf_name)
