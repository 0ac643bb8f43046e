"""The ledger against what really happens: steps executed on the CPU, and torch's own tracker."""

import gc
from typing import Any

import pytest
import torch
from torch.distributed._tools.mem_tracker import MemTracker
from torch.profiler import ProfilerActivity, profile
from transformers import AutoModelForCausalLM, LlamaConfig, PhiConfig, Qwen2Config

from finetune_tui.core.memory.simulation.ledger import Ledger
from finetune_tui.core.memory.trace import Part, Phase

FACTS = {
    "hidden_size": 64,
    "intermediate_size": 176,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "vocab_size": 640,
    "max_position_embeddings": 512,
}
CONFIGS = {
    "llama": LlamaConfig(num_key_value_heads=2, **FACTS),
    "qwen2": Qwen2Config(num_key_value_heads=2, tie_word_embeddings=True, **FACTS),
    "phi": PhiConfig(**FACTS),
}


def tiny(family: str, checkpointing: bool) -> Any:
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(CONFIGS[family])
    model.config.use_cache = False
    if checkpointing:
        model.activation_checkpointing_enable(
            activation_checkpointing_kwargs={"use_reentrant": False, "preserve_rng_state": False}
        )
    return model.train()


def step(model: Any, ids: torch.Tensor, optimizer: torch.optim.Optimizer) -> None:
    torch.autograd.backward(model(input_ids=ids, labels=ids).loss)
    optimizer.step()
    optimizer.zero_grad()


@pytest.fixture(params=CONFIGS)
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.mark.parametrize("checkpointing", [False, True])
def test_against_the_allocations_of_a_step_on_the_cpu(family: str, checkpointing: bool) -> None:
    model = tiny(family, checkpointing)
    ids = torch.randint(0, 640, (2, 96))
    optimizer = torch.optim.AdamW(model.parameters(), foreach=False)
    step(model, ids, optimizer)
    gc.collect()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        step(model, ids, optimizer)
    live = most = 0
    results = profiled.profiler.kineto_results
    events = [one for one in results.events() if one.name() == "[memory]"]
    for event in sorted(events, key=lambda one: one.start_ns()):
        live += event.nbytes()
        most = max(most, live)
    gc.collect()

    ledger = Ledger(device="cpu")
    ledger.note_model(model)
    ledger.note([ids], Part.ACTIVATIONS)
    state = [value for kept in optimizer.state.values() for value in kept.values()]
    ledger.note([value for value in state if torch.is_tensor(value)], Part.OPTIMIZER)
    before = sum(ledger.trace.sizes)
    with ledger.watching(model), ledger:
        step(model, ids, optimizer)
    assert ledger.trace.peak(rounding=1).bytes == pytest.approx(before + most, rel=0.01)


def test_against_torchs_own_tracker_to_the_byte(family: str) -> None:
    # It raises on any frozen parameter: all of them train here.
    peaks = []
    for use_tracker in (True, False):
        model = tiny(family, checkpointing=False)
        ids = torch.randint(0, 640, (2, 96))
        optimizer = torch.optim.SGD(model.parameters(), foreach=False)
        if use_tracker:
            tracker = MemTracker()
            tracker.track_external(model, ids)
            with tracker:
                step(model, ids, optimizer)
            peaks.append(tracker.get_tracker_snapshot("peak")[torch.device("cpu")]["Total"])
        else:
            ledger = Ledger(device="cpu", sums_in_place=False)
            ledger.note_model(model)
            ledger.note([ids], Part.ACTIVATIONS)
            with ledger.watching(model), ledger:
                step(model, ids, optimizer)
            peaks.append(ledger.trace.peak(rounding=1).bytes)
    assert peaks[0] == peaks[1]


def test_an_allocation_says_where_it_was_made() -> None:
    model = tiny("llama", checkpointing=False)
    ids = torch.randint(0, 640, (2, 96))
    ledger = Ledger(device="cpu", vocabulary=640, blocks_at="model.layers", blocks=3)
    ledger.note_model(model)
    ledger.phase = Phase.FORWARD
    with ledger.watching(model), ledger:
        step(model, ids, torch.optim.SGD(model.parameters(), foreach=False))
    trace = ledger.trace
    made = dict(zip(trace.operations, trace.parts, strict=True))
    assert ("model.layers.1.mlp.act_fn", "silu") in made
    assert ("model.layers.1.mlp.act_fn", "silu_backward") in made
    assert Part.LOGITS in made.values()
    order = list(dict.fromkeys(trace.phases))
    assert order == [
        *(Phase.LOADING, Phase.FORWARD, Phase.LOSS, Phase.LOSS_BACKWARD),
        *(Phase.LAST_BLOCK, Phase.BACKWARD, Phase.FIRST_BLOCK),
    ]
