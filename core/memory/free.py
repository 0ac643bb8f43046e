"""What is free where something will work, and who has the rest."""

import os
from dataclasses import dataclass

from finetune_tui.core.hardware import Gpu, Hardware
from finetune_tui.core.text import plain, size

_NAMED = 3  # processes


@dataclass(frozen=True, slots=True)
class Free:
    """bytes: what this process can have, what it holds already included; None: unknown. total: of the place.

    place: "GPU0 NVIDIA A100", "this machine". holders: who has the rest, in words; empty: nobody, or no
    telling who.
    """

    bytes: int | None
    total: int | None
    place: str
    holders: str = ""


def free_on_gpu(gpu: Gpu) -> Free:
    """As NVML sees the GPU."""
    own = gpu.used_by(frozenset({os.getpid()})) or 0
    place = f"GPU{gpu.index} {plain(gpu.name or '', 60)}".rstrip()
    free = None if gpu.free is None else gpu.free + own
    return Free(free, gpu.total, place, _holders(gpu))


def free_in_memory(hardware: Hardware, held: int = 0) -> Free:
    """Of main memory. held: bytes of it that are this work's already."""
    available = hardware.memory_available
    found = None if available is None else available + held
    return Free(found, hardware.memory_total, "this machine")


def _holders(gpu: Gpu) -> str:
    if gpu.processes is None:
        return "who holds the rest is unseen"
    strangers = [process for process in gpu.processes if process.pid != os.getpid()]
    strangers.sort(key=lambda process: process.used or 0, reverse=True)
    named = [
        f"pid {'unknown' if one.pid is None else one.pid} holds "
        f"{'an unseen share' if one.used is None else size(one.used)}"
        for one in strangers[:_NAMED]
    ]
    more = len(strangers) - _NAMED
    return ", ".join(named) + (f", {more} more" if more > 0 else "")
