"""A trace says how much is live, when it is most, and what it is for."""

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from finetune_tui.core.memory.trace import Part, Phase, Trace

WHERE = ("model.layers.0", "mm")


def test_the_peak_is_the_first_moment_with_the_most() -> None:
    trace = Trace()
    trace.add(1000, Part.WEIGHTS, WHERE, Phase.LOADING)
    saved = trace.add(100, Part.ACTIVATIONS, WHERE, Phase.FORWARD)
    trace.add(600, Part.LOGITS, ("lm_head", "linear"), Phase.LOSS)
    trace.release(saved, Phase.BACKWARD)
    trace.add(50, Part.GRADIENTS, WHERE, Phase.BACKWARD)
    peak = trace.peak(rounding=1)
    assert (peak.bytes, peak.phase, peak.operation) == (1700, Phase.LOSS, ("lm_head", "linear"))
    assert peak.parts[Part.LOGITS] == 600
    assert peak.parts[Part.GRADIENTS] == 0
    assert trace.peaks(rounding=1)[Phase.BACKWARD] == 1650


def test_sizes_are_rounded_as_the_allocator_rounds_them() -> None:
    trace = Trace()
    for size in (1, 512, 513, 0):
        trace.add(size, Part.ACTIVATIONS, WHERE, Phase.FORWARD)
    assert trace.peak().bytes == 512 + 512 + 1024
    assert trace.peak(rounding=1).bytes == 1026


@given(st.lists(st.integers(1, 5000), min_size=1, max_size=40), st.randoms())
def test_the_parts_sum_to_the_peak(sizes: list[int], random: Random) -> None:
    trace = Trace()
    live: list[int] = []
    for size in sizes:
        part = random.choice(list(Part))
        live.append(trace.add(size, part, WHERE, Phase.FORWARD))
        if random.random() < 0.4:
            trace.release(live.pop(random.randrange(len(live))), Phase.FORWARD)
    peak = trace.peak()
    assert sum(peak.parts.values()) == peak.bytes == max(trace.walk())
