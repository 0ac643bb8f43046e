"""What axolotl, LLaMA-Factory, Unsloth, TRL and older Transformers call the same setting."""

from collections.abc import Callable, Mapping
from typing import Any

from finetune_tui.core.errors import UserError
from finetune_tui.core.text import plain

# Another name for the same value.
ALIASES: dict[str, str] = {
    "base_model": "model_name_or_path",
    "model": "model_name_or_path",
    "model_name": "model_name_or_path",
    "micro_batch_size": "per_device_train_batch_size",
    "sequence_len": "max_length",
    "cutoff_len": "max_length",
    "max_seq_length": "max_length",
    "lora_rank": "lora_r",
    "peft_use_dora": "use_dora",
    "peft_use_rslora": "use_rslora",
    "peft_init_lora_weights": "init_lora_weights",
    "peft_trainable_token_indices": "trainable_token_indices",
    "val_set_size": "eval_split",
    "val_size": "eval_split",
    "warmup_ratio": "warmup_steps",
    "torch_dtype": "dtype",
    "num_epochs": "num_train_epochs",
    "epochs": "num_train_epochs",
    "optimizer": "optim",
    "lr_scheduler": "lr_scheduler_type",
    "lr": "learning_rate",
    "gradient_clipping": "max_grad_norm",
    "sample_packing": "packing",
    "neat_packing": "packing",
    "mask_history": "last_turn_only",
    "neftune_alpha": "neftune_noise_alpha",
    "patience": "early_stopping_patience",
    "early_stop_patience": "early_stopping_patience",
    "activation_checkpointing": "gradient_checkpointing",
    "enable_liger_kernel": "use_liger_kernel",
    "random_state": "seed",
}

# The targets that other tools list by the last part of their names, as the preset that means them.
_TARGETS: Mapping[frozenset[str], str] = {
    frozenset({"all"}): "all-linear",
    frozenset({"all-linear"}): "all-linear",
    frozenset({"q_proj", "v_proj"}): "attention-qv",
    frozenset({"q_proj", "k_proj", "v_proj"}): "attention-refinement",
    frozenset(
        ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
    ): "all-linear",
}


def translated(name: str, value: Any) -> dict[str, Any]:
    """The canonical key and its value; nothing when the value says "leave it as it is".

    A name that is no alias comes back. Raises UserError for a value that has no counterpart here.
    """
    if name in _TURNED:
        return _TURNED[name](name, value)
    return {ALIASES.get(name, name): value}


def _sampling(name: str, value: Any) -> dict[str, Any]:
    return {"train_sampling_strategy": "group_by_length"} if _yes(name, value) else {}


def _dtype(name: str, value: Any) -> dict[str, Any]:
    if str(value).strip().lower() == "auto" or not _yes(name, value):
        return {}
    return {"dtype": "bfloat16" if name == "bf16" else "float16"}


def _bits(name: str, value: Any) -> dict[str, Any]:
    bits = str(value).strip()
    if bits not in ("4", "8"):
        raise UserError(f"{plain(repr(value), 40)} is not 4 or 8", where=name)
    return {f"load_in_{bits}bit": True}


def _prompt_too(name: str, value: Any) -> dict[str, Any]:
    return {"completion_only_loss": not _yes(name, value)}


def _pissa(name: str, value: Any) -> dict[str, Any]:
    return {"init_lora_weights": "pissa_niter_16"} if _yes(name, value) else {}


def _all_linear(name: str, value: Any) -> dict[str, Any]:
    return {"preset": "all-linear"} if _yes(name, value) else {}


def _targets(name: str, value: Any) -> dict[str, Any]:
    items = value.split(",") if isinstance(value, str) else value
    named = (
        frozenset(str(item).strip() for item in items) if isinstance(items, list) else frozenset()
    )
    if named not in _TARGETS:
        raise UserError(
            f"{plain(repr(value), 60)} is not the targets of a preset",
            where=name,
            hint="preset: all-linear, or the full names as `modules: [{PATTERN: lora}]`",
        )
    return {"preset": _TARGETS[named]}


def _checkpointing(_name: str, value: Any) -> dict[str, Any]:
    return {"gradient_checkpointing": True if value == "unsloth" else value}


def _yes(name: str, value: Any) -> bool:
    words = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
    word = str(value).strip().lower()
    if word not in words:
        raise UserError(f"{plain(repr(value), 60)} is not true or false", where=name)
    return words[word]


# Keys whose values have other words here too.
_TURNED: Mapping[str, Callable[[str, Any], dict[str, Any]]] = {
    "group_by_length": _sampling,
    "bf16": _dtype,
    "fp16": _dtype,
    "quantization_bit": _bits,
    "train_on_inputs": _prompt_too,
    "train_on_prompt": _prompt_too,
    "pissa_init": _pissa,
    "lora_target": _targets,
    "lora_target_modules": _targets,
    "target_modules": _targets,
    "lora_target_linear": _all_linear,
    "use_gradient_checkpointing": _checkpointing,
}
