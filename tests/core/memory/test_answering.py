"""Room for answers: what base and tuned model take in one, said before anything is loaded."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune_tui.core.errors import UserError
from finetune_tui.core.hardware import Gpu, GpuProcess, Hardware
from finetune_tui.core.memory.answering import Room, room_for_answers
from finetune_tui.core.memory.estimate import GIB
from finetune_tui.core.memory.free import Free, free_in_memory, free_on_gpu
from finetune_tui.core.models.catalog import find_entries
from finetune_tui.core.tuning.resolve import selection_of
from finetune_tui.core.tuning.spec import Spec

SPEC = Spec(model_name_or_path="microsoft/phi-2", preset="attention-refinement")
MANIFEST = find_entries("microsoft/phi-2")[0].manifest()
SELECTION = selection_of(SPEC, MANIFEST)
MUCH = Free(2**40, 2**41, "this machine")


def needed(spec: Spec = SPEC, on_gpu: bool = True, answers: int = 2, length: int = 2048) -> int:
    return room_for_answers(MANIFEST, SELECTION, spec, MUCH, on_gpu, answers, length).needed


def test_the_weights_decide() -> None:
    assert 7 * GIB < needed() < 8 * GIB  # 5.2 of weights, 1.3 of keys and values
    on_cpu = dataclasses.replace(SPEC, use_cpu=True)
    assert 14 * GIB < needed(on_cpu, on_gpu=False) < 16 * GIB
    assert needed(dataclasses.replace(SPEC, load_in_4bit=True)) < 5 * GIB
    pissa = dataclasses.replace(SPEC, init_lora_weights="pissa")
    assert needed(pissa) > needed()


@given(st.integers(1, 64), st.integers(1, 10**6))
def test_more_answers_and_longer_ones_take_more(answers: int, length: int) -> None:
    assert needed(answers=answers, length=length) <= needed(answers=answers + 1, length=length)
    assert needed(answers=answers, length=length) <= needed(answers=answers, length=length + 1)
    assert needed(length=length) <= needed(length=2048)  # the model's own context


def test_a_busy_gpu_is_said_with_who_holds_it_and_the_ways_out() -> None:
    gpu = Gpu(0, "GPU-1", "NVIDIA A10", 24 * GIB, 21 * GIB, 3 * GIB)
    busy = dataclasses.replace(gpu, processes=(GpuProcess(71, 20 * GIB),))
    room = room_for_answers(MANIFEST, SELECTION, SPEC, free_on_gpu(busy), on_gpu=True)
    assert room.fits is False
    said = "and 3.0G of 24.0G is free on GPU0 NVIDIA A10: pid 71 holds 20.0G"
    assert room.words.endswith(said)
    with pytest.raises(UserError, match="no room for answers") as error:
        room.require()
    assert "wait until it is free" in (error.value.hint or "")
    assert "use_cpu: true" in (error.value.hint or "")
    unseen = room_for_answers(MANIFEST, SELECTION, SPEC, free_on_gpu(gpu), on_gpu=True)
    assert unseen.words.endswith("who holds the rest is unseen")


def test_what_nobody_knows_is_not_refused() -> None:
    room = Room(GIB, free_in_memory(Hardware(time=0.0)), on_gpu=False)
    assert room.fits is None
    assert room.words == "about 1.0G is needed"
    room.require()
    enough = Room(GIB, free_in_memory(Hardware(time=0.0, memory_available=GIB // 2), GIB), False)
    assert enough.fits
    enough.require()
