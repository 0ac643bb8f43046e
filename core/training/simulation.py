"""The simulation: the worker's own code steps on the meta device, and every allocation is counted.

It lies in the worker's room because it is the worker, on a device that holds nothing: the model is built,
quantised, given its adapters and its loss by the same functions. What counts, and what stands in for a
GPU, is in `core.memory`.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from accelerate.utils.operations import convert_to_fp32
from torch.utils import checkpoint as checkpoint_module
from transformers import masking_utils

from finetune_tui.core.memory.simulation.cuda import (
    CUBLAS_WORKSPACE,
    CudaHabits,
    kernel_workspaces,
)
from finetune_tui.core.memory.simulation.ledger import Ledger
from finetune_tui.core.memory.simulation.optimizer import EmulatedOptimizer, emulate_clipping
from finetune_tui.core.memory.trace import Part, Phase, Trace

MicroBatch = Callable[[Any, CudaHabits, dict[str, torch.Tensor]], None]


@dataclass(frozen=True, slots=True)
class Steps:
    """What is stepped: the micro-batches of one optimizer step as (rows, tokens), so many times.

    autocast: the dtype it casts to, None without it. packed: each row holds several documents.
    """

    batches: Sequence[tuple[int, int]]
    optim: str
    autocast: torch.dtype | None
    clips: bool = True
    packed: bool = False
    steps: int = 2


def trace_steps(
    model: Any,
    blocks_at: str,
    blocks: int,
    steps: Steps,
    beat: Callable[[str], None] | None = None,
    micro_batch: "MicroBatch | None" = None,
) -> Trace:
    """The trace of a model on the meta device being trained, its weights included.

    blocks_at: where the model's `blocks` blocks lie, by the manifest's name. beat: called now and then
    with words; what it raises ends the simulation. micro_batch: another forward and backward than Trainer's.
    """
    model.train()
    habits = CudaHabits(steps.autocast)
    ledger = Ledger(
        vocabulary=model.config.get_text_config().vocab_size,
        blocks_at=blocks_at,
        blocks=blocks,
        workspaces=kernel_workspaces,
        beat=beat,
    )
    ledger.note_model(model)
    for _ in range(2):  # the forward pass's and autograd's own
        ledger.hold(CUBLAS_WORKSPACE, Part.WORKSPACE, "cuBLAS")
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = EmulatedOptimizer(steps.optim, trained, ledger)
    with (
        _packing_known(steps.packed),
        _recomputing(habits, ledger),
        habits,
        _rotary_without_autocast(model, habits),
        ledger.watching(model),
        ledger,
    ):
        for step in range(steps.steps):
            ledger.doing = f"step {step + 1} of {steps.steps}"
            for rows, length in steps.batches:
                ledger.phase = Phase.FORWARD
                inputs = _inputs(rows, length, steps.packed)
                (micro_batch or _micro_batch)(model, habits, inputs)
                del inputs
                ledger.note([one.grad for one in trained if one.grad is not None], Part.GRADIENTS)
            ledger.phase = Phase.OPTIMIZER
            if steps.clips:
                emulate_clipping(trained)
            optimizer.step()
            for parameter in trained:
                parameter.grad = None
    return ledger.trace


def _inputs(rows: int, length: int, packed: bool) -> dict[str, torch.Tensor]:
    ids = torch.zeros(rows, length, dtype=torch.int64, device="meta")
    inputs = {"input_ids": ids, "labels": torch.zeros_like(ids)}
    if packed:
        inputs["position_ids"] = torch.zeros_like(ids)
    return inputs


def _micro_batch(model: Any, habits: CudaHabits, inputs: dict[str, torch.Tensor]) -> None:
    """Forward and backward as Trainer and Accelerate do them: outputs to float32, then dropped."""
    with habits.autocast():
        outputs = model(**inputs)
    if habits.casts:
        outputs = convert_to_fp32(outputs)
    loss = outputs["loss"]
    del outputs
    torch.autograd.backward(loss)  # not a torch function: modes go on inside it


@contextmanager
def _recomputing(habits: CudaHabits, ledger: Ledger) -> Iterator[None]:
    """Recomputation runs under autocast too, as on a GPU; autograd does not bring the modes along."""

    @contextmanager
    def again() -> Iterator[None]:
        ledger.recomputing += 1
        try:
            with habits, habits.autocast():
                yield
        finally:
            ledger.recomputing -= 1

    module: Any = checkpoint_module
    whole = module._checkpoint_without_reentrant_generator

    def with_habits(function: Any, preserve: bool, _: Any, *rest: Any, **named: Any) -> Any:
        return whole(function, preserve, lambda: (nullcontext(), again()), *rest, **named)

    module._checkpoint_without_reentrant_generator = with_habits
    try:
        yield
    finally:
        module._checkpoint_without_reentrant_generator = whole


@contextmanager
def _rotary_without_autocast(model: Any, habits: CudaHabits) -> Iterator[None]:
    """On a GPU the models leave autocast there; on meta they do not know it."""
    handles = []
    for module in model.modules():
        if "Rotary" in type(module).__name__:
            handles.append(module.register_forward_pre_hook(lambda *_: habits.pause()))
            handles.append(
                module.register_forward_hook(lambda *_: habits.go_on(), always_call=True)
            )
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def _packing_known(packed: bool) -> Iterator[None]:
    """Whether rows hold several documents is read off the positions: there is nothing to read here."""
    find = masking_utils.find_packed_sequence_indices

    def found(position_ids: torch.Tensor) -> torch.Tensor | None:
        return torch.zeros_like(position_ids) if packed else None

    masking_utils.find_packed_sequence_indices = found
    try:
        yield
    finally:
        masking_utils.find_packed_sequence_indices = find
