"""estimate: what a training step takes, whether it fits, what would fit; and the same, simulated."""

import argparse
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from finetune_tui.core.calls.client import inspect_folder
from finetune_tui.core.data.token_report import TokenReport
from finetune_tui.core.errors import UserError
from finetune_tui.core.hardware import Gpu, Hardware, read_hardware
from finetune_tui.core.memory.calibration import context_for
from finetune_tui.core.memory.cards import CARDS, card_named
from finetune_tui.core.memory.estimate import (
    GIB,
    MIB,
    Estimate,
    Precision,
    Verdict,
    estimate_all,
    precision_of,
    verdict,
)
from finetune_tui.core.memory.fitting import Fit, Fitting, fitting
from finetune_tui.core.memory.simulated import MOST_TOKENS, Simulation
from finetune_tui.core.memory.simulating import SimulationQuestion, ask_simulation
from finetune_tui.core.models.manifest import Manifest
from finetune_tui.core.models.resolve import find_model, load_manifest
from finetune_tui.core.runs.home import find_home
from finetune_tui.core.text import count, percent, size
from finetune_tui.core.tuning.counting import trained_numbers
from finetune_tui.core.tuning.resolve import selection_of
from finetune_tui.core.tuning.selection import Selection
from finetune_tui.core.tuning.spec import FIELDS, Spec, demo_spec
from finetune_tui.tui.commands.models import pairs
from finetune_tui.tui.counting import ask_tokens, question_of
from finetune_tui.tui.output import ProgressLine, say, say_json, say_table

_PARTS = (
    *("weights", "adapters", "gradients", "optimizer"),
    *("activations", "logits", "workspace", "context"),
)


@dataclass(frozen=True, slots=True)
class _Place:
    """Where it would run. free: bytes, None where nothing is known of it. context: as measured there."""

    name: str | None
    free: int | None
    gpu: Gpu | None = None
    context: int | None = None


def estimate(options: argparse.Namespace) -> int:
    """Memory of a training step at every precision, against the GPU that is here or a card named."""
    reference = find_model(options.model)
    manifest = load_manifest(reference, inspect_folder)
    spec = _spec(options, demo_spec() if reference.kind == "demo" else Spec(), reference.name)
    asks_nothing = not (spec.preset or spec.modules or options.simulate)
    selection = Selection() if asks_nothing else selection_of(spec, manifest)
    place = _place(options, spec)
    if options.fit and place.free is None:
        raise UserError(
            "no GPU here to fit into", where="--fit", hint="name a card as well: --gpu 24"
        )
    data = _count_data(spec, manifest) if options.data else None
    estimates = estimate_all(manifest, selection, spec, place.context)
    fit = None
    if options.fit and place.free is not None:
        lengths = data.lengths if data else None
        fit = fitting(manifest, selection, spec, place.free, place.context, lengths)
    longest = data.lengths.max if data else None
    simulation = _simulate(spec, place, longest) if options.simulate else None
    trainable = trained_numbers(manifest, selection, spec)
    if options.json:
        answer = {
            "model": manifest.model,
            "preset": spec.preset,
            "trainable_parameters": trainable,
            "settings": {key: getattr(spec, key) for key in FIELDS if key != "modules"},
            "precision": precision_of(spec, on_gpu=True),
            "precisions": {
                key: _estimate_json(made, place.free) for key, made in estimates.items()
            },
            "gpu": asdict(place.gpu) if place.gpu else None,
            "budget": {"name": place.name, "bytes": place.free},
            "longest_row": longest,
            "fitting": _fitting_json(fit) if fit else None,
            "simulation": simulation.to_json() if simulation else None,
        }
        say_json(answer)
        return 0
    say(
        f"{manifest.model}, {spec.preset or 'no preset'}: trains {count(trainable)} "
        f"({percent(trainable, manifest.parameters)}) at {spec.per_device_train_batch_size} × "
        f"{spec.max_length} tokens\n"
    )
    _say_estimates(estimates, spec, place)
    if fit:
        _say_fitting(fit)
    if simulation:
        _say_simulation(simulation, estimates[simulation.precision], spec, longest)
    return 0


