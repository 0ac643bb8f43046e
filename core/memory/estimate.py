"""The estimate: GPU memory of one training step, from config integers and the selection, at every toggle.

The worker as it runs: adapters in float32 under autocast, the loss in chunks, no attention mask unless rows
are packed, non-reentrant checkpointing, gradients kept over micro-batches. What lives when is sketched
per kind of block and added up over the step; `core.training.simulation` steps the real modules on the meta
device and is what this is held against.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from finetune_tui.core.memory.costs import Cost, block_cost, chunk_size, embedding_cost, loss_cost
from finetune_tui.core.memory.layout import Layout, layout
from finetune_tui.core.memory.weights import (
    Precision,
    beside_bytes,
    optimizer_bytes,
    precision_of,
    replaced_bytes,
    weight_bytes,
)
from finetune_tui.core.models.manifest import Manifest
from finetune_tui.core.tuning.counting import trained_numbers
from finetune_tui.core.tuning.selection import Selection
from finetune_tui.core.tuning.spec import Spec

__all__ = [
    "GIB",
    "MIB",
    "Breakdown",
    "Estimate",
    "Precision",
    "Verdict",
    "estimate",
    "estimate_all",
    "fits",
    "precision_of",
    "verdict",
    "weight_bytes",
]

MIB = 2**20
GIB = 2**30

CUBLAS_WORKSPACE = 2 * 8_519_680  # the forward pass's and autograd's own, torch's default setting
CUDA_CONTEXT = GIB // 2  # measured 0.3 to 0.8 GiB, by driver and card
WORKER_ON_CPU = int(0.55 * GIB)  # resident with its libraries and no model, measured


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
    unsure: what the estimate does not follow, in words; the band is wider then.
    """

    allocated: int
    reserved: int
    device: int
    breakdown: Breakdown
    peak_phase: str
    band: int
    unsure: tuple[str, ...] = ()

    def to_json(self, free: int | None) -> dict[str, Any]:
        return {
            "allocated": self.allocated,
            "reserved": self.reserved,
            "device": self.device,
            "breakdown": self.breakdown.to_json(),
            "fits": fits(self, free),
            "peak_phase": self.peak_phase,
            "band": self.band,
            "unsure": list(self.unsure),
        }


def estimate_all(
    manifest: Manifest, selection: Selection, spec: Spec, context: int | None = None
) -> dict[Precision, Estimate]:
    """The estimate at every precision."""
    return {
        precision: estimate(manifest, selection, spec, precision, context)
        for precision in Precision
    }


def estimate(
    manifest: Manifest,
    selection: Selection,
    spec: Spec,
    precision: Precision,
    context: int | None = None,
) -> Estimate:
    """One training step of this selection, at `spec.max_length` tokens a row and a full batch.

    context: bytes that CUDA itself takes on the card, where they were measured; None: CUDA_CONTEXT.
    """
    weights = weight_bytes(manifest, precision) - replaced_bytes(manifest, selection, precision)
    trained = 4 * trained_numbers(manifest, selection, spec)  # whatever the mode, float32
    adapters = trained + beside_bytes(manifest, selection, spec, precision)
    stays, on_top = optimizer_bytes(manifest, selection, spec)
    plan = layout(manifest, selection, spec, precision)
    moments = [
        *_moments(plan, spec, trained),
        Moment("optimizer", trained + on_top, trained, 0),
    ]
    peak = max(moments, key=lambda moment: moment.bytes)
    workspace = 0 if spec.use_cpu else CUBLAS_WORKSPACE
    moving = peak.bytes + adapters + stays
    allocated = weights + moving + workspace
    slack = 0 if spec.use_cpu else _between_blocks(allocated, moving)
    if spec.use_cpu:
        context = WORKER_ON_CPU
    elif context is None:
        context = CUDA_CONTEXT
    unsure = tuple(_unsure(spec))
    return Estimate(
        allocated=allocated,
        reserved=allocated + slack,
        device=allocated + slack + context,
        breakdown=Breakdown(
            weights=weights,
            adapters=adapters,
            gradients=peak.gradients,
            optimizer=stays,
            activations=peak.bytes - peak.gradients - peak.logits,
            logits=peak.logits,
            workspace=workspace + slack,
            context=context,
        ),
        peak_phase=peak.phase,
        band=64 * MIB + allocated * 3 // 100 + moving // (4 if unsure else 10),
        unsure=unsure,
    )


def _unsure(spec: Spec) -> Iterator[str]:
    if spec.torch_compile:
        yield "torch.compile itself chooses what to keep for the backward pass: counted as without it"
    if spec.use_liger_kernel:
        yield "Liger's kernels keep less for the backward pass: counted as without them"


