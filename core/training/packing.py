"""Several rows in one sequence: best fit of whole rows, none of which sees another.

Attention is kept apart by positions that begin again at every row, which the models' mask code recognises
only where no attention mask is given and nothing is cached.
"""

from bisect import bisect_left, insort
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

_AT_ONCE = 2**16  # rows turned into Python's numbers at a time


class Packs:
    """Which rows lie together: pack number → places of its rows. 4 bytes a row, 8 a pack.

    most: tokens of a pack; no row may be longer, nor empty. lengths: tokens of each pack.
    """

    def __init__(self, lengths: Sequence[int], most: int) -> None:
        of_rows = np.asarray(lengths, dtype=np.uint32)
        pack_of = _best_fit(of_rows, most)
        self._rows = np.argsort(pack_of, kind="stable").astype(np.uint32)
        self._begins = np.concatenate([[0], np.cumsum(np.bincount(pack_of))])
        self.lengths = np.add.reduceat(of_rows[self._rows], self._begins[:-1])

    def __len__(self) -> int:
        return len(self._begins) - 1

    def __getitem__(self, pack: int) -> list[int]:
        found: list[int] = self._rows[self._begins[pack] : self._begins[pack + 1]].tolist()
        return found


def _best_fit(lengths: Any, most: int) -> Any:
    """Longest rows first, each into the pack that it fills best. Returns each row's pack, uint32."""
    pack_of = np.empty(len(lengths), dtype=np.uint32)
    with_room: dict[int, list[int]] = {}  # room left → packs with that room
    rooms: list[int] = []  # those there are, sorted
    packs = 0
    for rows, their_lengths in _longest_first(lengths):
        chosen = []
        for length in their_lengths:
            at = bisect_left(rooms, length)
            if at == len(rooms):
                pack, room = packs, most
                packs += 1
            else:
                room = rooms[at]
                pack = with_room[room].pop()
                if not with_room[room]:
                    del with_room[room], rooms[at]
            chosen.append(pack)
            if left := room - length:
                if left not in with_room:
                    with_room[left] = []
                    insort(rooms, left)
                with_room[left].append(pack)
        pack_of[rows] = chosen
    return pack_of


def _longest_first(lengths: Any) -> Iterator[tuple[Any, list[int]]]:
    order = np.argsort(lengths, kind="stable")[::-1]
    for start in range(0, len(order), _AT_ONCE):
        rows = order[start : start + _AT_ONCE]
        yield rows, lengths[rows].tolist()