def verdict_words(made: Estimate, free: int) -> str:
    """'fits with 3.1 GiB to spare', 'does not fit: 2.4 GiB too much', or neither for certain."""
    room = free - made.device
    match verdict(made, free):
        case Verdict.FITS:
            return f"fits with {_gib(room)} to spare"
        case Verdict.NO:
            return f"does not fit: {_gib(-room)} too much"
    return f"may fit: within the uncertainty of {_gib(made.band)}"


def _spec(options: argparse.Namespace, base: Spec, model: str) -> Spec:
    """What was asked. Raises UserError."""
    asked = pairs(options.set)
    spec = base.changed(
        **({"preset": options.preset} if options.preset else {}),
        **asked,
        model_name_or_path=model,
        **({"train_files": options.data} if options.data else {}),
    )
    if options.gpu is None or not spec.use_cpu:
        return spec
    if "use_cpu" in asked:
        raise UserError("both --gpu and use_cpu are set", where="--gpu", hint="keep one")
    return spec.changed(use_cpu=False)  # as the demo would train on a card


def _place(options: argparse.Namespace, spec: Spec) -> _Place:
    """The card named, else the GPU or the memory of this machine."""
    hardware = read_hardware(Path.cwd())
    gpu = _gpu_of(hardware, spec)
    if options.gpu is not None:
        card = card_named(options.gpu)
        return _Place(f"A card of {card}", CARDS[card], gpu)
    if spec.use_cpu:
        return _Place("This machine's memory", hardware.memory_available, gpu)
    if gpu is None:
        return _Place(None, None)
    return _Place(gpu.name or "the GPU", gpu.free, gpu, context_for(find_home(options.home), gpu))


def _gpu_of(hardware: Hardware, spec: Spec) -> Gpu | None:
    """The first the spec names, or the first there is."""
    for uuid in spec.gpus[:1]:
        return next((gpu for gpu in hardware.gpus if (gpu.uuid or "").startswith(uuid)), None)
    return next(iter(hardware.gpus), None)


def _count_data(spec: Spec, manifest: Manifest) -> TokenReport:
    question = question_of(spec, manifest)
    line = ProgressLine()
    try:
        return TokenReport.from_json(question, ask_tokens(question, line.show, examples=0))
    finally:
        line.clear()


def _simulate(spec: Spec, place: _Place, longest: int | None) -> Simulation:
    """longest: tokens of the data's longest row; None: as many as a row may have."""
    batches: tuple[tuple[int, int], ...] = ()
    if longest is not None and not spec.packing:
        batch = (spec.per_device_train_batch_size, min(longest, spec.max_length))
        # From the second micro-batch on, the gradients of those before are there.
        batches = (batch,) * min(spec.gradient_accumulation_steps, 2)
    question = SimulationQuestion(spec, place.free, place.context, batches)
    line = ProgressLine()
    line.show("starting")
    try:
        return ask_simulation(question, line.show)
    finally:
        line.clear()


def _say_estimates(estimates: dict[Precision, Estimate], spec: Spec, place: _Place) -> None:
    now = precision_of(spec, on_gpu=True)
    free = place.free
    say_table(
        ("PRECISION", "DEVICE", "±", "FITS", *(part.upper() for part in _PARTS)),
        (
            (
                precision.value,
                size(made.device),
                size(made.band),
                verdict(made, free) or "?",
                *(size(getattr(made.breakdown, part)) for part in _PARTS),
            )
            for precision, made in estimates.items()
        ),
        right=frozenset(range(1, 12)) - {3},
    )
    if free is None:
        where = f"Unknown how much of {place.name} is free." if place.name else "No GPU here."
        say(f"\n{where} --gpu 24 compares with a card.")
        return
    say(f"\n{place.name}: {_gib(free)} free.")
    say(f"As set, {now.value}: {verdict_words(estimates[now], free)}.")


