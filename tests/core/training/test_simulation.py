"""The simulation: published points, weights to the byte, the probe, the call; and the estimate against it."""

import json
import re
import statistics
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from benchmarks.memory import verdicts
from benchmarks.memory_points import POINTS, Point
from benchmarks.memory_settings import Setting, compare, is_possible, random_settings
from finetune_tui.core.calls.cancelled import Cancelled
from finetune_tui.core.calls.server import CALLS
from finetune_tui.core.errors import UserError
from finetune_tui.core.memory import costs
from finetune_tui.core.memory.allocator import replay
from finetune_tui.core.memory.cards import CARDS
from finetune_tui.core.memory.estimate import (
    CUDA_CONTEXT,
    GIB,
    WORKER_ON_CPU,
    Precision,
    Verdict,
    weight_bytes,
)
from finetune_tui.core.memory.simulated import Simulation
from finetune_tui.core.memory.simulating import SimulationQuestion
from finetune_tui.core.memory.simulation.ledger import Ledger
from finetune_tui.core.memory.trace import Part, Phase
from finetune_tui.core.models.catalog import catalog
from finetune_tui.core.models.resolve import find_model
from finetune_tui.core.training import loss
from finetune_tui.core.training.simulate import config_of, probe, simulate, simulate_call
from finetune_tui.core.training.simulated_model import build
from finetune_tui.core.tuning.presets import resolve_preset
from finetune_tui.core.tuning.spec import OPTIMIZERS, Spec, demo_spec

QUICK = (POINTS[2], POINTS[5])


def gib_of(point: Point) -> float:
    trace = point.trace()
    return (replay(trace).reserved if point.measured else trace.peak().bytes) / GIB


@pytest.mark.parametrize("point", QUICK, ids=lambda point: point.title)
def test_published_points(point: Point) -> None:
    assert gib_of(point) == pytest.approx(point.gib, rel=0.01)


@pytest.mark.soak
@pytest.mark.parametrize("point", POINTS, ids=lambda point: point.title)
def test_every_published_point(point: Point) -> None:
    assert gib_of(point) == pytest.approx(point.gib, rel=0.05 if point.measured else 0.01)


@pytest.mark.parametrize("precision", list(Precision))
@pytest.mark.parametrize("model", ["microsoft/phi-2", "Qwen/Qwen2.5-1.5B"])
def test_weights_to_the_byte(model: str, precision: Precision) -> None:
    built = build(config_of(find_model(model)), precision)
    ledger = Ledger()
    ledger.note_model(built)
    buffers = {buffer.untyped_storage()._cdata: buffer for buffer in built.buffers()}
    beside = sum(buffer.untyped_storage().nbytes() for buffer in buffers.values())
    held = sum(ledger.trace.sizes) - beside
    assert held == weight_bytes(catalog()[model].manifest(), precision)


def few_rows(**settings: Any) -> Spec:
    return Spec(
        per_device_train_batch_size=2, max_length=128, gradient_accumulation_steps=1
    ).changed(**settings)


@pytest.mark.parametrize(
    ("preset", "precision", "checkpointing"),
    [
        ("all-linear", Precision.NF4, True),
        pytest.param("full", Precision.BF16, True, marks=pytest.mark.soak),
        pytest.param("attention-qv", Precision.INT8, False, marks=pytest.mark.soak),
        pytest.param("all-linear", Precision.FP32, False, marks=pytest.mark.soak),
    ],
)
def test_the_probe_equals_full_depth_to_the_byte(
    preset: str, precision: Precision, checkpointing: bool
) -> None:
    reference = find_model("smollm2-135m")
    assert reference.entry is not None
    manifest, config = reference.entry.manifest(), config_of(reference)
    selection = resolve_preset(preset, manifest).selection
    spec = few_rows(gradient_checkpointing=checkpointing)
    probed = probe(config, manifest, selection, spec, precision)
    whole = simulate(config, manifest, selection, spec, precision).peaks(rounding=1)
    probed.pop(Phase.BACKWARD)  # its peak is that of the second or of the last block but one
    assert probed == {phase: whole[phase] for phase in probed}


def test_the_probe_refuses_blocks_that_train_in_different_ways() -> None:
    reference = find_model("smollm2-135m")
    assert reference.entry is not None
    manifest = reference.entry.manifest()
    selection = resolve_preset("attention-only-top-4", manifest).selection
    with pytest.raises(UserError, match="do not train alike"):
        probe(config_of(reference), manifest, selection, few_rows(), Precision.BF16)


def test_peaks_lie_where_they_should() -> None:
    reference = find_model("demo")
    assert reference.entry is not None
    manifest = reference.entry.manifest()
    selection = resolve_preset("all-linear", manifest).selection
    spec = few_rows(chunked_loss=False, per_device_train_batch_size=64)
    trace = simulate(config_of(reference), manifest, selection, spec, Precision.BF16)
    peak = trace.peak()
    assert peak.phase is Phase.LOSS_BACKWARD
    assert peak.operation[1] == "_log_softmax_backward_data"
    # The probabilities, their gradient and the gradient of the logits, four bytes each (MEMORY.md §3).
    assert peak.parts[Part.LOGITS] == pytest.approx(12 * 64 * 128 * 700, rel=0.01)


