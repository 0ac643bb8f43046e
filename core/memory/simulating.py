"""Asking for a simulation: the question, and the call that answers it in a process that holds torch."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from finetune_tui.core.calls.client import CallProcess
from finetune_tui.core.memory.simulated import Simulation
from finetune_tui.core.tuning.spec import Spec
from finetune_tui.core.tuning.spec_file import write_spec

_LONGEST = 600.0  # seconds: the largest model on a busy machine, and esc cancels


@dataclass(frozen=True, slots=True)
class SimulationQuestion:
    """All that the answer depends on. spec: with its modules or its preset.

    budget: bytes that the largest micro-batch and length are looked for in; None: they are not.
    context: bytes that CUDA itself takes, where they were measured. batches: the micro-batches of a step as
    (rows, tokens); none: full ones of `max_length`.
    """

    spec: Spec
    budget: int | None = None
    context: int | None = None
    batches: tuple[tuple[int, int], ...] = ()

    def params(self) -> dict[str, Any]:
        """What the call is given."""
        return {
            "spec": write_spec(self.spec),
            "budget": self.budget,
            "context": self.context,
            "batches": [list(batch) for batch in self.batches],
        }


def ask_simulation(
    question: SimulationQuestion,
    progress: Callable[[str], None],
    cancelled: threading.Event | None = None,
) -> Simulation:
    """Blocks for seconds.

    progress: gets words with numbers. Raises UserError and WorkFailed as the call does, also when it is
    `cancelled`, takes too long or needs too much memory.
    """
    with CallProcess() as process:
        answer: dict[str, Any] = process.call(
            "simulate",
            question.params(),
            lambda told: progress(str(told["words"])),
            _LONGEST,
            cancelled,
        )
    return Simulation.from_json(answer)