def fits(estimate: Estimate, free: int | None) -> bool | None:
    """Whether it fits into `free` bytes, the uncertain part counted against it; None: unknown GPU."""
    return None if free is None else estimate.device + estimate.band <= free


class Verdict(StrEnum):
    """Whether something fits, in words. MAY: the limit lies within the estimate's band."""

    FITS = "fits"
    MAY = "may fit"
    NO = "NO"


def verdict(estimate: Estimate, free: int | None) -> Verdict | None:
    """FITS when even `device + band` fits, NO when not even `device - band` does; None: unknown GPU."""
    if free is None:
        return None
    if fits(estimate, free):
        return Verdict.FITS
    return Verdict.MAY if estimate.device - estimate.band <= free else Verdict.NO


@dataclass(frozen=True, slots=True)
class Moment:
    """Bytes beside weights, adapters and optimizer at one moment, and which of them are what."""

    phase: str
    bytes: int
    gradients: int
    logits: int


def _moments(plan: Layout, spec: Spec, trained: int) -> Iterator[Moment]:
    """Every moment of a step that may be its peak."""
    frame, ends = plan.frame, plan.ends
    before = trained if frame.accumulates else 0
    inputs, masks = _inputs(plan, spec)
    base = inputs + before
    embedded = embedding_cost(frame, plan.beginning, ends.shares)
    yield Moment("forward", base + embedded.forward, before, 0)
    kept, casts = base + embedded.kept, embedded.casts
    first = 0  # the embedding's result, which the model names until its last block is through
    e, has_gradient = embedded.out, embedded.backward > 0
    costs: list[Cost] = []
    alike: dict[
        tuple[int, int, int, bool], Cost
    ] = {}  # hashing what says how they are takes longer
    for shape, kind in plan.blocks:
        which = (id(shape), id(kind), e, has_gradient)
        cost = alike.get(which) or block_cost(
            frame, shape, kind, spec.gradient_checkpointing, e, has_gradient
        )
        alike[which] = cost
        yield Moment("forward", first + kept + casts + masks + cost.forward, before, 0)
        first = first if costs else cost.let_go
        kept += cost.kept
        casts += cost.casts
        e, has_gradient = cost.out, has_gradient or kind.trains
        costs.append(cost)
    chunked = spec.chunked_loss or spec.use_liger_kernel  # which takes its loss in pieces, too
    loss = loss_cost(frame, ends, chunked, e, has_gradient)
    tokens = chunk_size(frame.tokens, ends.vocabulary) if chunked else frame.tokens
    number = tokens * ends.vocabulary
    logits = min(10 * number, loss.forward)
    yield Moment("loss", kept + casts + masks + loss.forward, before, logits)
    if not spec.gradient_checkpointing or not any(cost.backward for cost in costs):
        masks = 0  # no block waits to run again with them
    arrived = loss.gradients
    logits = min(12 * number, loss.backward - arrived)
    yield Moment("loss", kept + masks + loss.backward, before + arrived, logits)
    # What is held lies among what is kept until its block's turn, and beyond it.
    stays = 0
    for cost in reversed(costs):
        if not cost.backward:
            break
        kept -= cost.kept
        yield Moment(
            "backward", kept + masks + stays + arrived + cost.backward, before + arrived, 0
        )
        arrived += cost.gradients
        stays += cost.held
    if embedded.backward:
        kept -= embedded.kept
        most = kept + masks + stays + arrived + embedded.backward
        yield Moment("backward", most, before + arrived, 0)


def _inputs(plan: Layout, spec: Spec) -> tuple[int, int]:
    """(tokens, labels and positions, with their cosines; masks over pairs of tokens)."""
    frame = plan.frame
    shape = plan.blocks[0][0] if plan.blocks else None
    tokens = frame.tokens * (8 * (3 if spec.packing else 2))
    if shape is None:
        return tokens, 0
    rows = frame.rows if spec.packing else 1
    pairs = frame.length * frame.length
    turned = round(shape.heads[2] * shape.rotary)
    tokens += plan.kinds * rows * frame.length * turned * 2 * frame.stream
    if shape.family == "gemma2":
        return tokens, 2 * frame.rows * pairs * frame.half
    if spec.packing:
        return tokens, plan.kinds * rows * pairs
    return tokens, pairs if any(shape.masked for shape, _ in plan.blocks) else 0


def _between_blocks(allocated: int, moving: int) -> int:
    """What the caching allocator cannot use of what it holds: holes between blocks that do not fit.

    moving: bytes that come and go, or came one by one, unlike the weights. The shares are the middle of what
    replays of simulated steps hold on a card with little to spare; `band` covers the rest of them.
    """
    return MIB * 64 + allocated * 3 // 100 + moving * 12 // 100
