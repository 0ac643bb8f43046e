"""Whether a model has room to answer, and who has the rest."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from finetune_tui.core.calls.client import CallProcess
from finetune_tui.core.errors import UserError
from finetune_tui.core.evidence.chat import Where
from finetune_tui.core.evidence.chat_room import chat_room
from finetune_tui.core.hardware import Gpu, GpuProcess, Hardware
from finetune_tui.core.runs.directory import RunDirectory, create_run
from finetune_tui.core.runs.processes import this_process
from finetune_tui.core.runs.state import Status, write_state
from finetune_tui.core.tuning.spec import Spec
from finetune_tui.core.tuning.spec_file import write_spec
from tests.core.runs.adapters import add_result

GIB = 2**30


def trained(home: Path, **keys: Any) -> RunDirectory:
    spec = Spec(model_name_or_path="microsoft/phi-2", preset="bitfit-top-4").changed(**keys)
    run = create_run(home, write_spec(spec), "phi")
    add_result(run)
    write_state(run.state_path, run.state().changed(status=Status.FINISHED, ended=1.0))
    return run


def machine(*free: int) -> Hardware:
    """GPUs with so many GiB free, the rest held by this very process."""
    processes = (GpuProcess(this_process().pid, 20 * GIB), GpuProcess(71, GIB))
    gpus = tuple(
        Gpu(index, f"GPU-{index}", "A10", 24 * GIB, free=one * GIB, processes=processes)
        for index, one in enumerate(free)
    )
    return Hardware(0.0, gpus, memory_total=64 * GIB, memory_available=40 * GIB)


def test_a_gpu_that_trains_has_no_room_and_another_has(tmp_path: Path) -> None:
    run, other = trained(tmp_path), trained(tmp_path)
    state = other.state().changed(
        status=Status.RUNNING, worker=this_process(), step=612, total_steps=1044
    )
    write_state(other.state_path, state)
    hardware, runs = machine(1, 23), [other, run]
    room = chat_room(run, Where(), without_own(hardware), runs)
    assert room.fits is False
    assert room.words.startswith("r2 trains there, 612/1044; about ")
    assert "pid 71 holds 1.0G" in room.words
    assert chat_room(run, Where(use_cpu=False, gpu="GPU-1"), hardware, runs).fits
    assert chat_room(run, Where(use_cpu=True), hardware, runs).fits
    assert chat_room(trained(tmp_path, gpus=["GPU-1"]), Where(), hardware, []).fits


def without_own(hardware: Hardware) -> Hardware:
    """As seen from another process: what this one holds is not free for it."""
    gpus = tuple(dataclasses.replace(gpu, free=(gpu.free or 0) - 20 * GIB) for gpu in hardware.gpus)
    return dataclasses.replace(hardware, gpus=gpus)


def test_where_nothing_can_answer_is_one_line(tmp_path: Path) -> None:
    run = trained(tmp_path)
    with pytest.raises(UserError, match=r"no GPU is usable here.*CPU"):
        chat_room(run, Where(), machine(), [])
    with pytest.raises(UserError, match="there is no GPU GPU-9 here"):
        chat_room(run, Where(gpu="GPU-9"), machine(23), [])
    run.trained.write_bytes(b"no tensors")
    with pytest.raises(UserError, match=r"trained\.safetensors"):
        chat_room(run, Where(), machine(23), [])
    run.trained.unlink()
    with pytest.raises(UserError, match="has no result"):
        chat_room(run, Where(), machine(23), [])


def test_the_process_sees_the_gpu_that_was_chosen() -> None:
    assert CallProcess(True, gpus=("GPU-1",))._environment()["CUDA_VISIBLE_DEVICES"] == "GPU-1"
    assert CallProcess(False, gpus=("GPU-1",))._environment()["CUDA_VISIBLE_DEVICES"] == ""
