"""Tiny models with random weights, one of every family, in folders that the real loading code opens."""

import shutil
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from finetune_tui.core import demo
from finetune_tui.core.training.load import attention_of

_SIZES: dict[str, Any] = {
    "vocab_size": 700,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 5,
    "num_attention_heads": 4,
    "max_position_embeddings": 128,
    "bos_token_id": 0,
    "eos_token_id": 0,
    "pad_token_id": 0,
}
_GROUPED: dict[str, Any] = {"num_key_value_heads": 2}
_HEAD_DIM: dict[str, Any] = {"head_dim": 8}

FAMILIES: dict[str, dict[str, Any]] = {
    "phi": {"model_type": "phi"},
    "phi3": {"model_type": "phi3", **_GROUPED},
    "phi3-tied": {"model_type": "phi3", "tie_word_embeddings": True},
    "llama": {"model_type": "llama", **_GROUPED},
    "llama-tied": {"model_type": "llama", **_GROUPED, "tie_word_embeddings": True},
    "mistral": {"model_type": "mistral", **_GROUPED, "sliding_window": None},
    "qwen2": {"model_type": "qwen2", **_GROUPED},
    "qwen2-tied": {"model_type": "qwen2", **_GROUPED, "tie_word_embeddings": True},
    "qwen3": {"model_type": "qwen3", **_GROUPED, **_HEAD_DIM},
    "qwen3-moe": {
        "model_type": "qwen3_moe",
        **_GROUPED,
        **_HEAD_DIM,
        "num_experts": 4,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 16,
    },
    "gemma2-tied": {"model_type": "gemma2", **_GROUPED, **_HEAD_DIM, "sliding_window": 64},
    "gemma3-tied": {"model_type": "gemma3_text", **_GROUPED, **_HEAD_DIM, "sliding_window": 64},
}


def make_model(family: str, **config: Any) -> Any:
    """A tiny random model of this family in float32, in memory; config: more of its keys."""
    torch.manual_seed(1)
    about = AutoConfig.for_model(**{**_SIZES, **FAMILIES[family], **config})
    model = AutoModelForCausalLM.from_config(about, attn_implementation=attention_of(about))
    model.config.use_cache = False
    return model


def make_folder(family: str, folder: Path) -> Path:
    """A folder with a tiny random model of this family and the demo's tokenizer."""
    torch.manual_seed(1)
    config = AutoConfig.for_model(**{**_SIZES, **FAMILIES[family]})
    model = AutoModelForCausalLM.from_config(config)
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):  # zeros would hide a bias that is lost
            torch.nn.init.normal_(parameter, std=0.1)
    model.save_pretrained(folder)
    for file in demo.MODEL_FOLDER.glob("tokenizer*"):
        shutil.copy(file, folder)
    return folder
