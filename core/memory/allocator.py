"""PyTorch's caching allocator for CUDA, replayed over a trace: how much of a card a run reserves.

Follows the documented behaviour and the constants of c10/cuda/CUDACachingAllocator.cpp with its default
settings: one stream, no expandable segments, no limit on splitting.
"""

from bisect import bisect_left, insort
from dataclasses import dataclass

from finetune_tui.core.memory.trace import Trace, rounded

MIB = 2**20

# Requests up to the first are served from segments of the second; up to the third from the fourth;
# larger ones get a segment of their own, in steps of the last.
_SMALL, _SMALL_SEGMENT = MIB, 2 * MIB
_MIDDLE, _MIDDLE_SEGMENT = 10 * MIB, 20 * MIB
_STEP = 2 * MIB


class DoesNotFit(Exception):
    """The card would be out of memory here. at: the number of the allocation."""

    def __init__(self, at: int) -> None:
        super().__init__(at)
        self.at = at


@dataclass(frozen=True, slots=True)
class Replay:
    """Bytes: the most that was allocated at once (blocks as handed out), and the most reserved."""

    allocated: int
    reserved: int


def replay(trace: Trace, limit: int | None = None) -> Replay:
    """The trace on an empty card that lets the process have `limit` bytes; None: all it asks for.

    Raises DoesNotFit when what is asked for cannot be had even after giving back all that is cached.
    """
    allocator = _Allocator(limit)
    blocks: dict[int, _Block] = {}
    allocated = most = 0
    for event in trace.events:
        if event >= 0:
            size = trace.sizes[event]
            if size:
                try:
                    block = blocks[event] = allocator.take(size)
                except MemoryError:
                    raise DoesNotFit(event) from None
                allocated += block.size
                most = max(most, allocated)
        else:
            freed = blocks.pop(~event, None)
            if freed is not None:
                allocated -= freed.size
                allocator.give(freed)
    return Replay(most, allocator.most_reserved)


class _Block:
    """A piece of a segment. before and after: its neighbours there."""

    __slots__ = ("address", "after", "before", "is_free", "is_small", "size")

    def __init__(self, address: int, size: int, is_small: bool) -> None:
        self.address = address
        self.size = size
        self.is_small = is_small
        self.is_free = False
        self.before: _Block | None = None
        self.after: _Block | None = None


class _Allocator:
    def __init__(self, limit: int | None) -> None:
        self.most_reserved = 0
        self._limit = limit
        self._reserved = 0
        self._next_address = 0
        # Free blocks by (size, address), small and large apart.
        self._free: dict[bool, list[tuple[int, int]]] = {True: [], False: []}
        self._at: dict[int, _Block] = {}

    def take(self, size: int) -> _Block:
        size = rounded(size)
        is_small = size <= _SMALL
        free = self._free[is_small]
        position = bisect_left(free, (size, -1))
        if position < len(free):
            block = self._at[free.pop(position)[1]]
        else:
            block = self._new_segment(_segment_size(size), is_small)
        block.is_free = False
        self._split(block, size)
        return block

    def give(self, block: _Block) -> None:
        before, after = block.before, block.after
        if before is not None and before.is_free:
            self._forget(before)
            before.size += block.size
            before.after = after
            if after is not None:
                after.before = before
            del self._at[block.address]
            block = before
        if after is not None and after.is_free:
            self._forget(after)
            block.size += after.size
            block.after = after.after
            if after.after is not None:
                after.after.before = block
            del self._at[after.address]
        block.is_free = True
        insort(self._free[block.is_small], (block.size, block.address))

    def _split(self, block: _Block, size: int) -> None:
        rest = block.size - size
        if rest < 512 if block.is_small else rest <= _SMALL:
            return
        other = _Block(block.address + size, rest, block.is_small)
        other.before, other.after = block, block.after
        if block.after is not None:
            block.after.before = other
        block.after, block.size = other, size
        other.is_free = True
        self._at[other.address] = other
        insort(self._free[other.is_small], (other.size, other.address))

    def _forget(self, block: _Block) -> None:
        free = self._free[block.is_small]
        del free[bisect_left(free, (block.size, block.address))]

    def _new_segment(self, size: int, is_small: bool) -> _Block:
        if self._limit is not None and self._reserved + size > self._limit:
            self._give_back_cached()
            if self._reserved + size > self._limit:
                raise MemoryError
        block = _Block(self._next_address, size, is_small)
        self._next_address += size + _STEP  # segments do not touch
        self._at[block.address] = block
        self._reserved += size
        self.most_reserved = max(self.most_reserved, self._reserved)
        return block

    def _give_back_cached(self) -> None:
        """Segments that nobody uses a part of, back to the card."""
        for is_small, free in self._free.items():
            kept = []
            for entry in free:
                block = self._at[entry[1]]
                if block.before is None and block.after is None:
                    self._reserved -= block.size
                    del self._at[block.address]
                else:
                    kept.append(entry)
            self._free[is_small] = kept


def _segment_size(size: int) -> int:
    if size <= _SMALL:
        return _SMALL_SEGMENT
    return _MIDDLE_SEGMENT if size < _MIDDLE else rounded(size, _STEP)
