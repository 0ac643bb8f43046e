"""What the refusals need to know about this machine, from one look at it."""

from finetune_tui.core.hardware import Gpu, Hardware, read_hardware
from finetune_tui.core.tuning.refusals import Machine
from finetune_tui.core.tuning.spec import Spec


def machine_for(spec: Spec, hardware: Hardware | None = None) -> Machine:
    """Where this spec would train. Unknown without a GPU: the demo then takes the CPU by itself."""
    if spec.use_cpu:
        return Machine(on_gpu=False)
    gpus = (hardware or read_hardware()).gpus
    if not gpus:
        return Machine()
    return Machine(
        on_gpu=True,
        capability=_capability(_chosen(spec, gpus)),
        gpus=tuple(gpu.uuid for gpu in gpus if gpu.uuid),
    )


def _chosen(spec: Spec, gpus: tuple[Gpu, ...]) -> Gpu:
    wanted = spec.gpus[:1]
    named = (gpu for gpu in gpus if gpu.uuid and gpu.uuid.startswith(wanted or ("",)))
    return next(named, gpus[0])


def _capability(gpu: Gpu) -> tuple[int, int] | None:
    major, _, minor = (gpu.compute_capability or "").partition(".")
    return (int(major), int(minor)) if major.isdecimal() and minor.isdecimal() else None
