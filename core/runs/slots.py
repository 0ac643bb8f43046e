"""Which waiting work starts where: one run on each GPU, or one on the processor."""

import os
from collections.abc import Sequence

from finetune_tui.core.hardware import read_hardware
from finetune_tui.core.tuning.task_spec import AnySpec

CPU = "cpu"


def visible_gpus() -> tuple[str, ...]:
    """UUIDs of the GPUs and slices that runs started from here may use; takes milliseconds."""
    uuids = [gpu.uuid for gpu in read_hardware().gpus if gpu.uuid]
    return masked(uuids, os.environ.get("CUDA_VISIBLE_DEVICES"))


def masked(uuids: Sequence[str], mask: str | None) -> tuple[str, ...]:
    """Those that CUDA_VISIBLE_DEVICES leaves: numbers or beginnings of UUIDs, up to the first that is none.

    Numbers count in the driver's order, which is CUDA's where all GPUs are alike.
    """
    if mask is None:
        return tuple(uuids)
    found: list[str] = []
    for name in (part.strip() for part in mask.split(",")):
        numbered = uuids[int(name) : int(name) + 1] if name.isascii() and name.isdigit() else ()
        meant = list(numbered) or [uuid for uuid in uuids if name and uuid.startswith(name)]
        if not meant:
            break
        found.append(meant[0])
    return tuple(dict.fromkeys(found))


def slots_of(spec: AnySpec, gpus: Sequence[str]) -> frozenset[str]:
    """The places a run of this spec takes on a machine with these GPUs (UUIDs).

    A spec that names none sees all of them and works on the first.
    """
    if spec.use_cpu or not gpus:
        return frozenset((CPU,))
    return frozenset(_named(name, gpus) for name in spec.gpus) or frozenset(gpus[:1])


def place(spec: AnySpec, gpus: Sequence[str], busy: frozenset[str]) -> AnySpec | None:
    """The spec with the GPU it is to work on, or None while there is no room for it.

    A spec that names none gets the first that is free. A GPU that is not here counts as free: starting
    the run says what is wrong with it.
    """
    if spec.use_cpu or not gpus or spec.gpus:
        return None if slots_of(spec, gpus) & busy else spec
    free = [gpu for gpu in gpus if gpu not in busy]
    return spec.changed(gpus=free[:1]) if free else None


def _named(name: str, gpus: Sequence[str]) -> str:
    """The whole UUID that the beginning of one names."""
    return next((gpu for gpu in gpus if gpu.startswith(name)), name)
