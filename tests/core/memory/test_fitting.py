"""Fitting: what is offered fits, changes only what it says, and the best comes first."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finetune_tui.core.data.report import Lengths, lengths_of
from finetune_tui.core.memory.cards import CARDS, smallest_card_for
from finetune_tui.core.memory.estimate import GIB, Precision, estimate, fits, precision_of
from finetune_tui.core.memory.fitting import Fit, Fitting, fitting, largest
from finetune_tui.core.memory.ways import share_cut
from finetune_tui.core.models.catalog import catalog
from finetune_tui.core.tuning.presets import resolve_preset
from finetune_tui.core.tuning.refusals import Machine, refuse_impossible
from finetune_tui.core.tuning.resolve import selection_of, with_selection
from finetune_tui.core.tuning.selection import Selection
from finetune_tui.core.tuning.spec import Spec

MANIFEST = catalog()["meta-llama/Llama-3.2-1B"].manifest()
SELECTIONS = {
    preset: resolve_preset(preset, MANIFEST).selection
    for preset in ("all-linear", "attention-qv", "full")
}
UNCHANGED = ("lora_r", "learning_rate", "preset", "modules", "seed", "chunked_loss")

specs = st.builds(
    Spec,
    per_device_train_batch_size=st.sampled_from([1, 2, 3, 8, 16]),
    gradient_accumulation_steps=st.sampled_from([1, 2, 5, 8]),
    max_length=st.sampled_from([64, 512, 1024, 3000]),
    gradient_checkpointing=st.booleans(),
    optim=st.sampled_from(["adamw_torch_fused", "adamw_8bit", "paged_adamw_32bit", "sgd"]),
    dtype=st.sampled_from(["auto", "float32", "bfloat16"]),
    load_in_4bit=st.booleans(),
    packing=st.booleans(),
    use_cpu=st.just(False),
)
budgets = st.floats(0.5, 40).map(lambda gib: int(gib * GIB))
lengths = st.none() | st.lists(st.integers(1, 4000), min_size=1, max_size=50).map(
    lambda rows: lengths_of(rows, "tokens")
)


def ways(spec: Spec, selection: Selection, longest: tuple[int, ...]) -> Iterator[tuple[Spec, int]]:
    """Everything that could have been offered, one by one: the spec, and what it surely needs."""
    batch = spec.per_device_train_batch_size * spec.gradient_accumulation_steps
    for precision, checkpointing, rows, length in product(
        ({}, {"load_in_4bit": True}, {"load_in_8bit": True, "load_in_4bit": False}),
        (False, True),
        (rows for rows in range(1, batch + 1) if batch % rows == 0),
        longest,
    ):
        changed = spec.changed(
            **precision,
            gradient_checkpointing=checkpointing,
            per_device_train_batch_size=rows,
            gradient_accumulation_steps=batch // rows,
            max_length=length,
        )
        try:
            selection_of(with_selection(changed, selection, MANIFEST), MANIFEST)
        except Exception:
            continue
        made = estimate(MANIFEST, selection, changed, precision_of(changed, True))
        yield changed, made.device + made.band


def check(fit: Fit, spec: Spec, selection: Selection) -> Spec:
    """That it says what it is; the spec it means."""
    changed = spec.changed(**fit.changes)
    assert all(getattr(spec, key) != value for key, value in fit.changes.items())
    assert all(getattr(changed, key) == getattr(spec, key) for key in UNCHANGED)
    before = spec.per_device_train_batch_size * spec.gradient_accumulation_steps
    after = changed.per_device_train_batch_size * changed.gradient_accumulation_steps
    assert after == before
    assert fit.precision is precision_of(changed, on_gpu=True)
    assert fit.estimate == estimate(MANIFEST, selection, changed, fit.precision)
    rows, steps = changed.per_device_train_batch_size, changed.gradient_accumulation_steps
    assert f"{rows} × {steps}" in fit.words
    assert fit.words.startswith(fit.precision.value)
    assert bool(fit.changes) == bool(fit.costs or fit.gains)
    refuse_impossible(changed, MANIFEST, selection)
    selection_of(with_selection(changed, selection, MANIFEST), MANIFEST)
    return changed


def things_changed(fit: Fit) -> int:
    """How the base is held, and how a batch is split, are each one thing."""
    one_thing = {"load_in_8bit": "load_in_4bit", "dtype": "load_in_4bit"}
    one_thing["gradient_accumulation_steps"] = "per_device_train_batch_size"
    return len({one_thing.get(key, key) for key in fit.changes})


@given(specs, st.sampled_from(sorted(SELECTIONS)), budgets, lengths)
@settings(max_examples=20, deadline=None)
def test_what_is_offered_fits_and_what_is_nearest_misses_by_least(
    spec: Spec, preset: str, budget: int, rows: Lengths | None
) -> None:
    selection = SELECTIONS[preset]
    if preset == "full":
        spec = replace(spec, load_in_4bit=False)
    found = fitting(MANIFEST, selection, spec, budget, lengths=rows)
    assert found.budget == budget
    whole = {need for _, need in ways(spec, selection, (spec.max_length,))}
    for fit in found.fits:
        check(fit, spec, selection)
        assert fits(fit.estimate, budget)
        assert fit.room == budget - fit.estimate.device > 0
    assert len({str(fit.changes) for fit in found.fits}) == len(found.fits)
    shorter = [fit for fit in found.fits if "cuts" in " ".join(fit.costs)]
    if min(whole) <= budget:
        assert found.fits
        assert not shorter
    now = estimate(MANIFEST, selection, spec, precision_of(spec, True))
    assert bool(found.fits and not found.fits[0].changes) == bool(fits(now, budget))
    if found.fits:
        assert (found.nearest, found.missing, found.card) == (None, None, None)
        return
    assert found.nearest is not None
    changed = check(found.nearest, spec, selection)
    need = found.nearest.estimate.device + found.nearest.estimate.band
    assert found.missing == need - budget > 0
    assert found.card == smallest_card_for(found.nearest.estimate)
    least = min(need for _, need in ways(spec, selection, (spec.max_length, changed.max_length)))
    assert need <= least


@given(specs, budgets)
@settings(max_examples=15, deadline=None)
def test_the_order_is_always_the_same_and_more_room_never_takes_the_best_away(
    spec: Spec, budget: int
) -> None:
    selection = SELECTIONS["all-linear"]
    first = fitting(MANIFEST, selection, spec, budget)
    assert first == fitting(MANIFEST, selection, spec, budget)
    more = fitting(MANIFEST, selection, spec, budget + 8 * GIB)
    if first.fits:
        assert more.fits
        assert things_changed(more.fits[0]) <= things_changed(first.fits[0])


def on(card: str, **values: Any) -> Fitting:
    manifest = catalog()["meta-llama/Llama-3.1-8B"].manifest()
    selection = resolve_preset("structured-output", manifest).selection
    return fitting(manifest, selection, Spec().changed(**values), CARDS[card])


def test_an_8b_model_on_cards_of_every_size() -> None:
    words = {card: [fit.words for fit in on(card).fits] for card in CARDS}
    assert words["8 GB"] == ["4bit, checkpointing on, 1 × 16"]
    assert words["16 GB"][0] == "8bit, checkpointing on, 2 × 8"
    assert words["24 GB"][0] == "bf16, checkpointing on, 2 × 8"
    assert words["80 GB"][0] == "bf16, checkpointing off, 2 × 8"
    assert not on("80 GB").fits[0].changes


def test_quality_and_speed_come_back_where_there_is_room() -> None:
    found = on("80 GB", load_in_4bit=True, gradient_checkpointing=True)
    by_words = {fit.words: fit for fit in found.fits}
    assert not found.fits[0].changes
    better = by_words["bf16, checkpointing off, 2 × 8"]
    assert better.changes == {"load_in_4bit": False, "gradient_checkpointing": False}
    assert better.gains == ("base in 16 bits", "a quarter less time")
    assert better.costs == ()
    assert "larger micro-batches: faster" in by_words["4bit, checkpointing on, 16 × 1"].gains


def test_shorter_rows_are_the_last_resort() -> None:
    found = on("8 GB", max_length=8192)
    assert found.fits
    for fit in found.fits:
        assert fit.changes["gradient_checkpointing"] is True
        assert fit.changes["per_device_train_batch_size"] == 1
        length = fit.changes["max_length"]
        assert f"cuts rows of more than {length} tokens" in fit.costs


def test_with_known_lengths_it_says_how_many_rows_are_cut() -> None:
    manifest = catalog()["meta-llama/Llama-3.1-8B"].manifest()
    selection = resolve_preset("structured-output", manifest).selection
    spec = Spec(max_length=8192, load_in_4bit=True, gradient_checkpointing=True)
    rows = lengths_of([100] * 90 + [8000] * 10, "tokens")
    found = fitting(manifest, selection, spec, CARDS["8 GB"], lengths=rows)
    assert all("cuts up to 10% of the rows" in fit.costs for fit in found.fits)
    short = lengths_of([100] * 90 + [700] * 10, "tokens")
    (fit, *_) = fitting(manifest, selection, spec, CARDS["8 GB"], lengths=short).fits
    assert fit.changes["max_length"] == 704
    assert "no row is longer" in fit.costs


def test_the_share_cut_is_never_told_too_small() -> None:
    numbers = [3, 50, 51, 52, 900, 901, 4000]
    summary = lengths_of(numbers, "tokens")
    for length in (2, 3, 51, 899, 900, 3999, 4000, 5000):
        share = sum(number > length for number in numbers) / len(numbers)
        assert share_cut(summary, length) >= share
    assert share_cut(summary, 4000) == 0


def test_where_nothing_fits_a_card_that_would_do_is_named() -> None:
    manifest = catalog()["Qwen/Qwen3-30B-A3B"].manifest()
    selection = resolve_preset("structured-output", manifest).selection
    found = fitting(manifest, selection, Spec(), CARDS["24 GB"])
    assert found.fits == ()
    assert found.nearest is not None
    assert found.card == "80 GB"
    assert fits(found.nearest.estimate, CARDS["80 GB"])


def test_what_the_machine_cannot_do_is_not_offered() -> None:
    machine = Machine(on_gpu=True, has_package=lambda name: name != "bitsandbytes")
    for budget in (3 * GIB, 8 * GIB, 30 * GIB):
        found = fitting(MANIFEST, SELECTIONS["all-linear"], Spec(), budget, machine=machine)
        offered = [*found.fits, *([found.nearest] if found.nearest else [])]
        assert all(fit.precision is Precision.BF16 for fit in offered)
        assert not any("optim" in fit.changes for fit in offered)


def test_full_training_is_never_offered_a_quantised_base() -> None:
    selection = SELECTIONS["full"]
    found = fitting(MANIFEST, selection, Spec(), 20 * GIB)
    assert found.fits
    assert {fit.precision for fit in found.fits} == {Precision.BF16}
    assert "adamw_8bit" in {fit.changes.get("optim") for fit in found.fits}


@given(specs, budgets)
@settings(max_examples=15, deadline=None)
def test_the_largest_batch_and_length_fit_and_one_more_does_not(spec: Spec, budget: int) -> None:
    selection = SELECTIONS["all-linear"]
    precision = precision_of(spec, on_gpu=True)

    def does_fit(**values: int) -> bool:
        made = estimate(MANIFEST, selection, spec.changed(**values), precision)
        return bool(fits(made, budget))

    found = largest(MANIFEST, selection, spec, budget)
    rows, tokens = found.rows or 0, found.tokens or 7
    assert found.rows is None or does_fit(per_device_train_batch_size=rows)
    assert rows == 4096 or not does_fit(per_device_train_batch_size=rows + 1)
    assert found.tokens is None or does_fit(max_length=tokens)
    assert tokens >= (MANIFEST.config.context or 0) or not does_fit(max_length=tokens + 1)


def test_it_is_quick() -> None:
    import time

    manifest = catalog()["meta-llama/Llama-3.1-8B"].manifest()
    selection = resolve_preset("structured-output", manifest).selection
    begun = time.process_time()
    fitting(manifest, selection, Spec(lora_r=17), CARDS["16 GB"])
    assert time.process_time() - begun < 1.0  # some 50 ms on a quiet machine


@pytest.mark.parametrize("budget", [-GIB, 0, 1])
def test_no_room_at_all(budget: int) -> None:
    found = fitting(MANIFEST, SELECTIONS["all-linear"], Spec(), budget)
    assert found.nearest is not None
    assert found.missing is not None
    assert found.missing > 0
    assert largest(MANIFEST, SELECTIONS["all-linear"], Spec(), budget).rows is None
