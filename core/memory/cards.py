"""The sizes GPUs come in, and the smallest that would do."""

import re

from finetune_tui.core.errors import UserError
from finetune_tui.core.memory.allocator import DoesNotFit, replay
from finetune_tui.core.memory.estimate import GIB, Estimate, fits
from finetune_tui.core.memory.trace import Trace
from finetune_tui.core.text import plain

_USABLE = {8: 8, 12: 12, 16: 16, 24: 24, 40: 40, 48: 48, 80: 80, 141: 140}  # sold as → GiB

CARDS: dict[str, int] = {
    f"{size} GB": usable * GIB * 98 // 100  # the driver keeps some two percent
    for size, usable in _USABLE.items()
}
"""What is sold under that name → bytes a process can have, its context included."""

_NAME = re.compile(r"\s*(\d{1,6})\s*(?:g|gb|gib)?\s*", re.IGNORECASE)


def card_named(text: str) -> str:
    """The name in CARDS of what a person typed: '24', '24gb' or '24 GB'. Raises UserError."""
    found = _NAME.fullmatch(text)
    if found is None:
        raise UserError(f"'{plain(text, 40)}' is not the size of a card", hint=f"one of {_sizes()}")
    asked = int(found[1])
    name = f"{asked} GB"
    if name not in CARDS:
        near = min(_USABLE, key=lambda size: abs(size - asked))
        raise UserError(f"no card has {name}", hint=f"the nearest has {near} GB; one of {_sizes()}")
    return name


def smallest_card_for(estimate: Estimate) -> str | None:
    """The name of the smallest card that this surely fits on; None: on none of those sold."""
    return next((name for name, usable in CARDS.items() if fits(estimate, usable)), None)


def smallest_card(trace: Trace, context: int) -> str | None:
    """The name of the smallest card on which the trace runs through beside a context; None: none does."""
    return next((name for name, usable in CARDS.items() if runs(trace, usable - context)), None)


def runs(trace: Trace, limit: int) -> bool:
    """Whether the trace runs through where the allocator can have so many bytes."""
    try:
        replay(trace, limit)
    except DoesNotFit:
        return False
    return True


def _sizes() -> str:
    return ", ".join(map(str, _USABLE)) + " GB"
