"""Make a selection real: exactly the modules that were named train, each in its mode, nothing else.

`lora` is PEFT's. `full` beside it goes through PEFT's modules_to_save, so that one adapter holds both.
`full` alone and `bias` are the model's own parameters, made trainable in float32: in pure bfloat16 a
step of Adam is smaller than the weights can tell. Single tokens are PEFT's too, beside LoRA or alone.
"""

from collections.abc import Sequence
from typing import Any

import torch
from peft import LoraConfig, TrainableTokensConfig, get_peft_model

from finetune_tui.core.errors import WorkFailed
from finetune_tui.core.models.manifest import Manifest
from finetune_tui.core.training.starts import set_start
from finetune_tui.core.tuning.counting import embedding_of, trained_numbers
from finetune_tui.core.tuning.left_behind import PEFT_PREFIX
from finetune_tui.core.tuning.modes import Mode
from finetune_tui.core.tuning.selection import Selection
from finetune_tui.core.tuning.spec import Spec


def apply_selection(
    model: Any,
    manifest: Manifest,
    selection: Selection,
    spec: Spec,
    tokens: Sequence[int] = (),
) -> Any:
    """The model that trains this selection: a PeftModel when anything in it is `lora`, or tokens are named.

    tokens: the ids that `spec.trainable_token_indices` stands for.
    PEFT matches names by their ending and trains what it finds, so what it adapted is compared with
    what was asked, module by module and number by number. Raises WorkFailed when they differ.
    """
    model.requires_grad_(False)
    full, bias = selection.names(Mode.FULL), selection.names(Mode.BIAS)
    if selection.names(Mode.LORA):
        model = _with_adapters(model, manifest, selection, spec, tokens)
    else:
        if tokens:
            model = _with_tokens(model, manifest, tokens)
        for name in full:
            for parameter in base_module(model, name).parameters(recurse=False):
                parameter.requires_grad_(True)
    for name in bias:
        module = base_module(model, name)
        module.bias.requires_grad_(True)
        if hasattr(module.weight, "quant_type") or hasattr(module.weight, "CB"):
            _add_bias_outside(module)
    _in_float32(model)
    _check_count(model, trained_numbers(manifest, selection, spec))
    return model


def base_module(model: Any, name: str) -> Any:
    """The module the manifest calls `name`, whether PEFT lies around the model or not."""
    return model.get_submodule(PEFT_PREFIX + name if hasattr(model, "peft_config") else name)


def _with_adapters(
    model: Any, manifest: Manifest, selection: Selection, spec: Spec, tokens: Sequence[int]
) -> Any:
    names, full = selection.names(Mode.LORA), selection.names(Mode.FULL)
    chosen = {name: selection.choices[name] for name in names}
    tied = {name.rpartition(".")[0] for group in manifest.tied for name in group}
    config = LoraConfig(
        task_type="CAUSAL_LM",
        target_modules=list(names),
        modules_to_save=list(full) or None,
        ensure_weight_tying=bool(tied & set(full)),
        r=spec.lora_r,
        lora_alpha=spec.lora_alpha,
        lora_dropout=spec.lora_dropout,
        use_rslora=spec.use_rslora,
        use_dora=spec.use_dora,
        init_lora_weights="gaussian" if spec.init_lora_weights == "gaussian" else True,
        trainable_token_indices={_embedding(manifest): list(tokens)} if tokens else None,
        rank_pattern={name: one.r for name, one in chosen.items() if one.r is not None},
        alpha_pattern={
            name: one.lora_alpha for name, one in chosen.items() if one.lora_alpha is not None
        },
    )
    adapted = get_peft_model(model, config)
    _check_modules("LoRA", _named(adapted, _is_adapted), set(names))
    saved = _named(adapted, lambda module: hasattr(module, "modules_to_save"))
    _check_modules("full", saved - (tied - set(full)), set(full))
    set_start(adapted, spec.init_lora_weights, spec.seed)
    return adapted


def _with_tokens(model: Any, manifest: Manifest, tokens: Sequence[int]) -> Any:
    config = TrainableTokensConfig(
        task_type="CAUSAL_LM", target_modules=[_embedding(manifest)], token_indices=list(tokens)
    )
    return get_peft_model(model, config)


def _embedding(manifest: Manifest) -> str:
    found = embedding_of(manifest)
    if found is None:
        raise WorkFailed("this model's embedding is not known", where="trainable_token_indices")
    return found.name


def _named(adapted: Any, matches: Any) -> set[str]:
    return {
        name.removeprefix(PEFT_PREFIX)
        for name, module in adapted.named_modules()
        if name and matches(module)
    }


def _is_adapted(module: Any) -> bool:
    return hasattr(module, "lora_A") and bool(len(module.lora_A) or len(module.lora_embedding_A))


def _in_float32(model: Any) -> None:
    """What trains, and the other vectors beside it: a norm takes no weight and bias of two kinds."""
    for module in model.modules():
        own = list(module.parameters(recurse=False))
        if any(parameter.requires_grad for parameter in own):
            for parameter in own:
                if parameter.requires_grad or (
                    parameter.dim() == 1 and parameter.is_floating_point()
                ):
                    parameter.data = parameter.data.float()


def _add_bias_outside(module: Any) -> None:
    """bitsandbytes casts a bias to its input's dtype in place: one that trains would lose its float32."""
    multiply = module.forward

    def forward(x: torch.Tensor) -> torch.Tensor:
        bias = module.bias
        module.bias = None
        try:
            product = multiply(x)
        finally:
            module.bias = bias
        return product + bias.to(product.dtype)

    module.forward = forward


def _check_modules(mode: str, found: set[str], wanted: set[str]) -> None:
    if found != wanted:
        odd = sorted(found ^ wanted)
        raise WorkFailed(
            f"PEFT made other modules {mode} than were selected, first of {len(odd)}: {odd[0]}"
        )


def _check_count(adapted: Any, expected: int) -> None:
    counted = sum(p.numel() for p in adapted.parameters() if p.requires_grad)
    if counted != expected:
        raise WorkFailed(f"{counted} numbers would train where the selection means {expected}")
