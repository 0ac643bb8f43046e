"""The replayed allocator does what PyTorch documents of its own: pools, segments, splitting, best fit."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune_tui.core.memory.allocator import DoesNotFit, replay
from finetune_tui.core.memory.cards import CARDS, smallest_card
from finetune_tui.core.memory.trace import Part, Phase, Trace

MIB, GIB = 2**20, 2**30


def trace_of(*steps: int) -> Trace:
    """Positive: allocate so many bytes; negative: give back the n-th allocation, -1 the first."""
    trace = Trace()
    for step in steps:
        if step > 0:
            trace.add(step, Part.ACTIVATIONS, ("", ""), Phase.FORWARD)
        else:
            trace.release(-step - 1, Phase.FORWARD)
    return trace


@pytest.mark.parametrize(
    ("sizes", "reserved"),
    [
        ((1,), 2 * MIB),  # small ones share segments of 2 MiB
        ((MIB, MIB), 2 * MIB),
        ((MIB, MIB, 1), 4 * MIB),
        ((MIB + 1,), 20 * MIB),  # middle ones segments of 20 MiB
        ((9 * MIB, 9 * MIB), 20 * MIB),
        ((10 * MIB,), 10 * MIB),  # large ones have their own, in steps of 2 MiB
        ((11 * MIB + 1,), 12 * MIB),
    ],
)
def test_segments(sizes: tuple[int, ...], reserved: int) -> None:
    assert replay(trace_of(*sizes)).reserved == reserved


def test_a_block_is_used_again_and_merged_with_its_neighbours() -> None:
    # 4 + 4 MiB in a segment of 20; given back they are one again, and 18 MiB fit there.
    assert replay(trace_of(4 * MIB, 4 * MIB, -1, -2, 18 * MIB)).reserved == 20 * MIB


def test_the_smallest_block_that_fits_is_taken() -> None:
    # 64 and 32 MiB are free: 30 MiB goes to the smaller, so that 60 still fits the larger.
    steps = (64 * MIB, 32 * MIB, -1, -2, 30 * MIB, 60 * MIB)
    assert replay(trace_of(*steps)).reserved == 96 * MIB


def test_a_large_block_is_split_only_when_more_than_a_mebibyte_is_left() -> None:
    whole = replay(trace_of(40 * MIB, -1, 39 * MIB))
    assert (whole.allocated, whole.reserved) == (40 * MIB, 40 * MIB)
    assert replay(trace_of(40 * MIB, -1, 38 * MIB, MIB + 1)).reserved == 40 * MIB


def test_fragments_reserve_more_than_is_ever_live() -> None:
    # A longer batch after a shorter one: the block that was is too small for it.
    replayed = replay(trace_of(100 * MIB, -1, 120 * MIB))
    assert (replayed.allocated, replayed.reserved) == (120 * MIB, 220 * MIB)


def test_on_a_full_card_what_is_cached_is_given_back_first() -> None:
    trace = trace_of(100 * MIB, -1, 120 * MIB)
    assert replay(trace, limit=130 * MIB).allocated == 120 * MIB
    with pytest.raises(DoesNotFit):
        replay(trace, limit=110 * MIB)


def test_the_smallest_card_counts_the_context() -> None:
    assert smallest_card(trace_of(7 * GIB), context=GIB // 2) == "8 GB"
    assert smallest_card(trace_of(7 * GIB), context=GIB) == "12 GB"
    assert smallest_card(trace_of(200 * GIB), context=0) is None
    assert list(CARDS.values()) == sorted(CARDS.values())


@given(st.lists(st.integers(1, 64 * MIB), min_size=1, max_size=60), st.randoms())
def test_reserved_is_never_less_than_live(sizes: list[int], random: Random) -> None:
    trace = Trace()
    live = []
    for size in sizes:
        live.append(trace.add(size, Part.ACTIVATIONS, ("", ""), Phase.FORWARD))
        if random.random() < 0.5:
            trace.release(live.pop(random.randrange(len(live))), Phase.FORWARD)
    replayed = replay(trace)
    assert trace.peak().bytes <= replayed.allocated <= replayed.reserved
    assert replay(trace, limit=replayed.reserved).allocated == replayed.allocated
