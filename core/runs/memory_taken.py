"""What a run took of the memory it trains on, beside what was predicted, as its events say it.

Bytes, all at the peak. allocated, reserved: of torch's allocator on the GPU. device: of the GPU with CUDA's
context, or of main memory. memory: resident in the worker.
"""

from dataclasses import dataclass

from finetune_tui.core.runs.events import Event
from finetune_tui.core.text import size

FIGURES = (
    *("peak_allocated", "peak_reserved", "peak_device", "peak_memory"),
    *("predicted_allocated", "predicted_reserved", "predicted_device", "predicted_band"),
)
_AS_PREDICTED = 0.005  # off by less is as predicted


@dataclass(frozen=True, slots=True)
class Taken:
    """Bytes. peak: the most that was held. predicted: for the same, with its band; None: unknown.

    of: "the GPU" or "memory". batch: what was predicted for, `2×512 tokens`; empty when that is not said.
    """

    peak: int
    predicted: int | None
    band: int | None
    of: str
    batch: str = ""

    @property
    def miss(self) -> float | None:
        """The share by which it took more than predicted, below zero less."""
        return self.peak / self.predicted - 1 if self.predicted else None

    @property
    def miss_words(self) -> str:
        """`2% more`, `as predicted`; empty when nothing was predicted."""
        miss = self.miss
        if miss is None:
            return ""
        if abs(miss) < _AS_PREDICTED:
            return "as predicted"
        return f"{100 * abs(miss):.2g}% {'more' if miss > 0 else 'less'}"

    @property
    def words(self) -> str:
        """`9.1G of the GPU at the peak, predicted 8.9G for 2×512 tokens: 2.2% more`."""
        words = f"{size(self.peak)} of {self.of} at the peak"
        if self.predicted is None:
            return words
        return f"{words}, predicted {self.predicted_words}: {self.miss_words}"

    @property
    def predicted_words(self) -> str:
        """`8.9G for 2×512 tokens`: of the longest batch there is, not of max_length."""
        return size(self.predicted or 0) + (f" for {self.batch}" if self.batch else "")


def taken(event: Event) -> Taken | None:
    """What an event `memory` or `finished` says; None when it says nothing."""
    where = "the GPU" if _bytes(event, "peak_reserved") else "memory"
    for name in ("device", "reserved"):
        if peak := _bytes(event, f"peak_{name}"):
            predicted = _bytes(event, f"predicted_{name}")
            band, batch = _bytes(event, "predicted_band"), _batch(event)
            return Taken(peak, predicted, band, where, batch)
    resident = _bytes(event, "peak_memory")  # all that earlier versions said of a run on the CPU
    return Taken(resident, None, None, "memory") if resident else None


def figures(event: Event) -> dict[str, int | None]:
    """Every figure of such an event, bytes; None where it is unknown."""
    return {name: _bytes(event, name) for name in FIGURES}


def _batch(event: Event) -> str:
    rows, tokens = _bytes(event, "rows"), _bytes(event, "tokens")
    return f"{rows}×{tokens} tokens" if rows and tokens else ""


def _bytes(event: Event, name: str) -> int | None:
    value = event.get(name)
    return value if type(value) is int and 0 < value < 2**63 else None
