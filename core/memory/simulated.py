"""What a simulation found, for the app and the command line: no torch here."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from finetune_tui.core.memory.allocator import replay
from finetune_tui.core.memory.cards import runs, smallest_card
from finetune_tui.core.memory.trace import Part, Trace
from finetune_tui.core.memory.weights import Precision

MOST_TOKENS = 2**17
"""At once: how far the largest batch and length are looked for, because each chunk of the loss takes time."""


@dataclass(frozen=True, slots=True)
class Simulation:
    """Bytes. reserved: what the caching allocator would hold; device: with the CUDA context, or in main
    memory with the worker itself.

    precision: of the base. phase, module, operation: when and where the peak lies. parts: what is live
    at it; they sum to `allocated`. phases: the most in each. card: the smallest that would do, None: none
    of those sold. fits: whether it ran through in `budget` bytes; both None when none were named.
    largest: the "rows" and the "tokens", each with all else as it is, that ran through there too,
    up to MOST_TOKENS.
    """

    precision: Precision
    allocated: int
    reserved: int
    device: int
    phase: str
    module: str
    operation: str
    parts: Mapping[str, int]
    phases: Mapping[str, int]
    card: str | None
    budget: int | None
    fits: bool | None
    largest: Mapping[str, int | None] | None

    @property
    def peak_words(self) -> str:
        """When and where: 'backward of the last block, in layers.31.mlp.down_proj (mm)'."""
        operation = self.operation.rpartition("::")[2].strip("_")
        module = self.module.removeprefix("base_model.model.").removesuffix(".base_layer")
        place = f", in {module}" if module and module != "base_model.model" else ""
        return f"{self.phase}{place} ({operation})"

    def to_json(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "Simulation":
        """Raises KeyError or ValueError when `data` is not what `to_json` wrote."""
        values = {name: data[name] for name in cls.__slots__}
        return cls(**values | {"precision": Precision(values["precision"])})

    @classmethod
    def of(
        cls,
        trace: Trace,
        precision: Precision,
        context: int,
        budget: int | None = None,
        largest: Mapping[str, int | None] | None = None,
        on_gpu: bool = True,
    ) -> "Simulation":
        """What the trace says beside a context of so many bytes; in main memory nothing is reserved."""
        peak = trace.peak()
        reserved = replay(trace).reserved if on_gpu else peak.bytes
        fits = None
        if budget is not None:
            fits = runs(trace, budget - context) if on_gpu else reserved + context <= budget
        module, operation = peak.operation
        return cls(
            precision=precision,
            allocated=peak.bytes,
            reserved=reserved,
            device=reserved + context,
            phase=peak.phase.value,
            module=module,
            operation=operation,
            parts={part.value: peak.parts.get(part, 0) for part in Part},
            phases={phase.value: most for phase, most in trace.peaks().items()},
            card=smallest_card(trace, context) if on_gpu else None,
            budget=budget,
            fits=fits,
            largest=largest,
        )
