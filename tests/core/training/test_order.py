"""Which row when: by seed and epoch alone."""

import random
import time
from itertools import chain
from typing import Any, cast

import numpy as np
import pytest
import torch
from accelerate import skip_first_batches
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from finetune_tui.core.training.order import Order, longest_first

STRATEGIES = ("random", "group_by_length", "sequential")


def _order(rows: int, strategy: str, seed: int = 7, step_rows: int = 4, epoch: int = 0) -> Order:
    lengths = [(row * 37) % 101 + 1 for row in range(rows)]
    order = Order(rows, step_rows, seed, strategy, lengths, longest_first(lengths, step_rows))
    order.set_epoch(epoch)
    return order


@given(
    rows=st.integers(1, 300),
    step_rows=st.integers(1, 40),
    seed=st.integers(0, 2**31 - 1),
    epoch=st.integers(0, 3),
    strategy=st.sampled_from(STRATEGIES),
)
@settings(deadline=None, max_examples=60)
def test_every_row_once_an_epoch(
    rows: int, step_rows: int, seed: int, epoch: int, strategy: str
) -> None:
    places = list(_order(rows, strategy, seed, step_rows, epoch))
    assert sorted(places) == list(range(rows))
    assert places == list(_order(rows, strategy, seed, step_rows, epoch))


@pytest.mark.parametrize("strategy", STRATEGIES[:2])
def test_other_epochs_and_seeds_are_other_orders(strategy: str) -> None:
    found = {tuple(_order(100, strategy, seed, epoch=epoch)) for seed in (1, 2) for epoch in (0, 1)}
    assert len(found) == 4


def test_nobodys_generator_is_touched() -> None:
    random.seed(1)
    torch.manual_seed(1)
    np.random.seed(1)
    before = random.getstate(), torch.get_rng_state(), _numpy()
    list(_order(100, "group_by_length"))
    assert random.getstate() == before[0]
    assert torch.equal(torch.get_rng_state(), before[1])
    assert _numpy() == before[2]
    torch.manual_seed(2)
    assert list(_order(100, "random")) == list(_order(100, "random"))


@pytest.mark.parametrize("strategy", STRATEGIES[:2])
def test_the_first_step_has_the_longest_rows_and_no_other_epochs_does(strategy: str) -> None:
    lengths = [(row * 37) % 101 + 1 for row in range(100)]
    first = [lengths[place] for place in list(_order(100, strategy))[:4]]
    assert first == sorted(lengths, reverse=True)[:4]
    later = [lengths[place] for place in list(_order(100, strategy, epoch=1))[:4]]
    assert later != first


def test_grouped_steps_are_of_one_length_and_not_sorted_over_the_epoch() -> None:
    lengths = np.random.default_rng(1).integers(1, 1000, 4000)
    order = Order(4000, 16, 1, "group_by_length", lengths, longest_first(lengths, 16))
    steps = lengths[list(order)].reshape(-1, 16)
    assert (steps.max(1) - steps.min(1)).mean() < 40  # of a thousand; at random about 880
    assert abs(np.corrcoef(np.arange(1, 250), steps[1:].mean(1))[0, 1]) < 0.2
    assert all((step[:-1] >= step[1:]).all() for step in steps)


@pytest.mark.parametrize("epoch", [0, 2])
def test_halved_batches_are_the_same_steps(epoch: int) -> None:
    steps = []
    for rows, accumulation in ((8, 1), (4, 2), (1, 8)):
        loader: Any = DataLoader(
            cast(Any, range(50)), rows, sampler=_order(50, "random", step_rows=8, epoch=epoch)
        )
        batches = [batch.tolist() for batch in loader]
        steps.append(
            [
                sorted(chain.from_iterable(batches[i : i + accumulation]))
                for i in range(0, len(batches), accumulation)
            ]
        )
    assert steps[0] == steps[1] == steps[2]


def test_resuming_skips_without_reading_rows() -> None:
    class Rows:
        read = 0

        def __len__(self) -> int:
            return 2_000_000

        def __getitem__(self, index: int) -> int:
            Rows.read += 1
            return index

    order = Order(2_000_000, 16, 3)
    loader: Any = DataLoader(cast(Any, Rows()), 16, sampler=order)
    began = time.process_time()
    first = next(iter(skip_first_batches(loader, 100_000)))
    assert time.process_time() - began < 5
    assert Rows.read == 16
    assert first.tolist() == list(order)[1_600_000:1_600_016]


def _numpy() -> str:
    return str(np.random.get_state())
