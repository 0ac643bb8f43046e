"""The sizes GPUs come in, and the smallest that would do."""

from finetune_tui.core.memory.allocator import DoesNotFit, replay
from finetune_tui.core.memory.trace import Trace

GIB = 2**30

CARDS: dict[str, int] = {
    f"{size} GB": usable * GIB * 98 // 100  # the driver keeps some two percent
    for size, usable in {8: 8, 12: 12, 16: 16, 24: 24, 40: 40, 48: 48, 80: 80, 141: 140}.items()
}
"""What is sold under that name → bytes a process can have, its context included."""


def smallest_card(trace: Trace, context: int) -> str | None:
    """The name of the smallest card on which the trace runs through beside a context; None: none does."""
    for name, usable in CARDS.items():
        try:
            replay(trace, usable - context)
        except DoesNotFit:
            continue
        return name
    return None
