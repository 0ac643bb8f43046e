"""Rows as tokens: all of them in memory, or each when it is asked for."""

from array import array
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from torch.utils.data import Dataset

from finetune_tui.core.data.rows import BadRow, BadRowError, NotARowError, Row
from finetune_tui.core.data.source import Rows
from finetune_tui.core.data.tokens import TokenRow
from finetune_tui.core.errors import UserError
from finetune_tui.core.training.batches import Example
from finetune_tui.core.training.order import Order, longest_first
from finetune_tui.core.training.packing import Packs

_MOST_TRIED = 1000  # unusable rows in a row before there seems to be no usable one
_GUESSED = 10_000  # rows among which the longest are looked for

Tokenise = Callable[[Row], TokenRow]
"""A row's tokens, some of which train. Raises UserError."""


class StoredRows(Sequence[Example]):
    """Tokenised rows, 5 bytes a token and 20 a row. lengths: tokens of each."""

    def __init__(self, source: Rows) -> None:
        self._source = source
        self._ids = array("i")
        self._trains = bytearray()
        self._begins = array("Q", [0])
        self._places = array("I")

    def add(self, place: int, row: TokenRow) -> None:
        """place: of the row in its source."""
        self._ids += row.ids
        self._trains += row.trained_mask
        self._begins.append(len(self._ids))
        self._places.append(place)

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: Any) -> Any:
        begin, end = self._begins[index], self._begins[index + 1]
        return Example(
            np.frombuffer(self._ids[begin:end], dtype=np.int32),
            np.frombuffer(self._trains[begin:end], dtype=np.uint8),
            self._source.where(self._places[index]),
        )

    @property
    def lengths(self) -> Any:
        return np.diff(np.frombuffer(self._begins, dtype=np.uint64)).astype(np.int32)

    @property
    def most_trained(self) -> int:
        """Trained tokens of the row that has most."""
        rows = (self._trains[a:b] for a, b in zip(self._begins, self._begins[1:], strict=False))
        return max((row.count(1) for row in rows), default=0)


class LazyRows(Sequence[Example]):
    """Rows of a file too large to be tokenised before: in place of an unusable row stands the next usable.

    say: called once for each row that is left out.
    """

    def __init__(
        self, source: Rows, tokenise: Tokenise, say: Callable[[BadRow], None], strict: bool
    ) -> None:
        self._source = source
        self._tokenise = tokenise
        self._say = say
        self._strict = strict
        self._said: set[int] = set()

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: Any) -> Any:
        """Raises UserError when there seems to be no usable row, or when an unusable one is an error."""
        for tried in range(min(_MOST_TRIED, len(self))):
            place = (index + tried) % len(self)
            row = self.tokens(place)
            if row is not None:
                return Example(
                    np.frombuffer(row.ids, dtype=np.int32),
                    np.frombuffer(row.trained_mask, dtype=np.uint8),
                    self._source.where(place),
                )
        raise UserError(
            f"{_MOST_TRIED} rows from here on cannot be trained on", where=self._source.where(index)
        )

    def tokens(self, place: int) -> TokenRow | None:
        """The row at this very place, None when it is unusable."""
        try:
            return self._tokenise(self._source[place])
        except (UserError, NotARowError) as error:
            if self._strict:
                raise
            if place not in self._said:
                self._said.add(place)
                self._say(bad_row(self._source, place, error))
            return None

    def longest(self, most: int) -> list[int]:
        """A guess by bytes, among rows drawn evenly."""
        drawn = self._source.sample(_GUESSED)
        sizes = [self._source.bytes_of(place) for place in drawn]
        return [drawn[number] for number in longest_first(sizes, most)]


class TrainRows(Dataset):
    """Sequences to train on, as Trainer takes them, and the order in which it takes them.

    packs: which rows make one sequence; without, every row is its own. lengths: tokens of the rows,
    where they are known. usable: places of the rows, where not all are.
    """

    def __init__(
        self,
        rows: "StoredRows | LazyRows",
        seed: int = 0,
        strategy: str = "random",
        lengths: Sequence[int] | None = None,
        usable: Sequence[int] | None = None,
        pack_to: int | None = None,
    ) -> None:
        self._rows = rows
        self._seed = seed
        self._strategy = strategy
        self._usable = usable
        self._packs = Packs(lengths, pack_to) if pack_to and lengths is not None else None
        self.lengths: Any = self._packs.lengths if self._packs else lengths

    def __len__(self) -> int:
        if self._packs is not None:
            return len(self._packs)
        return len(self._rows) if self._usable is None else len(self._usable)

    def __getitem__(self, index: int) -> list[Example]:
        places = [index] if self._packs is None else self._packs[index]
        usable = self._usable
        return [self._rows[place if usable is None else usable[place]] for place in places]

    def order(self, step_rows: int) -> Order:
        """The sampler of a training whose optimizer steps take so many sequences."""
        longest: Sequence[int] = ()
        if self.lengths is not None:
            longest = longest_first(self.lengths, step_rows)
        elif isinstance(self._rows, LazyRows):
            longest = self._rows.longest(step_rows)
        return Order(len(self), step_rows, self._seed, self._strategy, self.lengths, longest)


def bad_row(source: Rows, place: int, error: UserError | NotARowError) -> BadRow:
    """Which row cannot be used, and why."""
    if isinstance(error, BadRowError):
        return error.bad
    path, _, line = source.where(place).rpartition(":")
    words = error.message if isinstance(error, UserError) else str(error)
    return BadRow(type(source.files[0])(path), int(line), words)
