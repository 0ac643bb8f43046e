"""Is a folder's config one that may be built? Read without torch, before anything acts on it.

A config is a stranger's word: a number in it decides how many objects are made. What no real model has
is refused here, in words; what passes is still built under a limit of time and memory.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from finetune_tui.core.errors import UserError
from finetune_tui.core.files import read_json

CONFIG = "config.json"
MOST_BYTES = 2 * 2**20
"""The largest config.json that is read; the largest known have some 100 kB."""

# The most that a number under one of these names can mean, far above any model that exists. The names
# are those of Transformers, and of the older families that call the same things differently.
_MOST_BLOCKS, _MOST_WIDTH, _MOST_HEADS, _MOST_EXPERTS = 1_000, 1_000_000, 10_000, 10_000
_MOST_VOCABULARY, _MOST_CONTEXT = 10_000_000, 10**9
_MOST: dict[str, int] = {
    **dict.fromkeys(
        (
            *("num_hidden_layers", "n_layer", "n_layers", "num_layers", "decoder_layers"),
            *("encoder_layers", "num_blocks", "num_nextn_predict_layers", "num_decoder_layers"),
        ),
        _MOST_BLOCKS,
    ),
    **dict.fromkeys(
        (
            *("hidden_size", "n_embd", "d_model", "head_dim", "d_kv"),
            *("intermediate_size", "n_inner", "d_ff", "ffn_dim", "ffn_hidden_size", "d_inner"),
            *("moe_intermediate_size", "shared_expert_intermediate_size", "word_embed_proj_dim"),
            *("q_lora_rank", "kv_lora_rank", "qk_rope_head_dim", "qk_nope_head_dim", "v_head_dim"),
            *("hidden_size_per_layer_input", "state_size", "ssm_state_size", "lru_width"),
        ),
        _MOST_WIDTH,
    ),
    **dict.fromkeys(
        (
            *("num_attention_heads", "n_head", "n_heads", "num_heads", "num_key_value_heads"),
            *("num_kv_heads", "multi_query_group_num", "decoder_attention_heads"),
        ),
        _MOST_HEADS,
    ),
    **dict.fromkeys(
        ("num_experts", "num_local_experts", "n_routed_experts", "n_shared_experts"), _MOST_EXPERTS
    ),
    **dict.fromkeys(
        ("vocab_size", "vocab_size_per_layer_input", "type_vocab_size"), _MOST_VOCABULARY
    ),
    **dict.fromkeys(
        ("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len", "sliding_window"),
        _MOST_CONTEXT,
    ),
}
# Of these, some families say "none" with 0 or -1.
_MAY_BE_NONE = frozenset(
    (
        *("sliding_window", "n_shared_experts", "num_experts", "num_local_experts"),
        *("n_routed_experts", "num_nextn_predict_layers", "q_lora_rank", "type_vocab_size"),
        *("encoder_layers", "hidden_size_per_layer_input", "shared_expert_intermediate_size"),
        *("moe_intermediate_size", "vocab_size_per_layer_input", "multi_query_group_num"),
        *("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len"),
    )
)
_MOST_ITEMS = 20_000
"""The longest list or the most keys in one place: a block has a few entries of its own at most."""
_DEEPEST = 20


def read_config_json(folder: Path) -> dict[str, Any]:
    """config.json, when it could be that of a model.

    Raises UserError naming file and key: absent, not JSON, too large, or a number that no model has.
    """
    path = folder / CONFIG
    config = read_json(path, limit=MOST_BYTES)
    if not isinstance(config, dict):
        raise UserError("not a config: a JSON object is expected", where=str(path))
    for key, value in _numbers(config, str(path), 0):
        _check_number(key, value, str(path))
    return config


def _numbers(value: Any, where: str, depth: int) -> Iterator[tuple[str, Any]]:
    """Every (key, value) of the bounded keys, at any depth: families nest their text model."""
    if depth > _DEEPEST:
        raise UserError(f"nested deeper than {_DEEPEST} levels", where=where)
    items = list(value.items()) if isinstance(value, dict) else [("", item) for item in value]
    if len(items) > _MOST_ITEMS:
        raise UserError(f"{len(items)} entries in one place: no config has that many", where=where)
    for key, item in items:
        if key in _MOST:
            yield key, item
        if isinstance(item, dict | list):
            yield from _numbers(item, where, depth + 1)
        elif isinstance(item, int) and abs(item) > 2**63:
            raise UserError("a number that does not fit 64 bits", where=f"{where}:{key}")


def _check_number(key: str, value: Any, where: str) -> None:
    """A size may be a list in families whose blocks differ; each of its numbers is one."""
    if value is None or isinstance(value, dict):
        return
    if isinstance(value, list):
        for item in value:
            _check_number(key, item, where)
        return
    at = f"{where}:{key}"
    least = -1 if key in _MAY_BE_NONE else 1
    if value is False and least < 0:
        return
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise UserError(f"{_shown(value)} is not a whole number", where=at)
    if not least <= value <= _MOST[key]:
        raise UserError(
            f"{_shown(value)} is outside {least} to {_MOST[key]:,}: no model has this",
            where=at,
            hint="the config is broken or not meant well; nothing of it was built",
        )


def _shown(value: Any) -> str:
    text = f"{value:,}" if type(value) is int and abs(value) < 10**30 else repr(value)[:40]
    return text if len(text) < 40 else f"{text[:39]}…"
