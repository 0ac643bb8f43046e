"""The trace of a step: every allocation and release in order, and what is read off it."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum

ROUNDING = 512
"""Bytes to which the CUDA allocator rounds every allocation up (CUDACachingAllocator.cpp, kMinBlockSize)."""


class Part(StrEnum):
    """What an allocation is for: the keys of an estimate's breakdown."""

    WEIGHTS = "weights"
    ADAPTERS = "adapters"
    GRADIENTS = "gradients"
    OPTIMIZER = "optimizer"
    ACTIVATIONS = "activations"
    LOGITS = "logits"
    WORKSPACE = "workspace"


class Phase(StrEnum):
    """Where in the step. LOSS lasts from the last block's end to that of the forward pass, LOSS_BACKWARD from
    there to the last block again.

    LAST_BLOCK and FIRST_BLOCK are the backward passes of those blocks, BACKWARD of those between.
    """

    LOADING = "loading"
    FORWARD = "forward"
    LOSS = "loss"
    LOSS_BACKWARD = "backward of the loss"
    LAST_BLOCK = "backward of the last block"
    BACKWARD = "backward"
    FIRST_BLOCK = "backward of the first block"
    OPTIMIZER = "optimizer"


@dataclass(slots=True)
class Trace:
    """Allocations by number, in order of their making; events: n is the making of n, ~n its release.

    sizes in bytes. operations: (module, aten operation) that made it. phases: of each event.
    """

    sizes: list[int] = field(default_factory=list)
    parts: list[Part] = field(default_factory=list)
    operations: list[tuple[str, str]] = field(default_factory=list)
    events: list[int] = field(default_factory=list)
    phases: list[Phase] = field(default_factory=list)

    def add(self, size: int, part: Part, operation: tuple[str, str], phase: Phase) -> int:
        """The number of the new allocation."""
        number = len(self.sizes)
        self.sizes.append(size)
        self.parts.append(part)
        self.operations.append(operation)
        self.events.append(number)
        self.phases.append(phase)
        return number

    def release(self, number: int, phase: Phase) -> None:
        self.events.append(~number)
        self.phases.append(phase)

    def walk(self, rounding: int = ROUNDING) -> Iterator[int]:
        """Bytes live after each event."""
        live = 0
        sizes = [rounded(size, rounding) for size in self.sizes]
        for event in self.events:
            live += sizes[event] if event >= 0 else -sizes[~event]
            yield live

    def peak(self, rounding: int = ROUNDING) -> "Peak":
        """The first moment at which the most bytes are live."""
        most, at = 0, -1
        for index, live in enumerate(self.walk(rounding)):
            if live > most:
                most, at = live, index
        if at < 0:
            return Peak(0, Phase.LOADING, ("", ""), {})
        parts: dict[Part, int] = dict.fromkeys(Part, 0)
        for number in self._live_at(at):
            parts[self.parts[number]] += rounded(self.sizes[number], rounding)
        return Peak(most, self.phases[at], self.operations[self.events[at]], parts)

    def peaks(self, rounding: int = ROUNDING) -> dict[Phase, int]:
        """The most bytes live in each phase, of those in which something is allocated."""
        most: dict[Phase, int] = {}
        for event, phase, live in zip(self.events, self.phases, self.walk(rounding), strict=True):
            if event >= 0 and live > most.get(phase, -1):
                most[phase] = live
        return most

    def _live_at(self, index: int) -> set[int]:
        live: set[int] = set()
        for event in self.events[: index + 1]:
            if event >= 0:
                live.add(event)
            else:
                live.discard(~event)
        return live


@dataclass(frozen=True, slots=True)
class Peak:
    """bytes live, when, the operation (module, aten name) that allocated last, and what the bytes are for."""

    bytes: int
    phase: Phase
    operation: tuple[str, str]
    parts: dict[Part, int]


def rounded(size: int, to: int = ROUNDING) -> int:
    """The size rounded up to a multiple; an empty tensor holds nothing."""
    return -(-size // to) * to
