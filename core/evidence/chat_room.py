"""Whether a run's model can answer now: memory that is free, and which run of ours has the rest."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from finetune_tui.core.calls.client import inspect_folder
from finetune_tui.core.errors import UserError
from finetune_tui.core.evidence.chat import Where
from finetune_tui.core.hardware import Gpu, Hardware
from finetune_tui.core.memory.answering import room_for_answers
from finetune_tui.core.memory.free import free_in_memory, free_on_gpu
from finetune_tui.core.models.resolve import find_model, load_manifest
from finetune_tui.core.runs.adapter_check import require_sound
from finetune_tui.core.runs.directory import RunDirectory
from finetune_tui.core.runs.state import Status
from finetune_tui.core.text import plain
from finetune_tui.core.tuning.resolve import selection_of
from finetune_tui.core.tuning.spec import Spec

_STARTING_AMONG = 5  # of the newest runs
_LOOKED_AT = 50  # of the newest runs: one that trains now is among them


@dataclass(frozen=True, slots=True)
class ChatRoom:
    """fits: None when nobody can say. words: what is needed and what is free, or that training goes on."""

    fits: bool | None
    words: str


def chat_room(
    run: RunDirectory, where: Where, hardware: Hardware, runs: Iterable[RunDirectory]
) -> ChatRoom:
    """Whether the model of a run can be loaded there. runs: ours, of which one may train there.

    Raises UserError when the run has no result or one that is not what its spec says, or where it cannot
    answer.
    """
    require_sound(run)  # before anything is started: torch takes seconds to import
    spec = run.spec()
    reference = find_model(spec.model_name_or_path)
    manifest = load_manifest(reference, inspect_folder)
    use_cpu = spec.use_cpu if where.use_cpu is None else where.use_cpu
    gpu = None if use_cpu else gpu_of(hardware, where, spec)
    if gpu is None and not use_cpu and reference.kind != "demo":
        raise UserError("no GPU is usable here", hint="it can answer on the CPU, slowly")
    free = free_on_gpu(gpu) if gpu else free_in_memory(hardware)
    held = replace(spec, use_cpu=gpu is None)
    room = room_for_answers(manifest, selection_of(spec, manifest), held, free, gpu is not None)
    trains = _training_on(gpu, runs) if gpu else None
    words = f"{trains}; {room.words}" if trains else room.words
    return ChatRoom(room.fits, words)


def gpu_of(hardware: Hardware, where: Where, spec: Spec) -> Gpu | None:
    """The GPU that would answer: the one that was chosen, else the run's own, else the first."""
    wanted = (where.gpu,) if where.gpu else spec.gpus
    named = [gpu for gpu in hardware.gpus if gpu.uuid in wanted]
    if where.gpu and not named:
        raise UserError(f"there is no GPU {plain(where.gpu, 60)} here")
    return next(iter(named or hardware.gpus), None)


def starting_on_gpu(runs: Iterable[RunDirectory], now: float) -> str | None:
    """The name of a run of ours that is about to take a GPU's memory; None when none is."""
    for run, _ in zip(runs, range(_STARTING_AMONG), strict=False):
        state = run.state()
        is_early = state.status in (Status.STARTING, Status.PREPARING)
        if is_early and run.liveness(now).is_alive and not _uses_cpu(run):
            return plain(run.short_id)
    return None


def _uses_cpu(run: RunDirectory) -> bool:
    try:
        return run.task_spec().use_cpu
    except UserError:  # it will not get far
        return True


def _training_on(gpu: Gpu, runs: Iterable[RunDirectory]) -> str | None:
    """'r9 trains there, 612/1044' when one of ours holds memory of it."""
    pids = {process.pid for process in gpu.processes or ()}
    for run, _ in zip(runs, range(_LOOKED_AT), strict=False):
        state = run.state()
        if state.worker and state.worker.pid in pids and state.status.is_active:
            step = f", {state.step}/{state.total_steps}" if state.step else ""
            return f"{plain(run.short_id)} trains there{step}"
    return None
