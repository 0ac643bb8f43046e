"""The estimate: GPU memory of one training step in closed form, from config integers and the selection.

A first model of the worker as it runs today: LoRA in fp32 under autocast, the stock loss, AdamW. The
figures behind it were derived by stepping real modules on the meta device and counting live storages;
what it leaves out it says with `band`.
"""

from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Any

from finetune_tui.core.models.manifest import Manifest
from finetune_tui.core.models.roles import Role
from finetune_tui.core.tuning.modes import Mode
from finetune_tui.core.tuning.selection import (
    Selection,
    module_parameters,
    trainable_parameters,
)
from finetune_tui.core.tuning.spec import Spec
from finetune_tui.core.tuning.tally import blocks_of, tally

MIB = 2**20
GIB = 2**30

CUBLAS_WORKSPACE = 16 * MIB
CUDA_CONTEXT = GIB // 2  # measured 0.3 to 0.8 GiB, by driver and card
ALLOCATOR_SLACK = int(0.52 * GIB)
WORKER_ON_CPU = int(0.55 * GIB)  # resident with its libraries and no model, measured

# NF4 with double quantisation (QLoRA, arXiv 2305.14314): 4 bits a weight, one byte of scale per 64
# weights, four bytes per 256 scales; beside that each Linear keeps two code tables and an offset.
NF4_TABLES = 16 * 4 + 256 * 4 + 4


class Precision(StrEnum):
    """How the frozen base is held."""

    FP32 = "fp32"
    BF16 = "bf16"
    INT8 = "8bit"
    NF4 = "4bit"


@dataclass(frozen=True, slots=True)
class Breakdown:
    """Bytes on the device at the peak, by what they are for; the parts sum to `Estimate.device`."""

    weights: int
    adapters: int
    gradients: int
    optimizer: int
    activations: int
    logits: int
    workspace: int
    context: int

    def to_json(self) -> dict[str, int]:
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(frozen=True, slots=True)
class Estimate:
    """Bytes. allocated: live tensors at the peak; reserved: what the allocator holds; device: with context.

    With `use_cpu` all of it is main memory, and context is the worker itself with its libraries.

    band: how far off `device` may be, either way. peak_phase: where in the step the peak lies.
    """

    allocated: int
    reserved: int
    device: int
    breakdown: Breakdown
    peak_phase: str
    band: int

    def to_json(self, free: int | None) -> dict[str, Any]:
        return {
            "allocated": self.allocated,
            "reserved": self.reserved,
            "device": self.device,
            "breakdown": self.breakdown.to_json(),
            "fits": fits(self, free),
            "peak_phase": self.peak_phase,
        }


def estimate_all(manifest: Manifest, selection: Selection, spec: Spec) -> dict[Precision, Estimate]:
    """The estimate at every precision."""
    return {precision: estimate(manifest, selection, spec, precision) for precision in Precision}


def estimate(
    manifest: Manifest, selection: Selection, spec: Spec, precision: Precision
) -> Estimate:
    """One training step of this selection, at `spec.max_length` tokens a row and a full batch."""
    trainable = trainable_parameters(manifest, selection, spec.lora_r)
    weights = weight_bytes(manifest, precision) - _replaced_bytes(manifest, selection, precision)
    adapters = 4 * trainable  # whatever the mode, what trains is float32
    gradients = 4 * trainable
    optimizer = _optimizer_bytes(spec, trainable)
    tokens = spec.per_device_train_batch_size * spec.max_length
    unit = 4 if precision is Precision.FP32 else 2
    saved = _saved_per_token(manifest, selection, spec, unit)
    activations = tokens * saved
    logits_at_loss = 12 * tokens * manifest.config.vocabulary
    block = tokens * _block_backward_per_token(manifest, unit)

    # Gradients exist from the backward pass on; the logits are gone by then.
    at_loss = activations + logits_at_loss
    at_backward = activations + gradients + block
    phase = "loss" if at_loss >= at_backward else "backward"
    if phase == "loss":
        shown_gradients, logits = 0, logits_at_loss
    else:
        shown_gradients, logits = gradients, 0
        activations += block
    if spec.use_cpu:
        workspace, slack, context = 0, 0, WORKER_ON_CPU
    else:
        workspace, context = CUBLAS_WORKSPACE, CUDA_CONTEXT
        slack = ALLOCATOR_SLACK + 3 * tokens * manifest.config.vocabulary
    allocated = weights + adapters + optimizer + shown_gradients + activations + logits + workspace
    return Estimate(
        allocated=allocated,
        reserved=allocated + slack,
        device=allocated + slack + context,
        breakdown=Breakdown(
            weights,
            adapters,
            shown_gradients,
            optimizer,
            activations,
            logits,
            workspace + slack,
            context,
        ),
        peak_phase=phase,
        band=GIB // 4 + (activations + logits) // 10,
    )