def _say_fitting(found: Fitting) -> None:
    if found.nearest is not None and found.missing is not None:
        say("\nNothing fits for certain. Nearest:")
        _say_fits((found.nearest,))
        card = f"a card of {found.card} would do" if found.card else "no single card would do"
        say(f"It needs {_gib(found.missing)} more to be sure of it; {card}.")
        return
    say("\nWhat fits, best first:")
    _say_fits(found.fits)


def _say_fits(found: tuple[Fit, ...]) -> None:
    widest = max(len(fit.words) for fit in found)
    for number, fit in enumerate(found, 1):
        device, band = size(fit.estimate.device), size(fit.estimate.band)
        left = f"{_gib(fit.room)} to spare" if fit.room >= 0 else f"{_gib(-fit.room)} too much"
        say(f"{number}  {fit.words.ljust(widest)}  {device:>5} ± {band}, {left}")
        say(f"   {'; '.join((*fit.gains, *fit.costs)) or 'as it is'}")
        if fit.changes:
            changes = (f"{key}={_written(value)}" for key, value in fit.changes.items())
            say(f"   --set {' '.join(changes)}")


def _say_simulation(found: Simulation, made: Estimate, spec: Spec, longest: int | None) -> None:
    say(f"\nSimulated at {found.precision.value}:")
    if longest is not None:
        say(f"batches    of the longest row, {longest:,} tokens")
    say(f"allocated  {_gib(found.allocated)}; the estimate says {_gib(made.allocated)}")
    say(f"reserved   {_gib(found.reserved)}; the estimate says {_gib(made.reserved)}")
    say(f"device     {_gib(found.device)}{_simulated_verdict(found)}")
    say(f"peak       {found.peak_words}")
    phases = ", ".join(f"{phase} {size(most)}" for phase, most in found.phases.items())
    say(f"phases     {phases}")
    if found.card:
        say(f"card       {found.card} is the smallest that would do")
    if found.largest is not None:
        say(f"largest    {_largest_words(found.largest, spec)}")


def _largest_words(largest: Mapping[str, int | None], spec: Spec) -> str:
    rows, tokens = largest["rows"], largest["tokens"]
    more = " or more" if rows and (rows + 1) * spec.max_length > MOST_TOKENS else ""
    words = [
        f"{rows:,} rows at once{more}" if rows else "not a single row",
        f"rows of {tokens:,} tokens" if tokens else "no length at all",
    ]
    return ", or ".join(words)


def _simulated_verdict(found: Simulation) -> str:
    if found.budget is None:
        return ""
    if found.fits:
        return f"; fits with {_gib(max(found.budget - found.device, 0))} to spare"
    return f"; does not fit into {_gib(found.budget)}"


def _estimate_json(made: Estimate, free: int | None) -> dict[str, Any]:
    return made.to_json(free) | {"band": made.band, "verdict": verdict(made, free)}


def _fitting_json(found: Fitting) -> dict[str, Any]:
    return {
        "budget": found.budget,
        "fits": [_fit_json(fit) for fit in found.fits],
        "nearest": _fit_json(found.nearest) if found.nearest else None,
        "missing": found.missing,
        "card": found.card,
    }


def _fit_json(fit: Fit) -> dict[str, Any]:
    return {
        "changes": fit.changes,
        "words": fit.words,
        "precision": fit.precision,
        "device": fit.estimate.device,
        "band": fit.estimate.band,
        "room": fit.room,
        "gains": list(fit.gains),
        "costs": list(fit.costs),
    }


def _written(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _gib(number: float) -> str:
    """'8.9 GiB', '176 MiB'."""
    return f"{number / GIB:.1f} GiB" if number >= GIB else f"{number / MIB:.0f} MiB"
