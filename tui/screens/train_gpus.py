"""Which GPU: a list with what is free on each and what others hold of it."""

from typing import TYPE_CHECKING

from finetune_tui.core.hardware import Gpu, Hardware
from finetune_tui.core.text import plain, size
from finetune_tui.tui.screens.ask import ChoiceScreen, Option
from finetune_tui.tui.screens.monitor_hardware import others_words
from finetune_tui.tui.watching import short_gpu

if TYPE_CHECKING:
    from finetune_tui.tui.screens.place import Place

ANY = "0"
_MOST = 9  # one digit each; a person with more names them in the settings


def gpu_options(hardware: Hardware) -> list[Option]:
    """One for each GPU that can be named, and one for no choice; nothing without a GPU."""
    found = [Option(key, _name(gpu), _state(gpu)) for key, gpu in _numbered(hardware).items()]
    return [*found, Option(ANY, "no choice", "whatever is visible to the worker")] if found else []


def chosen_gpu(hardware: Hardware, key: str) -> Gpu | None:
    """The GPU of an option; None for no choice."""
    return _numbered(hardware).get(key)


def choose_gpu(place: "Place") -> None:
    """Ask where it trains; the GPU is kept by its UUID. Where there is none it is the CPU, unasked."""
    session = place.session
    hardware = session.hardware
    options = gpu_options(hardware) if hardware else []
    if hardware and not hardware.gpus and not session.spec.use_cpu:
        session.change_spec(use_cpu=True, gpus=[])
        place.finetune.session_changed()
        place.finetune.say("trains on the CPU, slowly (use_cpu); u takes it back")
        return
    if not options:
        why = hardware.gpu_error if hardware else "the machine is being measured"
        words = f"there is no GPU to choose from: {plain(why or 'none was found', 100)}"
        place.finetune.say(f"{words}; C compares with a card")
        return

    def answered(chosen: str | None) -> None:
        if chosen is None or hardware is None:
            return
        gpu = chosen_gpu(hardware, chosen)
        session.card = None  # memory is held against the GPU that was just chosen
        session.change_spec(gpus=[gpu.uuid] if gpu and gpu.uuid else [])
        place.finetune.session_changed()

    place.app.push_screen(ChoiceScreen("Which GPU?", options), answered)


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
