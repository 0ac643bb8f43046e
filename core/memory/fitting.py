"""Fitting: which settings would make a training step fit into so many bytes, best first.

What another way beats in everything is not offered. The order: keep the length; change the fewest things;
round the base as little as can be, then the optimizer; no checkpointing before checkpointing; larger
micro-batches before smaller ones.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from finetune_tui.core.data.report import Lengths
from finetune_tui.core.memory.cards import smallest_card_for
from finetune_tui.core.memory.estimate import estimate, fits
from finetune_tui.core.memory.ways import Fit, Way, Ways
from finetune_tui.core.memory.weights import precision_of
from finetune_tui.core.models.manifest import Manifest
from finetune_tui.core.tuning.refusals import Machine
from finetune_tui.core.tuning.selection import Selection
from finetune_tui.core.tuning.spec import FIELDS, Spec

__all__ = ["Fit", "Fitting", "Largest", "fitting", "largest"]

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Fitting:
    """What fits into `budget` bytes, best first; or what comes nearest.

    nearest: None unless nothing fits. missing: bytes more that it would need to fit for certain.
    card: the smallest on which it does; None: none of those sold.
    """

    budget: int
    fits: tuple[Fit, ...]
    nearest: Fit | None
    missing: int | None
    card: str | None


@dataclass(frozen=True, slots=True)
class Largest:
    """The largest micro-batch, in rows, and the longest rows, in tokens, each with all else as it is.

    None: not even the smallest fits.
    """

    rows: int | None
    tokens: int | None


def fitting(
    manifest: Manifest,
    selection: Selection,
    spec: Spec,
    budget: int,
    context: int | None = None,
    lengths: Lengths | None = None,
    machine: Machine | None = None,
) -> Fitting:
    """Tens of milliseconds. lengths: of the data's rows, in tokens. machine: where it will run."""
    ways = Ways(manifest, selection, spec, context, lengths, machine)

    def does_fit(way: Way) -> bool:
        return bool(fits(ways.estimate(way), budget))

    found = list(_best(ways, does_fit)) or list(_shortened(ways, does_fit))
    if found:
        kept = sorted(_unbeaten(ways, found), key=ways.order)
        return Fitting(budget, tuple(ways.fit(way, budget) for way in kept), None, None, None)
    need = {way: ways.estimate(way).device + ways.estimate(way).band for way in ways.smallest()}
    least = min(need.values())
    nearest = min((way for way in need if need[way] == least), key=ways.order)
    card = smallest_card_for(ways.estimate(nearest))
    return Fitting(budget, (), ways.fit(nearest, budget), least - budget, card)


def largest(
    manifest: Manifest,
    selection: Selection,
    spec: Spec,
    budget: int,
    context: int | None = None,
    surely: bool = True,
) -> Largest:
    """By the estimate. surely: its band counts against it."""
    precision = precision_of(spec, on_gpu=True)

    def does_fit(changed: Spec) -> bool:
        made = estimate(manifest, selection, changed, precision, context)
        return made.device + (made.band if surely else 0) <= budget

    rows, tokens = FIELDS["per_device_train_batch_size"], FIELDS["max_length"]
    readable = min(int(tokens.maximum), manifest.config.context or int(tokens.maximum))
    return Largest(
        rows=_most(
            range(int(rows.minimum), int(rows.maximum) + 1),
            lambda number: does_fit(replace(spec, per_device_train_batch_size=number)),
        ),
        tokens=_most(
            range(int(tokens.minimum), max(readable, spec.max_length) + 1),
            lambda number: does_fit(replace(spec, max_length=number)),
        ),
    )


def _best(ways: Ways, does_fit: Callable[[Way], bool]) -> Iterator[Way]:
    """Of each combination, the micro-batch that is set if it fits, or the largest that does.

    And a larger one, unless something was given up for it.
    """
    for way in ways.combinations():
        if does_fit(way):
            yield way
            if ways.gives_up(way):
                continue
        most = _most_rows(ways, way, does_fit)
        if most is not None and most != way:
            yield most


def _most_rows(ways: Ways, way: Way, does_fit: Callable[[Way], bool]) -> Way | None:
    *some, all_at_once = (replace(way, rows=rows) for rows in ways.rows)
    # In one batch no gradients wait for another: it may need less than a smaller one.
    return all_at_once if does_fit(all_at_once) else _most(some, does_fit)


def _shortened(ways: Ways, does_fit: Callable[[Way], bool]) -> Iterator[Way]:
    """With everything else at its smallest, the longest rows that fit."""
    for way in ways.combinations():
        if not way.checkpointing or way.length != ways.now.length:
            continue
        for rows in dict.fromkeys((ways.rows[0], ways.rows[-1])):
            shorter = [replace(way, rows=rows, length=length) for length in ways.shorter]
            if shorter and does_fit(shorter[0]):
                yield _most(shorter, does_fit) or shorter[0]
                break


def _unbeaten(ways: Ways, found: Sequence[Way]) -> Iterator[Way]:
    """Those that no other is at least as good as in every way."""
    measured = {way: ways.measures(way) for way in found}
    for way, here in measured.items():
        beaten = any(
            there != here and all(a <= b for a, b in zip(there, here, strict=True))
            for there in measured.values()
        )
        if not beaten:
            yield way


def _most(ascending: Sequence[_T], does_fit: Callable[[_T], bool]) -> _T | None:
    """The last that fits, where none fits after one that does not."""
    at = bisect_left(ascending, True, key=lambda one: not does_fit(one))
    return ascending[at - 1] if at else None
