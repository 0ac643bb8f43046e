"""Read a model's tree from its config: built by Transformers on the meta device, so no weight is loaded.

Starred: imports torch and transformers. The app reaches it through a call; see `core/calls`.
"""

import os
from collections.abc import Iterator
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM

from finetune_tui.core.errors import UserError
from finetune_tui.core.limits import clock
from finetune_tui.core.models.manifest import PARAMETER, Manifest, ModelConfig, Module
from finetune_tui.core.models.roles import FAMILIES, Role, role_of
from finetune_tui.core.models.sanity import CONFIG, read_config_json
from finetune_tui.core.models.structure import with_guessed_roles
from finetune_tui.core.text import plain

# Of Phi and GPT-2, GPT-NeoX and Falcon, Starcoder 2, OPT.
_RESIDUAL_DROPOUT = ("resid_pdrop", "hidden_dropout", "residual_dropout", "dropout")
_EMBEDDING_DROPOUT = ("embd_pdrop", "embedding_dropout")


def inspect_call(params: dict[str, Any], progress: Any) -> dict[str, Any]:
    """The call `inspect`: {"folder", "model"} → the manifest as JSON."""
    progress({"words": "building the model on the meta device"})
    with clock():
        return inspect_folder(Path(params["folder"]), params["model"]).to_json()


def inspect_folder(folder: Path, model: str) -> Manifest:
    """The manifest of the model whose config.json lies in `folder`; `model` is the name to show.

    Raises UserError when the config is missing, unknown to Transformers, or asks for code of its own.
    """
    return inspect_config(read_config(folder), model)


def read_config(folder: Path) -> Any:
    """The Transformers config in `folder`, never running code that lies beside it."""
    read_config_json(folder)  # refuses what no real model has
    where = str(folder / CONFIG)
    try:
        return AutoConfig.from_pretrained(os.fspath(folder), trust_remote_code=False)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"Transformers cannot read this config ({_first_line(error)})",
            where=where,
            hint="only architectures built into Transformers are opened; remote code never runs",
        ) from error


def inspect_config(config: Any, model: str) -> Manifest:
    """The manifest of a causal language model with this config; of a multimodal one, its text part.

    Raises UserError when Transformers has no such language model.
    """
    text = config.get_text_config()
    try:
        with torch.device("meta"):
            built = AutoModelForCausalLM.from_config(
                text, trust_remote_code=False, attn_implementation="eager"
            )
    except Exception as error:  # whatever a stranger's config makes a constructor stumble over
        raise UserError(
            f"Transformers cannot build this model ({_first_line(error)})",
            where=model,
            hint="only causal language models built into Transformers are opened",
        ) from error
    return manifest_of(built, model)


def manifest_of(built: Any, model: str) -> Manifest:
    """The manifest of a model that Transformers has built, on any device."""
    family = str(built.config.model_type)
    config = _facts(built.config)
    manifest = Manifest(
        model=model,
        architecture=type(built).__name__,
        family=family if family in FAMILIES else "unknown",
        config=replace(config, positions=_positions(built, config)),
        modules=tuple(_lines(built, family, config.experts)),
        tied=_tied_groups(built),
        blocks_at=_where_blocks_are(built, config.blocks),
    )
    return manifest if family in FAMILIES else with_guessed_roles(manifest)


def _lines(built: nn.Module, family: str, experts: int | None) -> Iterator[Module]:
    """Every module in torch's order, each followed by its packed parameters."""
    for name, module in built.named_modules():
        own = tuple((key, tuple(p.shape)) for key, p in module.named_parameters(recurse=False))
        yield Module(
            name=name,
            cls=type(module).__name__,
            role=role_of(family, name.rpartition(".")[2]),
            own=own,
            parameters=sum(p.numel() for p in module.parameters()),
        )
        if not type(module).__module__.startswith("torch.nn."):  # a convolution is not packed
            yield from _packed(name, own, experts)


def _packed(
    module: str, own: tuple[tuple[str, tuple[int, ...]], ...], experts: int | None
) -> Iterator[Module]:
    for key, shape in own:
        if len(shape) >= 3 and shape[0] > 1:  # a leading 1 is only there to broadcast
            role = Role.EXPERTS if shape[0] == experts else None
            yield Module(f"{module}.{key}", PARAMETER, role, (("weight", shape),), prod(shape))