def test_the_call_answers_as_json_and_can_be_cancelled() -> None:
    assert CALLS["simulate"].endswith(":simulate_call")
    said: list[str] = []
    spec = demo_spec().changed(use_cpu=False)
    params = SimulationQuestion(spec, CARDS["8 GB"], batches=((2, 64),)).params()
    answer = simulate_call(params, lambda words: said.append(words["words"]))
    found = Simulation.from_json(json.loads(json.dumps(answer)))
    assert found.to_json() == answer
    assert sum(found.parts.values()) == found.allocated <= found.reserved
    assert found.device == found.reserved + CUDA_CONTEXT
    assert found.card == "8 GB"
    assert found.fits is True
    assert found.largest is not None
    assert "building the model" in said
    assert any(re.search(r"^step 2 of 2, backward, block \d of 4$", words) for words in said)

    def cancel(words: dict[str, str]) -> None:
        if "step 1" in words["words"]:
            raise Cancelled

    with pytest.raises(Cancelled):
        simulate_call(params, cancel)


def test_what_does_not_fit_says_so_and_nothing_is_the_largest() -> None:
    spec = demo_spec().changed(use_cpu=False)
    question = SimulationQuestion(spec, budget=CUDA_CONTEXT + 2**20)
    found = Simulation.from_json(simulate_call(question.params(), lambda _: None))
    assert found.fits is False
    assert found.largest == {"rows": None, "tokens": None}


def test_in_main_memory_nothing_is_reserved_and_no_card_is_named() -> None:
    found = Simulation.from_json(
        simulate_call(SimulationQuestion(demo_spec(), 2**33).params(), lambda _: None)
    )
    assert found.allocated == found.reserved == found.device - WORKER_ON_CPU
    assert found.fits is True
    assert (found.card, found.largest) == (None, None)


def test_a_longer_batch_first_shows_in_the_simulation() -> None:
    spec = demo_spec()
    peaks = []
    for tokens in (64, 256):
        question = SimulationQuestion(spec, batches=((2, tokens),))
        answer = simulate_call(question.params(), lambda words: None)
        peaks.append(answer["allocated"])
    assert peaks[0] < peaks[1]


def test_the_estimate_splits_the_loss_as_the_worker_does() -> None:
    head = torch.nn.Linear(8, 50_000, device="meta")
    assert costs.CHUNK_BYTES == loss.CHUNK_BYTES
    for tokens in (1, 500, 5000, 32_768):
        assert costs.chunk_size(tokens, 50_000) == loss._chunk_size(tokens, head)


PHI2_TOP_BLOCK = Setting(
    *("microsoft/phi-2", 3, Precision.BF16, "attention-only-top-1"),
    few_rows(max_length=512, gradient_checkpointing=True),
)
"""A model with a dropout of its own, frozen below its last block."""


@pytest.mark.parametrize("setting", [PHI2_TOP_BLOCK, *random_settings(5)], ids=str)
def test_the_estimate_is_the_simulation(setting: Setting) -> None:
    assert abs(compare(setting).error) < 0.03


SMALLEST = (
    *("HuggingFaceTB/SmolLM2-135M", "Qwen/Qwen2.5-0.5B", "Qwen/Qwen3-0.6B", "microsoft/phi-1_5"),
    *("google/gemma-3-1b-it", "meta-llama/Llama-3.2-1B", "microsoft/Phi-3-mini-4k-instruct"),
)


@st.composite
def at_the_edges(draw: st.DrawFn) -> Setting:
    """One block, one row or eight, the shortest rows or the longest, the lowest rank or the highest."""
    precision = draw(st.sampled_from(list(Precision)))
    how: dict[str, Any] = {
        "lora_r": st.sampled_from([1, 128]),
        "per_device_train_batch_size": st.sampled_from([1, 8]),
        "max_length": st.sampled_from([8, 4096]),
        "lora_dropout": st.sampled_from([0.0, 0.05]),
        "init_lora_weights": st.sampled_from(["default", "default", "pissa"]),
        "trainable_token_indices": st.sampled_from([(), (), ("7", "8")]),
        "optim": st.sampled_from(OPTIMIZERS),
        **dict.fromkeys(
            ("gradient_checkpointing", "use_dora", "packing", "chunked_loss"), st.booleans()
        ),
    }
    setting = Setting(
        draw(st.sampled_from(SMALLEST)),
        1,
        precision,
        draw(st.sampled_from(["all-linear", "attention-qv", "mixed"])),
        Spec(
            **{key: draw(values) for key, values in how.items()},
            gradient_accumulation_steps=draw(st.sampled_from([1, 4])),
            load_in_4bit=precision is Precision.NF4,
            load_in_8bit=precision is Precision.INT8,
            dtype="float32" if precision is Precision.FP32 else "auto",
        ),
    )
    assume(is_possible(setting))
    return setting


SLOW = settings(
    deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much]
)


@settings(SLOW, max_examples=5, derandomize=True)
@given(at_the_edges())
def test_at_the_edges(setting: Setting) -> None:
    assert abs(compare(setting).error) < 0.03


@pytest.mark.soak
@settings(SLOW, max_examples=150)
@given(at_the_edges())
def test_all_over_the_edges(setting: Setting) -> None:
    assert abs(compare(setting).error) < 0.03


@pytest.mark.soak
def test_the_estimate_over_200_settings() -> None:
    compared = [compare(setting) for setting in random_settings(200)]
    errors = [abs(one.error) for one in compared]
    worst = max(compared, key=lambda one: abs(one.error))
    assert statistics.mean(errors) < 0.005
    assert abs(worst.error) < 0.03, worst.setting
    counted = verdicts(compared)
    assert counted[Verdict.FITS, False] == 0
    missed = counted[Verdict.NO, True] + counted[Verdict.MAY, True]
    assert missed < 0.05 * sum(counted.values())
