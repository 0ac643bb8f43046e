"""Before a weight is loaded: is there room for what was predicted?"""

from dataclasses import replace

import psutil
import torch

from finetune_tui.core.errors import UserError
from finetune_tui.core.hardware import Gpu, Hardware
from finetune_tui.core.memory.estimate import CUDA_CONTEXT, Estimate, Verdict, verdict
from finetune_tui.core.memory.fitting import fitting
from finetune_tui.core.memory.free import Free, free_in_memory, free_on_gpu
from finetune_tui.core.text import plain, size
from finetune_tui.core.training.plan import Plan
from finetune_tui.core.tuning.spec import Spec


def free_memory(on_gpu: bool, gpu: Gpu | None, hardware: Hardware) -> Free:
    """What is free where a run will train. gpu: as NVML sees it, None when it does not."""
    if not on_gpu:
        return free_in_memory(hardware, held=psutil.Process().memory_info().rss)
    if gpu is None or gpu.free is None:
        free, total = torch.cuda.mem_get_info(0)  # asking takes a context
        return Free(free + CUDA_CONTEXT, total, plain(torch.cuda.get_device_name(0), 60))
    return free_on_gpu(gpu)


def require_memory(plan: Plan, spec: Spec, predicted: Estimate, free: Free) -> str | None:
    """A warning when it may not fit, None when it does or nobody can say.

    spec: of the batch that was predicted. Raises UserError when even the least of the estimate is too much,
    unless the spec says to start all the same.
    """
    found = verdict(predicted, free.bytes)
    if found in (None, Verdict.FITS) or free.bytes is None:
        return None
    needed = f"about {size(predicted.device)} ±{size(predicted.band)} is needed"
    whole = f" of {size(free.total)}" if free.total else ""
    words = f"{needed} and {size(free.bytes)}{whole} is free"
    words += f": {free.holders}" if free.holders else ""
    if found is Verdict.MAY:
        return f"it may not fit: {words}"
    if not plan.spec.memory_check:
        return f"it does not fit, and memory_check is off: {words}"
    would = _what_fits(plan, spec, predicted, free.bytes)
    raise UserError(
        f"it does not fit: {words}",
        where=free.place,
        hint=f"{would}; memory_check: false starts all the same",
    )


def _what_fits(plan: Plan, spec: Spec, predicted: Estimate, free: int) -> str:
    """The best way to fit, in words."""
    here = replace(spec, use_cpu=not plan.device.on_gpu)
    context = predicted.breakdown.context
    found = fitting(plan.manifest, plan.selection, here, free, context, machine=plan.machine)
    if found.fits:
        changes = found.fits[0].changes
        return "would fit: " + ", ".join(f"{key}: {_yaml(changes[key])}" for key in changes)
    if not plan.device.on_gpu:
        return "nothing of it fits: free memory, or take a smaller model"
    return f"nothing of it fits: free memory, or take a card of {found.card or 'more than is sold'}"


def _yaml(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
