"""Published points of memory: settings of others, stepped here on the meta device.

Simulated elsewhere (allocated GiB): no autocast and adapters in float32 where the base is 16-bit or trains in
full, pure bfloat16 there; bfloat16 autocast and no preparation for k-bit training where it is quantised.
Measured on a GPU (reserved GiB): PEFT's own comparison, whose script passes a mask and keeps its outputs.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoConfig

from finetune_tui.core.memory.simulation.cuda import CudaHabits
from finetune_tui.core.memory.trace import Trace
from finetune_tui.core.memory.weights import Precision
from finetune_tui.core.models.catalog import catalog
from finetune_tui.core.models.manifest import Manifest
from finetune_tui.core.training.simulated_model import build
from finetune_tui.core.training.simulation import MicroBatch, Steps, trace_steps
from finetune_tui.core.tuning.modes import Mode
from finetune_tui.core.tuning.presets import resolve_preset

Prepare = Callable[[Any, Manifest], Any]


@dataclass(frozen=True, slots=True)
class Point:
    """gib: what is published; of reserved memory where `measured`."""

    title: str
    model: str
    precision: Precision
    prepare: Prepare
    rows: int
    length: int
    optim: str
    checkpointing: bool
    gib: float
    measured: bool = False

    def trace(self) -> Trace:
        manifest = catalog()[self.model].manifest()
        model = self.prepare(build(config_of(self.model), self.precision), manifest)
        steps = Steps(
            batches=((self.rows, self.length),),
            optim=self.optim,
            autocast=torch.bfloat16 if self.precision is Precision.NF4 else None,
        )
        if self.checkpointing:  # as Transformers does it, with the embedding's gradient
            model.activation_checkpointing_enable(
                activation_checkpointing_kwargs={"use_reentrant": False}
            )
        other: MicroBatch | None = _as_peft_measures if self.measured else None
        return trace_steps(model, manifest.blocks_at, manifest.blocks, steps, micro_batch=other)


def config_of(model: str) -> Any:
    """The catalog's Transformers config."""
    facts = json.loads(catalog()[model].file.read_bytes())["config"]
    return AutoConfig.for_model(facts.pop("model_type"), **facts)


def _adapted(model: Any, manifest: Manifest, preset: str, rank: int, dropout: float) -> Any:
    names = resolve_preset(preset, manifest).selection.names(Mode.LORA)
    return get_peft_model(
        model,
        LoraConfig(task_type="CAUSAL_LM", target_modules=list(names), r=rank, lora_dropout=dropout),
    )


def _last_blocks(model: Any, manifest: Manifest, last: int) -> Any:
    """Those blocks train as they are, in the dtype they are held in; 0: all of the model."""
    first = manifest.blocks - last
    for name, parameter in model.named_parameters():
        block = manifest.block_index(name)
        parameter.requires_grad_(not last or (block is not None and block >= first))
    return model


def _as_peft_measures(model: Any, habits: CudaHabits, inputs: dict[str, torch.Tensor]) -> None:
    """method_comparison/MetaMathQA/run.py: a padded batch, its outputs named until the next."""
    rows, length = inputs["input_ids"].shape
    mask = torch.ones(rows, 1, length, length, dtype=torch.bool, device="meta")
    with habits.autocast():
        outputs = model(**inputs, attention_mask=mask, use_cache=False)
    torch.autograd.backward(outputs["loss"])


_PHI, _QWEN = "microsoft/phi-2", "Qwen/Qwen2.5-1.5B"
_LLAMA, _LLAMA_8B = "meta-llama/Llama-3.2-3B", "meta-llama/Llama-3.1-8B"
_BF16, _NF4 = Precision.BF16, Precision.NF4


def _lora(rank: int, dropout: float = 0.0, preset: str = "all-linear") -> Prepare:
    return partial(_adapted, preset=preset, rank=rank, dropout=dropout)


def _full(last: int = 0) -> Prepare:
    return partial(_last_blocks, last=last)


POINTS = (
    Point("Phi-2, LoRA r8", _PHI, _BF16, _lora(8, 0.05), 2, 256, "adamw_torch_fused", True, 5.70),
    Point("Phi-2, nf4 r16", _PHI, _NF4, _lora(16), 2, 1024, "adamw_torch", True, 3.79),
    Point(
        "Qwen2.5-1.5B, last 4 blocks", _QWEN, _BF16, _full(4), 1, 4096, "adamw_torch", True, 10.90
    ),
    Point("Llama-3.2-3B, LoRA r64", _LLAMA, _BF16, _lora(64), 8, 256, "adamw_torch", True, 10.37),
    Point(
        "Llama-3.1-8B, nf4 r64",
        *(_LLAMA_8B, _NF4, _lora(64, 0.05), 8, 384, "paged_adamw_8bit", False, 34.17),
    ),
    Point("Llama-3.2-3B, full", _LLAMA, _BF16, _full(), 1, 2048, "adamw_torch", True, 29.94),
    Point(
        "Llama-3.2-3B, LoRA r32 on q and v, measured",
        *(
            _LLAMA,
            _BF16,
            _lora(32, preset="attention-qv"),
            4,
            644,
            "adamw_torch",
            False,
            20.76,
            True,
        ),
    ),
    Point(
        "Llama-3.2-3B, full, measured",
        *(_LLAMA, _BF16, _full(), 4, 644, "adamw_torch", False, 36.20, True),
    ),
)
