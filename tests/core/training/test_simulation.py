"""The simulation: published points, weights to the byte, the probe, the call; and the estimate against it."""

import json
import statistics
from typing import Any

import pytest
import torch

from benchmarks.memory_points import POINTS, Point
from benchmarks.memory_settings import Compared, compare, random_settings
from finetune_tui.core.calls.server import CALLS, Cancelled
from finetune_tui.core.errors import UserError
from finetune_tui.core.memory import costs
from finetune_tui.core.memory.allocator import replay
from finetune_tui.core.memory.cards import CARDS
from finetune_tui.core.memory.estimate import CUDA_CONTEXT, GIB, Precision, fits, weight_bytes
from finetune_tui.core.memory.simulated import Simulation
from finetune_tui.core.memory.simulation.ledger import Ledger
from finetune_tui.core.memory.trace import Part, Phase
from finetune_tui.core.models.catalog import catalog
from finetune_tui.core.models.resolve import find_model
from finetune_tui.core.training import loss
from finetune_tui.core.training.simulate import config_of, probe, simulate, simulate_call
from finetune_tui.core.training.simulated_model import build
from finetune_tui.core.tuning.presets import resolve_preset
from finetune_tui.core.tuning.spec import Spec, demo_spec
from finetune_tui.core.tuning.spec_file import write_spec

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
    assert peak.phase is Phase.LOSS
    assert peak.operation[1] == "_log_softmax_backward_data"
    # The probabilities, their gradient and the gradient of the logits, four bytes each (MEMORY.md §3).
    assert peak.parts[Part.LOGITS] == pytest.approx(12 * 64 * 128 * 700, rel=0.01)


def test_the_call_answers_as_json_and_can_be_cancelled() -> None:
    assert CALLS["simulate"].endswith(":simulate_call")
    said: list[str] = []
    params = {"spec": write_spec(demo_spec()), "batches": [[2, 64]]}
    answer = simulate_call(params, lambda words: said.append(words["words"]))
    found = Simulation.from_json(json.loads(json.dumps(answer)))
    assert found.to_json() == answer
    assert sum(found.parts.values()) == found.allocated <= found.reserved
    assert found.device == found.reserved + CUDA_CONTEXT
    assert found.card == "8 GB"
    assert len(said) > 2

    def cancel(words: dict[str, str]) -> None:
        if "stepping" in words["words"]:
            raise Cancelled

    with pytest.raises(Cancelled):
        simulate_call(params, cancel)


def test_a_longer_batch_first_shows_in_the_simulation() -> None:
    spec = demo_spec()
    peaks = []
    for batches in ([[2, 64]], [[2, 256]]):
        answer = simulate_call({"spec": write_spec(spec), "batches": batches}, lambda words: None)
        peaks.append(answer["allocated"])
    assert peaks[0] < peaks[1]


def test_the_estimate_splits_the_loss_as_the_worker_does() -> None:
    head = torch.nn.Linear(8, 50_000, device="meta")
    assert costs.CHUNK_BYTES == loss.CHUNK_BYTES
    for tokens in (1, 500, 5000, 32_768):
        assert costs.chunk_size(tokens, 50_000) == loss._chunk_size(tokens, head)


@pytest.mark.parametrize("setting", list(random_settings(6)), ids=str)
def test_the_estimate_is_the_simulation(setting: Any) -> None:
    assert abs(compare(setting).error) < 0.03


@pytest.mark.soak
def test_the_estimate_over_200_settings() -> None:
    compared = [compare(setting) for setting in random_settings(200)]
    errors = [abs(one.error) for one in compared]
    worst = max(compared, key=lambda one: abs(one.error))
    assert statistics.mean(errors) < 0.005
    assert abs(worst.error) < 0.03, worst.setting
    wrong, missed, asked = verdicts(compared)
    assert not wrong
    assert missed < 0.05 * asked


def verdicts(compared: list[Compared]) -> tuple[list[str], int, int]:
    """(settings told to fit that do not, how many told not to fit that would, how many asked)."""
    wrong, missed = [], 0
    for one in compared:
        for usable in CARDS.values():
            told = fits(one.estimate, usable)
            would = one.card is not None and one.card <= usable
            if told and not would:
                wrong.append(str(one.setting))
            missed += not told and would
    return wrong, missed, len(compared) * len(CARDS)
