"""In which order rows are trained on: by seed and epoch alone, however many are taken at once.

A resumed run, and one that goes on with fewer rows at once, draws the same rows in every optimizer step.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import Sampler

_GROUP = 50  # steps whose rows are sorted by length together
_AT_ONCE = 2**12  # places turned into Python's numbers at a time


class Order(Sampler[int]):
    """Every place from 0 to `rows` - 1 once an epoch.

    step_rows: rows of an optimizer step. strategy: "random"; "group_by_length", where a step has rows
    of about one length, longest first; "sequential". lengths: of all rows, for group_by_length.
    longest: places of the longest rows, longest first, which make the first step of a run, so that memory
    peaks there; not with "sequential".
    """

    def __init__(
        self,
        rows: int,
        step_rows: int,
        seed: int,
        strategy: str = "random",
        lengths: Any = None,
        longest: Sequence[int] = (),
    ) -> None:
        self._rows = rows
        self._step_rows = step_rows
        self._seed = seed
        self._strategy = strategy
        self._lengths = lengths
        self._longest = longest
        self._epoch = 0

    def __len__(self) -> int:
        return self._rows

    def set_epoch(self, epoch: int) -> None:
        self._epoch = epoch

    def __iter__(self) -> Iterator[int]:
        places = self._places()
        for start in range(0, len(places), _AT_ONCE):
            yield from places[start : start + _AT_ONCE].tolist()

    def _places(self) -> torch.Tensor:
        """int32 of shape (rows,): 4 bytes a row, whatever their number."""
        if self._strategy == "sequential":
            return torch.arange(self._rows, dtype=torch.int32)
        generator = torch.Generator().manual_seed(_mixed(self._seed, self._epoch))
        places = torch.randperm(self._rows, generator=generator, dtype=torch.int32)
        first = torch.tensor(list(self._longest[: self._step_rows]), dtype=torch.int32)
        if self._epoch == 0 and len(first):
            is_first = torch.zeros(self._rows, dtype=torch.bool)
            is_first[first] = True
            places = places[~is_first[places]]
        if self._strategy == "group_by_length" and self._lengths is not None:
            places = self._grouped(places, self._lengths, generator)
        return torch.cat([first, places]) if self._epoch == 0 else places

    def _grouped(
        self, places: torch.Tensor, lengths: Any, generator: torch.Generator
    ) -> torch.Tensor:
        """Sorted by length within groups of steps; then whole steps are shuffled."""
        size = self._step_rows
        of = _tensor(lengths)
        for group in places.split(size * _GROUP):
            longest_first = of[group].sort(descending=True, stable=True).indices
            group.copy_(group[longest_first])
        whole = len(places) // size
        steps = places[: whole * size].view(whole, size)
        shuffled = steps[torch.randperm(whole, generator=generator)].flatten()
        return torch.cat([shuffled, places[whole * size :]])


def longest_first(lengths: Any, most: int) -> list[int]:
    """Places of the `most` longest rows, longest first."""
    return list(_tensor(lengths).sort(descending=True, stable=True).indices[:most].tolist())


def _tensor(lengths: Any) -> torch.Tensor:
    return torch.from_numpy(np.asarray(lengths, dtype=np.int32))


def _mixed(seed: int, epoch: int) -> int:
    """One seed of two numbers: epoch 1 of seed 1 is not epoch 0 of seed 2."""
    return (seed * 1_000_003 + epoch) % 2**63
