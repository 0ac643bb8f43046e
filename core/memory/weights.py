"""Bytes that stay for the whole run: the base's weights, what trains, the optimizer's state."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

from finetune_tui.core.models.manifest import Manifest, Module
from finetune_tui.core.tuning.modes import Choice, Mode
from finetune_tui.core.tuning.refusals import DIRECTED
from finetune_tui.core.tuning.selection import (
    LINEAR_CLASSES,
    Selection,
    lora_parameters,
    module_parameters,
)
from finetune_tui.core.tuning.spec import Spec
from finetune_tui.core.tuning.tally import tally

# NF4 with double quantisation (QLoRA, arXiv 2305.14314): 4 bits a weight, one byte of scale per 64
# weights, four bytes per 256 scales; beside that each Linear keeps two code tables and an offset.
NF4_TABLES = 16 * 4 + 256 * 4 + 4

# bitsandbytes: smaller tensors keep their state in float32; smaller ones than this are never paged.
_SMALLEST_IN_8_BITS = 4096
_SMALLEST_PAGED = 100_000
_CODE_TABLE = 256 * 4
_ROUNDING = 512  # of the CUDA allocator


class Precision(StrEnum):
    """How the frozen base is held."""

    FP32 = "fp32"
    BF16 = "bf16"
    INT8 = "8bit"
    NF4 = "4bit"


def precision_of(spec: Spec, on_gpu: bool) -> Precision:
    """The precision the worker will load the base in."""
    if spec.load_in_4bit:
        return Precision.NF4
    if spec.load_in_8bit:
        return Precision.INT8
    if spec.dtype == "auto":
        return Precision.BF16 if on_gpu and not spec.use_cpu else Precision.FP32
    return Precision.FP32 if spec.dtype == "float32" else Precision.BF16


def weight_bytes(manifest: Manifest, precision: Precision) -> int:
    """The frozen weights. bitsandbytes leaves embedding, head, norms and biases at 16 bits."""
    if precision is Precision.FP32:
        return 4 * manifest.parameters
    if precision is Precision.BF16:
        return 2 * manifest.parameters
    facts = _quantised(manifest)
    rest = 2 * (manifest.parameters - facts.numbers)
    if precision is Precision.INT8:
        return facts.numbers + 4 * facts.rows + rest
    scales = facts.numbers // 64
    return facts.numbers // 2 + scales + 4 * (scales // 256) + NF4_TABLES * facts.linears + rest


def replaced_bytes(manifest: Manifest, selection: Selection, precision: Precision) -> int:
    """Frozen bytes that training in place turns into trainable ones.

    `bias`, and `full` without LoRA, make the model's own parameters trainable; `full` beside LoRA keeps
    the frozen copy, because PEFT can switch its adapters off.
    """
    modes = [Mode.BIAS] if selection.names(Mode.LORA) else [Mode.BIAS, Mode.FULL]
    numbers = sum(
        times * module_parameters(manifest, module, choice, lora_r=0)
        for module, choice, times in tally(manifest, selection.choices)
        if choice.mode in modes
    )
    return (4 if precision is Precision.FP32 else 2) * numbers


def beside_bytes(manifest: Manifest, selection: Selection, spec: Spec, precision: Precision) -> int:
    """What adapters keep frozen: where PiSSA and OLoRA began, in float32; single tokens as they were."""
    tokens = len(spec.trainable_token_indices) * manifest.config.hidden_size
    kept = tokens * (4 if precision is Precision.FP32 else 2)
    if spec.init_lora_weights not in DIRECTED:
        return kept
    return kept + 4 * sum(
        times * lora_parameters(module, choice.r or spec.lora_r)
        for module, choice, times in tally(manifest, selection.choices)
        if choice.mode is Mode.LORA and module.cls in LINEAR_CLASSES
    )


def optimizer_bytes(manifest: Manifest, selection: Selection, spec: Spec) -> tuple[int, int]:
    """(what stays, what a step takes on top for its time), of all that trains."""
    stays = largest = whole = 0
    for numbers, rows, times in _trained_tensors(manifest, selection, spec):
        stays += times * _state(spec, numbers, rows)
        whole += times * 4 * numbers
        largest = max(largest, 4 * numbers)
    if spec.optim.endswith("_8bit"):
        stays += _CODE_TABLE * (1 if "lion" in spec.optim else 2)
    if spec.optim == "adamw_torch" and not spec.use_cpu:
        return stays, whole  # foreach: the roots of all second moments at once
    return stays, 2 * largest if spec.optim == "adafactor" else 0


def _state(spec: Spec, numbers: int, rows: int) -> int:
    match spec.optim:
        case "sgd":
            return 0
        case "adafactor":  # second moments by row and by column, of a vector by number
            return 4 * (rows + numbers // rows) if rows else 4 * numbers
        case "adamw_torch":
            return 8 * numbers
        case "adamw_torch_fused":
            return 8 * numbers + _ROUNDING
    moments = 1 if "lion" in spec.optim else 2
    in_8_bits = spec.optim.endswith("_8bit") and numbers >= _SMALLEST_IN_8_BITS
    paged = "paged" in spec.optim and numbers >= _SMALLEST_PAGED and not spec.use_cpu
    held = 0 if paged else numbers * (1 if in_8_bits else 4)
    return moments * (held + (4 * -(-numbers // 256) if in_8_bits else 0))


def _trained_tensors(
    manifest: Manifest, selection: Selection, spec: Spec
) -> Iterator[tuple[int, int, int]]:
    """(numbers, rows, how many): rows 0 for a vector."""
    for module, choice, times in tally(manifest, selection.choices):
        for numbers, rows in _tensors(manifest, module, choice, spec):
            yield numbers, rows, times
    if spec.trainable_token_indices:
        tokens, hidden = len(spec.trainable_token_indices), manifest.config.hidden_size
        yield tokens * hidden, tokens, 1


def _tensors(
    manifest: Manifest, module: Module, choice: Choice, spec: Spec
) -> Iterator[tuple[int, int]]:
    match choice.mode:
        case Mode.LORA if module.features:
            rank = choice.r or spec.lora_r
            inputs, outputs = module.features
            yield rank * inputs, rank
            yield rank * outputs, outputs
            if spec.use_dora:
                yield outputs, 0
        case Mode.FULL if module_parameters(manifest, module, choice, spec.lora_r):
            for _, shape in module.own:
                yield math.prod(shape), shape[0] if len(shape) > 1 else 0
        case Mode.BIAS:
            yield from ((math.prod(shape), 0) for name, shape in module.own if name == "bias")


@dataclass(frozen=True, slots=True)
class _Quantised:
    """Of a model, whatever is selected: how many layers, with so many numbers and rows in all."""

    linears: int
    numbers: int
    rows: int


@lru_cache(maxsize=8)
def _quantised(manifest: Manifest) -> _Quantised:
    layers = [m.features for m in manifest.modules if m.is_quantisable and m.features]
    return _Quantised(
        linears=len(layers),
        numbers=sum(inputs * outputs for inputs, outputs in layers),
        rows=sum(outputs for _, outputs in layers),
    )
