"""What a training leaves behind by its spec: every tensor by name and shape, every rank and alpha."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from finetune_tui.core.models.manifest import Manifest
from finetune_tui.core.tuning.counting import embedding_of
from finetune_tui.core.tuning.modes import Mode
from finetune_tui.core.tuning.refusals import DIRECTED
from finetune_tui.core.tuning.selection import Selection
from finetune_tui.core.tuning.spec import Spec

PEFT_PREFIX = "base_model.model."
"""Before every name in an adapter."""

Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Scale:
    """Of one adapted module, as its adapter is saved."""

    r: int
    lora_alpha: float


@dataclass(frozen=True, slots=True)
class Expected:
    """What a run of this spec leaves behind: tensors by name, and the rank and alpha of every adapted module.

    twins: tensors that may be saved beside: the other name of a tied matrix.
    """

    adapter: Mapping[str, Shape]
    twins: Mapping[str, Shape]
    own: Mapping[str, Shape]
    scales: Mapping[str, Scale]
    full: frozenset[str]


def expected_of(spec: Spec, manifest: Manifest, selection: Selection) -> Expected:
    """By the rules of `results`: PiSSA and OLoRA are saved as plain LoRA of twice the rank."""
    adapter: dict[str, Shape] = {}
    scales: dict[str, Scale] = {}
    for name in selection.names(Mode.LORA):
        module, choice = manifest.module(name), selection.choices[name]
        inputs, outputs = module.features or (0, 0)
        is_table = module.cls.endswith("Embedding")
        scale = Scale(choice.r or spec.lora_r, _alpha(choice.lora_alpha, spec))
        if spec.init_lora_weights in DIRECTED and not is_table:
            grown = math.sqrt(2) if spec.use_rslora else 2
            scale = Scale(2 * scale.r, grown * scale.lora_alpha)
        scales[name] = scale
        kind, end = ("lora_embedding_", "") if is_table else ("lora_", ".weight")
        adapter[f"{PEFT_PREFIX}{name}.{kind}A{end}"] = (scale.r, inputs)
        adapter[f"{PEFT_PREFIX}{name}.{kind}B{end}"] = (outputs, scale.r)
        if spec.use_dora:
            adapter[f"{PEFT_PREFIX}{name}.lora_magnitude_vector"] = (outputs,)
    full = selection.names(Mode.FULL)
    own = {
        f"{name}.bias": dict(manifest.module(name).own)["bias"]
        for name in selection.names(Mode.BIAS)
    }
    parameters = {
        f"{name}.{parameter}": shape
        for name in full
        for parameter, shape in manifest.module(name).own
    }
    if scales:
        adapter |= {PEFT_PREFIX + name: shape for name, shape in parameters.items()}
    else:
        own |= parameters
    twins = {
        PEFT_PREFIX + other: parameters[name]
        for name in parameters
        for other in _tied_to(name, manifest)
        if other not in parameters
    }
    embedding = embedding_of(manifest) if spec.trainable_token_indices else None
    if embedding is not None:
        shape = (len(spec.trainable_token_indices), manifest.config.hidden_size)
        # Beside LoRA, PEFT wraps the embedding; alone, it replaces it and saves a tied head too.
        wrapped = ".token_adapter" if scales else ""
        adapter[f"{PEFT_PREFIX}{embedding.name}{wrapped}.trainable_tokens_delta"] = shape
        for other in _tied_to(f"{embedding.name}.weight", manifest):
            tied = other.removesuffix(".weight")
            twins[f"{PEFT_PREFIX}{tied}{wrapped}.trainable_tokens_delta"] = shape
    return Expected(adapter, twins, own, scales, frozenset(full))


def _tied_to(name: str, manifest: Manifest) -> tuple[str, ...]:
    """The other names of a parameter."""
    groups = (group for group in manifest.tied if name in group)
    return tuple(other for group in groups for other in group if other != name)


def _alpha(own: float | None, spec: Spec) -> float:
    return spec.lora_alpha if own is None else own
