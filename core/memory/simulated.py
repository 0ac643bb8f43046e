"""What a simulation found, for the app and the command line: no torch here."""

from dataclasses import dataclass
from typing import Any

from finetune_tui.core.memory.allocator import replay
from finetune_tui.core.memory.cards import smallest_card
from finetune_tui.core.memory.trace import Part, Trace


@dataclass(frozen=True, slots=True)
class Simulation:
    """Bytes. reserved: what the caching allocator would hold; device: with the CUDA context.

    phase, module, operation: when and where the peak lies. parts: what is live at it; they sum to
    `allocated`. phases: the most in each. card: the smallest that would do, None: none of those sold.
    """

    allocated: int
    reserved: int
    device: int
    phase: str
    module: str
    operation: str
    parts: dict[str, int]
    phases: dict[str, int]
    card: str | None

    def to_json(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "Simulation":
        """Raises KeyError when `data` is not what `to_json` wrote."""
        return cls(**{name: data[name] for name in cls.__slots__})

    @classmethod
    def of(cls, trace: Trace, context: int) -> "Simulation":
        """What the trace says beside a CUDA context of so many bytes."""
        peak = trace.peak()
        reserved = replay(trace).reserved
        module, operation = peak.operation
        return cls(
            allocated=peak.bytes,
            reserved=reserved,
            device=reserved + context,
            phase=peak.phase.value,
            module=module,
            operation=operation,
            parts={part.value: peak.parts.get(part, 0) for part in Part},
            phases={phase.value: most for phase, most in trace.peaks().items()},
            card=smallest_card(trace, context),
        )