def _replaced_bytes(manifest: Manifest, selection: Selection, precision: Precision) -> int:
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


def weight_bytes(manifest: Manifest, precision: Precision) -> int:
    """The frozen weights. bitsandbytes leaves embedding, head, norms and biases at 16 bits."""
    if precision is Precision.FP32:
        return 4 * manifest.parameters
    if precision is Precision.BF16:
        return 2 * manifest.parameters
    facts = _facts(manifest)
    rest = 2 * (manifest.parameters - facts.numbers)
    if precision is Precision.INT8:
        return facts.numbers + 4 * facts.rows + rest
    scales = facts.numbers // 64
    return facts.numbers // 2 + scales + 4 * (scales // 256) + NF4_TABLES * facts.linears + rest


def fits(estimate: Estimate, free: int | None) -> bool | None:
    """Whether it fits into `free` bytes, the uncertain part counted against it; None: unknown GPU."""
    return None if free is None else estimate.device + estimate.band <= free


def precision_of(spec: Spec, on_gpu: bool) -> Precision:
    """The precision the worker will load the base in."""
    if spec.load_in_4bit:
        return Precision.NF4
    if spec.load_in_8bit:
        return Precision.INT8
    if spec.dtype == "auto":
        return Precision.BF16 if on_gpu and not spec.use_cpu else Precision.FP32
    return Precision.FP32 if spec.dtype == "float32" else Precision.BF16


@dataclass(frozen=True, slots=True)
class _Facts:
    """Of a model, whatever is selected. linears: how many are quantised, with so many numbers and rows."""

    linears: int
    numbers: int
    rows: int
    gated: bool


@lru_cache(maxsize=8)
def _facts(manifest: Manifest) -> _Facts:
    quantised = [m.features for m in manifest.modules if m.is_quantisable and m.features]
    return _Facts(
        linears=len(quantised),
        numbers=sum(inputs * outputs for inputs, outputs in quantised),
        rows=sum(outputs for _, outputs in quantised),
        gated=any(m.role in (Role.MLP_GATE, Role.GATE_IN) for m in manifest.modules),
    )


def _optimizer_bytes(spec: Spec, trainable: int) -> int:
    """AdamW keeps two moments in fp32; in 8 bits a byte each and two scales per 256; paged: on the host."""
    if spec.optim == "adamw_8bit":
        return 2 * trainable + 8 * (trainable // 256)
    if spec.optim == "paged_adamw_8bit":
        return 0
    return 8 * trainable


def _saved_per_token(manifest: Manifest, selection: Selection, spec: Spec, unit: int) -> int:
    """Bytes a token leaves behind for the backward pass, over all blocks."""
    config = manifest.config
    if spec.gradient_checkpointing:
        return config.blocks * unit * config.hidden_size
    attention = 2 * config.heads * config.head_dim + 2 * config.kv_heads * config.head_dim
    norm = 2 * (4 * config.hidden_size + 4)
    saved = norm + unit * attention + 4 * config.heads + _mlp_saved(manifest, unit)
    dropped = 1 if spec.lora_dropout else 0
    inputs_kept = 0
    for module, choice, times in tally(manifest, selection.choices):
        inputs = module.features[0] if module.features else 0
        if choice.mode is Mode.LORA:
            rank = choice.r or spec.lora_r
            inputs_kept += times * (unit * (inputs + rank) + dropped * inputs)
        elif choice.mode is Mode.FULL:  # a matrix that trains keeps its own input for its gradient
            inputs_kept += times * unit * inputs
    return (config.blocks - _lowest_block(manifest, selection)) * saved + inputs_kept


def _lowest_block(manifest: Manifest, selection: Selection) -> int:
    """Blocks below the lowest that trains save nothing; a trained embedding lies below them all."""
    if any(one.module.role is Role.EMBEDDING for one in tally(manifest, selection.choices)):
        return 0
    inside = blocks_of(manifest, selection.choices) - {None}
    return min((block for block in inside if block is not None), default=manifest.config.blocks)


def _mlp_saved(manifest: Manifest, unit: int) -> int:
    """A gated MLP keeps gate, activation and product; Phi's GELU, written out in Python, five steps."""
    steps = 3 if _facts(manifest).gated else 5
    return steps * unit * manifest.config.intermediate_size


def _block_backward_per_token(manifest: Manifest, unit: int) -> int:
    """What the backward pass of one block needs on top of what was saved."""
    config = manifest.config
    return 4 * unit * config.intermediate_size + 4 * config.hidden_size + _mlp_saved(manifest, unit)
