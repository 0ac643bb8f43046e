"""Which GPU: a list with what is free on each and what others hold of it."""

from finetune_tui.core.hardware import Gpu, Hardware
from finetune_tui.core.text import plain, size
from finetune_tui.tui.screens.ask import Option
from finetune_tui.tui.screens.monitor_hardware import others_words
from finetune_tui.tui.watching import short_gpu

ANY = "0"
_MOST = 9  # one digit each; a person with more names them in the settings


def gpu_options(hardware: Hardware) -> list[Option]:
    """One for each GPU that can be named, and one for no choice; nothing without a GPU."""
    found = [Option(key, _name(gpu), _state(gpu)) for key, gpu in _numbered(hardware).items()]
    return [*found, Option(ANY, "no choice", "whatever is visible to the worker")] if found else []


def chosen_gpu(hardware: Hardware, key: str) -> Gpu | None:
    """The GPU of an option; None for no choice."""
    return _numbered(hardware).get(key)


def _numbered(hardware: Hardware) -> dict[str, Gpu]:
    named = [gpu for gpu in hardware.gpus if gpu.uuid and gpu.error is None]
    return {str(number): gpu for number, gpu in enumerate(named[:_MOST], start=1)}


def _name(gpu: Gpu) -> str:
    return plain(f"GPU{gpu.index} {short_gpu(gpu.name or '')}{' slice' if gpu.mig else ''}", 40)


def _state(gpu: Gpu) -> str:
    free = "free memory unknown"
    if gpu.free is not None:
        free = f"{size(gpu.free)} free" + (f" of {size(gpu.total)}" if gpu.total else "")
    busy = f", {gpu.utilization}% busy" if gpu.utilization else ""
    return f"{free}{busy}, {others_words(gpu)}"