def _where_blocks_are(built: nn.Module, blocks: int) -> str:
    """The name of the ModuleList that holds the blocks: as long as the config says, else the longest.

    Experts can be a longer list, but lie deeper.
    """
    lists = [(name, len(m)) for name, m in built.named_modules() if isinstance(m, nn.ModuleList)]
    if not lists:
        return ""
    return max(lists, key=lambda found: (found[1] == blocks, -found[0].count("."), found[1]))[0]


def _tied_groups(built: nn.Module) -> tuple[tuple[str, ...], ...]:
    """Names that share one parameter, e.g. ('model.embed_tokens.weight', 'lm_head.weight')."""
    names: dict[int, list[str]] = {}
    for name, parameter in built.named_parameters(remove_duplicate=False):
        names.setdefault(id(parameter), []).append(name)
    return tuple(tuple(group) for group in names.values() if len(group) > 1)


def _facts(config: Any) -> ModelConfig:
    text = config.get_text_config()
    hidden = int(text.hidden_size)
    heads = _first_of(text, "num_attention_heads") or 0  # Mamba and its kin have none
    dtype = _first_of(text, "dtype")
    context = _first_of(text, "max_position_embeddings")
    return ModelConfig(
        model_type=str(config.model_type),
        hidden_size=hidden,
        intermediate_size=int(
            _first_of(text, "intermediate_size", "ffn_dim", "n_inner", "ffn_hidden_size")
            or 4 * hidden
        ),
        blocks=int(text.num_hidden_layers),
        heads=heads,
        kv_heads=_first_of(text, "num_key_value_heads") or heads,
        head_dim=_first_of(text, "head_dim") or (hidden // heads if heads else hidden),
        vocabulary=int(text.vocab_size),
        context=context,
        tied=bool(_first_of(text, "tie_word_embeddings")),
        dtype=str(dtype).removeprefix("torch.") if dtype is not None else None,
        activation=_first_of(text, "hidden_act", "hidden_activation", "activation_function"),
        sliding_window=_sliding_window(text, context),
        experts=_first_of(text, "num_experts", "num_local_experts", "n_routed_experts"),
        experts_per_token=_first_of(text, "num_experts_per_tok", "top_k_experts", "moe_topk"),
        residual_dropout=_first_of(text, *_RESIDUAL_DROPOUT) or 0.0,
        embedding_dropout=_first_of(text, *_EMBEDDING_DROPOUT) or 0.0,
    )


def _sliding_window(text: Any, context: int | None) -> int | None:
    """Tokens that attention reaches back where it does not see all; None when it always does."""
    window = _first_of(text, "sliding_window")
    kinds = _first_of(text, "layer_types")
    if not window or _first_of(text, "use_sliding_window") is False:
        return None
    if kinds is not None and "sliding_attention" not in kinds:
        return None
    return int(window) if context is None or window < context else None


def _positions(built: nn.Module, config: ModelConfig) -> str | None:
    """How the model knows where a token stands, in words; None when nothing says so."""
    text = getattr(built, "config").get_text_config()  # noqa: B009 - unknown to nn.Module
    rope = _first_of(text, "rope_parameters")
    if rope:
        rope = rope.get("full_attention", rope)  # one for each kind of attention
        words = "rotary"
        share = rope.get("partial_rotary_factor") or 1.0
        if share < 1:
            words += f" over {share:.0%} of each head"
        key = "original_max_position_embeddings"
        before = _first_of(rope, key) or _first_of(text, key)
        if before and config.context and before < config.context:
            words += f", stretched from {before:,} tokens"
        elif rope.get("factor"):
            words += f", stretched {rope['factor']:g}×"
        return words
    if _first_of(text, "alibi"):
        return "linear bias by distance (ALiBi)"
    learned = (m.num_embeddings for m in built.modules() if isinstance(m, nn.Embedding))
    # OPT and its kin keep two vectors more than there are positions.
    if config.context and any(0 <= rows - config.context <= 2 for rows in learned):
        return "learned, a vector for each"
    return None


def _first_of(facts: Any, *names: str) -> Any:
    """The first of these that the config knows and that is set."""
    for name in names:
        try:
            found = facts.get(name) if isinstance(facts, dict) else getattr(facts, name, None)
        except Exception:  # a fact that differs from block to block is none of the whole model
            continue
        if found is not None:
            return found
    return None


def _first_line(error: BaseException) -> str:
    return plain((str(error).strip().splitlines() or [type(error).__name__])[0], 200)
