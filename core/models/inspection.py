"""Read a model's tree from its config: built by Transformers on the meta device, so no weight is loaded.

Starred: imports torch and transformers. The app reaches it through a call; see `core/calls`.
"""

import os
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM

from finetune_tui.core.errors import UserError
from finetune_tui.core.models.manifest import Manifest, ModelConfig, Module
from finetune_tui.core.models.roles import FAMILIES, role_of


def inspect_call(params: dict[str, Any], progress: Any) -> dict[str, Any]:
    """The call `inspect`: {"folder", "model"} → the manifest as JSON."""
    progress({"words": "building the model on the meta device"})
    return inspect_folder(Path(params["folder"]), params["model"]).to_json()


def inspect_folder(folder: Path, model: str) -> Manifest:
    """The manifest of the model whose config.json lies in `folder`; `model` is the name to show.

    Raises UserError when the config is missing, unknown to Transformers, or asks for code of its own.
    """
    return inspect_config(read_config(folder), model)


def read_config(folder: Path) -> Any:
    """The Transformers config in `folder`, never running code that lies beside it."""
    where = str(folder / "config.json")
    try:
        return AutoConfig.from_pretrained(os.fspath(folder), trust_remote_code=False)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UserError(
            f"Transformers cannot read this config ({reason})",
            where=where,
            hint="only architectures built into Transformers are opened; remote code never runs",
        ) from error


def inspect_config(config: Any, model: str) -> Manifest:
    """The manifest of a causal language model with this config."""
    with torch.device("meta"):
        built = AutoModelForCausalLM.from_config(
            config, trust_remote_code=False, attn_implementation="sdpa"
        )
    return manifest_of(built, model)


def manifest_of(built: Any, model: str) -> Manifest:
    """The manifest of a model that Transformers has built, on any device."""
    family = str(built.config.model_type)
    blocks_at = _where_blocks_are(built)
    return Manifest(
        model=model,
        architecture=type(built).__name__,
        family=family if family in FAMILIES else "unknown",
        config=_facts(built.config),
        modules=tuple(_module(name, module, family) for name, module in built.named_modules()),
        tied=_tied_groups(built),
        blocks_at=blocks_at,
    )


def _module(name: str, module: nn.Module, family: str) -> Module:
    return Module(
        name=name,
        cls=type(module).__name__,
        role=role_of(family, name.rpartition(".")[2]),
        own=tuple((key, tuple(p.shape)) for key, p in module.named_parameters(recurse=False)),
        parameters=sum(p.numel() for p in module.parameters()),
    )


def _where_blocks_are(built: nn.Module) -> str:
    """The name of the longest ModuleList: that is where a decoder keeps its blocks."""
    lists = [(len(m), name) for name, m in built.named_modules() if isinstance(m, nn.ModuleList)]
    return max(lists, key=lambda found: found[0])[1] if lists else ""


def _tied_groups(built: nn.Module) -> tuple[tuple[str, ...], ...]:
    """Names that share one parameter, e.g. ('model.embed_tokens.weight', 'lm_head.weight')."""
    names: dict[int, list[str]] = {}
    for name, parameter in built.named_parameters(remove_duplicate=False):
        names.setdefault(id(parameter), []).append(name)
    return tuple(tuple(group) for group in names.values() if len(group) > 1)


def _facts(config: Any) -> ModelConfig:
    text = config.get_text_config()
    heads = int(text.num_attention_heads)
    dtype = getattr(text, "dtype", None)
    return ModelConfig(
        model_type=str(config.model_type),
        hidden_size=int(text.hidden_size),
        intermediate_size=int(getattr(text, "intermediate_size", None) or 4 * text.hidden_size),
        blocks=int(text.num_hidden_layers),
        heads=heads,
        kv_heads=int(getattr(text, "num_key_value_heads", None) or heads),
        head_dim=int(getattr(text, "head_dim", None) or text.hidden_size // heads),
        vocabulary=int(text.vocab_size),
        context=getattr(text, "max_position_embeddings", None),
        tied=bool(getattr(text, "tie_word_embeddings", False)),
        dtype=str(dtype).removeprefix("torch.") if dtype is not None else None,
        activation=getattr(text, "hidden_act", None) or getattr(text, "hidden_activation", None),
    )
