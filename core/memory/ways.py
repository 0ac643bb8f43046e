"""The ways one run may be set so that it needs less memory, or is better: how good each is, and in words.

How the base is held, checkpointing, the micro-batch at the same effective batch, the optimizer's state, and
the length. What is refused anyway is no way.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from finetune_tui.core.data.report import Lengths
from finetune_tui.core.errors import UserError
from finetune_tui.core.memory.estimate import MIB, Estimate, estimate
from finetune_tui.core.memory.weights import Precision, optimizer_bytes, precision_of
from finetune_tui.core.models.manifest import Manifest
from finetune_tui.core.text import percent
from finetune_tui.core.tuning.modes import Mode
from finetune_tui.core.tuning.refusals import Machine, refuse_impossible
from finetune_tui.core.tuning.selection import Selection
from finetune_tui.core.tuning.spec import FIELDS, Spec
from finetune_tui.core.tuning.tally import tally

# The same method with its state in fewer bytes; another method would be another run.
_LEANER = {
    "adamw_torch_fused": ("adamw_8bit", "paged_adamw_8bit"),
    "adamw_torch": ("adamw_8bit", "paged_adamw_8bit"),
    "paged_adamw_32bit": ("paged_adamw_8bit",),
    "adamw_8bit": ("paged_adamw_8bit",),
    "lion_8bit": ("paged_lion_8bit",),
}
_WORTH_IT = 64 * MIB  # less is not worth another optimizer
_ROUNDED = {Precision.FP32: 0, Precision.BF16: 1, Precision.INT8: 2, Precision.NF4: 3}
_BITS = {Precision.BF16: 16, Precision.INT8: 8, Precision.NF4: 4}
_SHORTEST = 128  # tokens: hardly a row of anyone's data lives in fewer


@dataclass(frozen=True, slots=True)
class Fit:
    """One way to set the run. changes: spec key → what it would be; empty: as it is.

    words: all of it, "4bit, checkpointing on, 1 × 16". costs, gains: against what is set now, in words.
    room: bytes of the budget that are left, negative when they are missing.
    """

    changes: dict[str, Any]
    estimate: Estimate
    precision: Precision
    words: str
    costs: tuple[str, ...]
    gains: tuple[str, ...]
    room: int


@dataclass(frozen=True, slots=True)
class Way:
    """What is chosen of each that may change."""

    precision: Precision
    checkpointing: bool
    rows: int
    optim: str
    length: int


class Ways:
    """All ways to set one run, what each needs and how good it is."""

    def __init__(
        self,
        manifest: Manifest,
        selection: Selection,
        spec: Spec,
        context: int | None,
        lengths: Lengths | None,
        machine: Machine | None,
    ) -> None:
        self._manifest = manifest
        self._selection = selection
        self._spec = spec
        self._context = context
        self._lengths = lengths
        self._machine = machine
        self._estimates: dict[Way, Estimate] = {}
        self._batch = spec.per_device_train_batch_size * spec.gradient_accumulation_steps
        self.now = Way(
            precision_of(spec, on_gpu=True),
            spec.gradient_checkpointing,
            spec.per_device_train_batch_size,
            spec.optim,
            spec.max_length,
        )

    @cached_property
    def precisions(self) -> list[Precision]:
        now = self.now.precision
        offered = [one for one in Precision if one is not Precision.FP32 and one is not now]
        return [now, *(one for one in offered if not self._is_refused(precision=one))]

    @cached_property
    def optimizers(self) -> list[str]:
        """What is set, and what saves more than that."""
        held = self._held(self.now.optim)
        leaner = [
            optim
            for optim in _LEANER.get(self.now.optim, ())
            if not self._is_refused(optim=optim) and self._held(optim) <= held - _WORTH_IT
        ]
        return [self.now.optim, *leaner]

    @cached_property
    def lengths(self) -> list[int]:
        """What is set, and the longest row where that is shorter: then nothing is lost."""
        longest = -(-self._lengths.max // 8) * 8 if self._lengths else self.now.length
        if self._spec.packing or longest >= self.now.length:
            return [self.now.length]
        return [self.now.length, max(longest, int(FIELDS["max_length"].minimum))]

    @cached_property
    def shorter(self) -> list[int]:
        """Lengths that lose something, from the shortest on."""
        steps = range(_SHORTEST, self.lengths[-1], 64 if self.now.length <= 2048 else 256)
        return list(steps)

    @cached_property
    def rows(self) -> list[int]:
        """The micro-batches that give the same effective batch, from the smallest on."""
        most = min(self._batch, int(FIELDS["per_device_train_batch_size"].maximum))
        most_steps = FIELDS["gradient_accumulation_steps"].maximum
        return [
            rows
            for rows in range(1, most + 1)
            if self._batch % rows == 0 and self._batch // rows <= most_steps
        ]

    def combinations(self) -> Iterator[Way]:
        """Everything but micro-batch and shorter rows."""
        for length in self.lengths:
            for optim in self.optimizers:
                for precision in self.precisions:
                    for checkpointing in (False, True):
                        yield Way(precision, checkpointing, self.now.rows, optim, length)

    def smallest(self) -> Iterator[Way]:
        """The ways among which the one that needs least must be."""
        shortest = self.shorter[0] if self.shorter else self.lengths[-1]
        for way in self.combinations():
            for rows in {self.rows[0], self.rows[-1]}:
                yield replace(way, rows=rows, length=shortest)

    def estimate(self, way: Way) -> Estimate:
        found = self._estimates.get(way)
        if found is None:
            spec = replace(self._spec, **self.changes(way))
            found = estimate(self._manifest, self._selection, spec, way.precision, self._context)
            self._estimates[way] = found
        return found

    def changes(self, way: Way) -> dict[str, Any]:
        """The keys of the spec that would be other than they are."""
        spec = self._spec
        asked: dict[str, Any] = {}
        if way.precision is not self.now.precision:
            asked["load_in_4bit"] = way.precision is Precision.NF4
            asked["load_in_8bit"] = way.precision is Precision.INT8
            if way.precision is Precision.BF16 and (spec.use_cpu or spec.dtype == "float32"):
                asked["dtype"] = "bfloat16" if spec.use_cpu else "auto"
        asked |= {
            "gradient_checkpointing": way.checkpointing,
            "per_device_train_batch_size": way.rows,
            "gradient_accumulation_steps": self._batch // way.rows,
            "optim": way.optim,
            "max_length": way.length,
        }
        return {key: value for key, value in asked.items() if getattr(spec, key) != value}

    def measures(self, way: Way) -> tuple[float, ...]:
        """What is better when it is smaller, what matters most first."""
        now = self.now
        changed = sum(
            getattr(way, name) != getattr(now, name)
            for name in ("precision", "checkpointing", "rows", "optim", "length")
        )
        return (
            self._lost(way.length),
            changed,
            _ROUNDED[way.precision],
            self.optimizers.index(way.optim),
            way.checkpointing,
            -way.rows,
        )

    def gives_up(self, way: Way) -> bool:
        """Whether the base or the optimizer is rounded more than now, or blocks are recomputed for it."""
        return (
            _ROUNDED[way.precision] > _ROUNDED[self.now.precision]
            or way.checkpointing > self.now.checkpointing
            or way.optim != self.now.optim
        )

    def order(self, way: Way) -> tuple[float, ...]:
        return (*self.measures(way), -way.length)

    def fit(self, way: Way, budget: int) -> Fit:
        made = self.estimate(way)
        return Fit(
            changes=self.changes(way),
            estimate=made,
            precision=way.precision,
            words=self._words(way),
            costs=tuple(self._costs(way)),
            gains=tuple(self._gains(way)),
            room=budget - made.device,
        )

    def _words(self, way: Way) -> str:
        words = [
            way.precision.value,
            f"checkpointing {'on' if way.checkpointing else 'off'}",
            f"{way.rows} × {self._batch // way.rows}",
        ]
        if way.optim != self.now.optim:
            words.append(way.optim)
        if way.length != self.now.length:
            words.append(f"{way.length} tokens")
        return ", ".join(words)

    def _costs(self, way: Way) -> Iterator[str]:
        now = self.now
        if _ROUNDED[way.precision] > _ROUNDED[now.precision]:
            yield f"base rounded to {_BITS[way.precision]} bits"
        if way.checkpointing and not now.checkpointing:
            yield "a third more time"
        if way.rows < now.rows:
            yield "smaller micro-batches: slower"
        if way.optim != now.optim and "8bit" not in now.optim:
            yield "optimizer rounded to 8 bits"
        if "paged" in way.optim and "paged" not in now.optim:
            yield "optimizer waits in main memory"
        if way.length < now.length:
            yield self._length_words(way.length)

    def _gains(self, way: Way) -> Iterator[str]:
        now = self.now
        if _ROUNDED[way.precision] < _ROUNDED[now.precision]:
            yield f"base in {_BITS[way.precision]} bits"
        if now.checkpointing and not way.checkpointing:
            yield "a quarter less time"
        if way.rows > now.rows:
            yield "larger micro-batches: faster"

    def _length_words(self, length: int) -> str:
        if self._lengths is None:
            return f"cuts rows of more than {length} tokens"
        share = share_cut(self._lengths, length)
        return f"cuts up to {percent(share, 1)} of the rows" if share else "no row is longer"

    def _lost(self, length: int) -> float:
        """How much of the data a length takes away: a share of the rows, or of the tokens they may have."""
        if self._lengths is None or self._spec.packing:
            return 1 - length / self.now.length
        return share_cut(self._lengths, length) - share_cut(self._lengths, self.now.length)

    def _held(self, optim: str) -> int:
        return optimizer_bytes(self._manifest, self._selection, replace(self._spec, optim=optim))[0]

    def _is_refused(self, precision: Precision | None = None, optim: str | None = None) -> bool:
        """Whether this alone makes the run impossible."""
        way = replace(
            self.now, precision=precision or self.now.precision, optim=optim or self.now.optim
        )
        if way.precision in (Precision.INT8, Precision.NF4) and self._trains_what_is_quantised():
            return True
        before = self._refusal(self._spec)
        after = self._refusal(replace(self._spec, **self.changes(way)))
        return after is not None and after != before

    def _refusal(self, spec: Spec) -> str | None:
        try:
            refuse_impossible(spec, self._manifest, self._selection, self._machine)
        except UserError as error:
            return str(error)
        return None

    def _trains_what_is_quantised(self) -> bool:
        return any(
            choice.mode is Mode.FULL and module.is_quantisable
            for module, choice, _ in tally(self._manifest, self._selection.choices)
        )


def share_cut(lengths: Lengths, max_length: int) -> float:
    """At most this share of the rows is longer; by the bars of a histogram."""
    if lengths.max <= max_length:
        return 0.0
    longer = sum(number for upper, number in lengths.histogram if upper > max_length)
    return longer / sum(number for _, number in lengths.histogram)
