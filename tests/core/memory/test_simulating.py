"""Asking for a simulation: a real call, its progress and its end; a call that is bounded."""

import threading
import time
from typing import Any

import pytest

from finetune_tui.core.calls import client
from finetune_tui.core.errors import UserError, WorkFailed
from finetune_tui.core.memory import simulating
from finetune_tui.core.memory.cards import CARDS
from finetune_tui.core.memory.estimate import Precision, estimate
from finetune_tui.core.memory.simulated import Simulation
from finetune_tui.core.memory.simulating import SimulationQuestion, ask_simulation
from finetune_tui.core.models.catalog import catalog
from finetune_tui.core.tuning.resolve import selection_of
from finetune_tui.core.tuning.spec import Spec, demo_spec

SMALL = "HuggingFaceTB/SmolLM2-135M"


@pytest.mark.soak
def test_a_real_call_on_a_model_of_the_catalog() -> None:
    spec = Spec(model_name_or_path=SMALL, preset="attention-qv", max_length=256)
    said: list[str] = []
    budget = CARDS["8 GB"]
    found = ask_simulation(SimulationQuestion(spec, budget, context=2**29), said.append)
    manifest = catalog()[SMALL].manifest()
    made = estimate(manifest, selection_of(spec, manifest), spec, Precision.BF16)
    assert found.precision is Precision.BF16
    assert found.allocated == pytest.approx(made.allocated, rel=0.03)
    assert found.allocated <= found.reserved == found.device - 2**29
    assert (found.budget, found.fits, found.card) == (budget, True, "8 GB")
    assert found.phase in found.phases
    assert found.peak_words.startswith(found.phase)
    assert found.largest is not None
    rows, tokens = found.largest["rows"], found.largest["tokens"]
    assert rows is not None
    assert tokens is not None
    assert rows > spec.per_device_train_batch_size
    assert tokens > spec.max_length
    assert "step 1 of 2, forward, block" in " ".join(said)
    assert any(words.startswith(f"{rows} rows at once: step 2 of 2") for words in said)
    assert any(words.startswith(f"rows of {tokens} tokens: ") for words in said)


def test_a_cancel_comes_through_and_leaves_no_process() -> None:
    cancelled = threading.Event()
    before = threading.active_count()

    def cancel(words: str) -> None:
        if "building" in words:
            cancelled.set()

    with pytest.raises(UserError, match="cancelled"):
        ask_simulation(SimulationQuestion(demo_spec()), cancel, cancelled)
    deadline = time.monotonic() + 5
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.02)
    assert threading.active_count() <= before


def test_a_call_that_takes_too_long_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simulating, "_LONGEST", 0.5)
    with pytest.raises(WorkFailed, match="took too long"):
        ask_simulation(SimulationQuestion(demo_spec()), lambda _: None)


def test_a_call_that_takes_too_much_memory_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    process = client.CallProcess
    monkeypatch.setattr(simulating, "CallProcess", lambda: process(most_memory=64 * 2**20))
    with pytest.raises(WorkFailed, match="needed more than"):
        ask_simulation(SimulationQuestion(demo_spec()), lambda _: None)


@pytest.mark.parametrize(
    ("phase", "module", "operation", "words"),
    [
        (
            "backward of the last block",
            "base_model.model.model.layers.31.mlp.down_proj.base_layer",
            "bitsandbytes::gemm_4bit",
            "backward of the last block, in model.layers.31.mlp.down_proj (gemm_4bit)",
        ),
        ("loss", "base_model.model", "_log_softmax", "loss (log_softmax)"),
        ("optimizer", "", "kept", "optimizer (kept)"),
    ],
)
def test_the_peak_in_words(phase: str, module: str, operation: str, words: str) -> None:
    assert simulation(phase=phase, module=module, operation=operation).peak_words == words


def test_what_is_written_is_read_again() -> None:
    made = simulation(largest={"rows": 3, "tokens": None}, budget=5, fits=False)
    assert Simulation.from_json(made.to_json()) == made
    for broken in ({}, made.to_json() | {"precision": "3bit"}):
        with pytest.raises((KeyError, ValueError)):
            Simulation.from_json(broken)


def simulation(**values: Any) -> Simulation:
    plainly: dict[str, Any] = {
        "precision": Precision.NF4,
        "allocated": 1,
        "reserved": 2,
        "device": 3,
        "phase": "loss",
        "module": "",
        "operation": "mm",
        "parts": {},
        "phases": {},
        "card": None,
        "budget": None,
        "fits": None,
        "largest": None,
    }
    return Simulation(**plainly | values)
