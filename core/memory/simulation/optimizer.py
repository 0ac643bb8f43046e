"""What an optimizer step allocates, on tensors that hold nothing.

Starred: imports torch. The fused and foreach kernels refuse the meta device, so their allocations are
made one by one: torch/optim/adamw.py, bitsandbytes/optim/optimizer.py, transformers' Adafactor.
"""

from collections.abc import Iterable
from typing import Any

import torch

from finetune_tui.core.memory.simulation.ledger import Ledger
from finetune_tui.core.memory.trace import Part

# bitsandbytes: smaller tensors keep their state in fp32, smaller ones than this are never paged.
_SMALLEST_IN_8_BITS = 4096
_SMALLEST_PAGED = 100_000
_CODE_TABLE = 256 * 4

Parameter = torch.nn.Parameter


class EmulatedOptimizer:
    """`name` as TrainingArguments calls it. State is made in the first step, as the real ones do."""

    def __init__(self, name: str, parameters: Iterable[Any], ledger: Ledger) -> None:
        self._name = name
        self._parameters = list(parameters)
        self._ledger = ledger
        self._state: list[torch.Tensor] = []

    @torch.no_grad()
    def step(self) -> None:
        if not self._state:
            for parameter in self._parameters:
                self._state += self._new_state(parameter)
            self._ledger.note(self._state, Part.OPTIMIZER)
            if "8bit" in self._name:
                for _ in range(1 if "lion" in self._name else 2):
                    self._ledger.hold(_CODE_TABLE, Part.OPTIMIZER, "code table")
        if self._name == "adamw_torch":
            # foreach: the square roots of all second moments at once
            _ = [torch.empty_like(parameter) for parameter in self._parameters]
        elif self._name == "adafactor":
            for parameter in self._parameters:
                _adafactor(parameter)

    def _new_state(self, parameter: Any) -> list[torch.Tensor]:
        match self._name:
            case "adamw_torch_fused":
                moments = [torch.empty_like(parameter) for _ in range(2)]
                return [*moments, torch.empty((), device=parameter.device)]
            case "adamw_torch":
                return [torch.empty_like(parameter) for _ in range(2)]
            case "adafactor":
                return _adafactor_state(parameter)
            case "sgd":
                return []
            case _:
                return self._bitsandbytes_state(parameter)

    def _bitsandbytes_state(self, parameter: Any) -> list[torch.Tensor]:
        states = 1 if "lion" in self._name else 2
        numbers = parameter.numel()
        in_8_bits = "8bit" in self._name and numbers >= _SMALLEST_IN_8_BITS
        is_paged = "paged" in self._name and numbers >= _SMALLEST_PAGED
        dtype = torch.uint8 if in_8_bits else torch.float32
        made = []
        for _ in range(states):
            if not is_paged:
                made.append(torch.empty_like(parameter, dtype=dtype))
            if in_8_bits:
                made.append(torch.empty(-(-numbers // 256), device=parameter.device))
        return made


def _adafactor_state(parameter: Any) -> list[torch.Tensor]:
    """Second moments by row and by column; of a vector by number."""
    shape = parameter.shape
    if len(shape) < 2:
        return [torch.empty_like(parameter)]
    device = parameter.device
    return [
        torch.empty(shape[:-1], device=device),
        torch.empty(*shape[:-2], shape[-1], device=device),
    ]


def _adafactor(parameter: Any) -> None:
    """The update, its square, and their quotient: one parameter after the other."""
    update = torch.empty_like(parameter)
    other = torch.empty_like(parameter)
    del update, other


def emulate_clipping(parameters: Iterable[Any]) -> None:
    """clip_grad_norm_: a norm for each gradient, one of them all; the gradients are scaled in place."""
    norms = [torch.empty((), device=parameter.device) for parameter in parameters]
    if norms:
        torch.stack(norms)
