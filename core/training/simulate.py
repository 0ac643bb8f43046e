"""The calls of the simulation: a spec on its model at full depth, and the probe of a few blocks."""

import copy
import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from transformers import AutoConfig

from finetune_tui.core import demo
from finetune_tui.core.errors import UserError
from finetune_tui.core.memory.cards import runs
from finetune_tui.core.memory.estimate import CUDA_CONTEXT, WORKER_ON_CPU
from finetune_tui.core.memory.fitting import Largest, largest
from finetune_tui.core.memory.simulated import MOST_TOKENS, Simulation
from finetune_tui.core.memory.trace import Phase, Trace
from finetune_tui.core.memory.weights import Precision, precision_of
from finetune_tui.core.models.catalog import CatalogEntry
from finetune_tui.core.models.inspection import inspect_config, read_config
from finetune_tui.core.models.manifest import Manifest
from finetune_tui.core.models.resolve import ModelReference, config_folder, find_model
from finetune_tui.core.text import size
from finetune_tui.core.training.simulated_model import simulated_model
from finetune_tui.core.training.simulation import Steps, trace_steps
from finetune_tui.core.tuning.resolve import selection_of
from finetune_tui.core.tuning.selection import Selection
from finetune_tui.core.tuning.spec import Spec
from finetune_tui.core.tuning.spec_file import parse_spec

_PROBED = 3, 4  # blocks; with two, the peak of a phase may be another than with many


def simulate_call(params: dict[str, Any], progress: Any) -> dict[str, Any]:
    """The call `simulate`: a `SimulationQuestion`'s params → a Simulation as JSON."""
    spec = parse_spec(params["spec"])
    batches = [(int(rows), int(tokens)) for rows, tokens in params["batches"]]
    reference = find_model(spec.model_name_or_path)
    config = config_of(reference)
    manifest = (
        reference.entry.manifest() if reference.entry else inspect_config(config, reference.name)
    )
    selection = selection_of(spec, manifest)
    precision = precision_of(spec, True)
    context = params["context"]
    if spec.use_cpu:
        context = WORKER_ON_CPU
    elif context is None:
        context = CUDA_CONTEXT

    def trace(changed: Spec, what: str, batches: Sequence[tuple[int, int]] = ()) -> Trace:
        def beat(words: str) -> None:
            progress({"words": what + words})

        beat("building the model")
        return simulate(config, manifest, selection, changed, precision, batches, beat)

    budget = params["budget"]
    said = _probed(
        *(config, manifest, selection, spec, precision),
        lambda words: progress({"words": f"a few blocks: {words}"}),
    )
    found = trace(spec, f"a few blocks say {size(said)}; " if said and not batches else "", batches)
    proven = None
    if budget is not None and not spec.use_cpu:
        limit = budget - context
        proposed = [
            largest(manifest, selection, spec, budget, context, surely) for surely in (False, True)
        ]
        proven = _proven(spec, proposed, lambda *changed: runs(trace(*changed), limit))
    return Simulation.of(found, precision, context, budget, proven, not spec.use_cpu).to_json()


def _probed(
    config: Any,
    manifest: Manifest,
    selection: Selection,
    spec: Spec,
    precision: Precision,
    beat: Callable[[str], None],
) -> int | None:
    """Bytes at the peak by a probe, in a fraction of the time; None where blocks differ."""
    try:
        return max(probe(config, manifest, selection, spec, precision, beat).values())
    except UserError:
        return None


def _proven(
    spec: Spec, proposed: Sequence[Largest], runs_with: Callable[[Spec, str], bool]
) -> dict[str, int | None]:
    """The first of what was proposed that runs through, bounded; None where none does."""

    def first(key: str, numbers: Iterable[int | None], most: int, words: str) -> int | None:
        for number in dict.fromkeys(min(one, max(most, 1)) for one in numbers if one):
            if runs_with(spec.changed(**{key: number}), f"{words.format(number)}: "):
                return number
        return None

    rows, tokens = spec.per_device_train_batch_size, spec.max_length
    return {
        "rows": first(
            "per_device_train_batch_size",
            (one.rows for one in proposed),
            MOST_TOKENS // tokens,
            "{} rows at once",
        ),
        "tokens": first(
            "max_length",
            (one.tokens for one in proposed),
            MOST_TOKENS // rows,
            "rows of {} tokens",
        ),
    }


def simulate(
    config: Any,
    manifest: Manifest,
    selection: Selection,
    spec: Spec,
    precision: Precision,
    batches: Sequence[tuple[int, int]] = (),
    beat: Callable[[str], None] | None = None,
) -> Trace:
    """Two steps at full depth. batches: the micro-batches of a step; none: full ones of `max_length`."""
    model = simulated_model(config, manifest, selection, spec, precision)
    full = (spec.per_device_train_batch_size, spec.max_length)
    steps = Steps(
        # From the second micro-batch on, the gradients of those before are there.
        batches=tuple(batches) or (full,) * min(spec.gradient_accumulation_steps, 2),
        optim=spec.optim,
        autocast=None if precision is Precision.FP32 else torch.bfloat16,
        clips=spec.max_grad_norm > 0,
        packed=spec.packing,
    )
    return trace_steps(model, manifest.blocks_at, manifest.blocks, steps, beat)


def probe(
    config: Any,
    manifest: Manifest,
    selection: Selection,
    spec: Spec,
    precision: Precision,
    beat: Callable[[str], None] | None = None,
) -> dict[Phase, int]:
    """The most bytes live in each phase, from models of three and four blocks: it is linear in depth.

    Unrounded bytes. Raises UserError when the blocks are not alike, or do not train alike.
    """
    first, second = (
        _peaks_at(depth, config, manifest, selection, spec, precision, beat) for depth in _PROBED
    )
    more = manifest.blocks - _PROBED[0]
    return {phase: most + more * (second[phase] - most) for phase, most in first.items()}


def config_of(reference: ModelReference) -> Any:
    """The Transformers config of a model: the catalog's own, or that in its folder."""
    entry = reference.entry
    if entry is None:
        return read_config(reference.folder or config_folder(reference.name))
    return read_config(demo.MODEL_FOLDER) if reference.kind == "demo" else _config_in(entry)


def _config_in(entry: CatalogEntry) -> Any:
    facts = dict(json.loads(entry.file.read_bytes())["config"])
    return AutoConfig.for_model(facts.pop("model_type"), **facts)


def _peaks_at(
    depth: int,
    config: Any,
    manifest: Manifest,
    selection: Selection,
    spec: Spec,
    precision: Precision,
    beat: Callable[[str], None] | None,
) -> dict[Phase, int]:
    shallow = copy.deepcopy(config.get_text_config())
    kinds = getattr(shallow, "layer_types", None)
    if kinds and len(set(kinds)) > 1:
        raise UserError("the blocks of this model differ: simulate all of them")
    shallow.num_hidden_layers = depth
    if kinds:
        shallow.layer_types = kinds[:depth]
    few = inspect_config(shallow, manifest.model)
    chosen = {}
    for name, choice in selection.choices.items():
        block = manifest.block_index(name)
        tail = name.removeprefix(f"{manifest.blocks_at}.{block}")
        same = f"{manifest.blocks_at}.0{tail}"
        if block is not None and selection.choices.get(same) != choice:
            raise UserError("the blocks do not train alike: simulate all of them")
        if block is None or block < depth:
            chosen[name] = choice
    inside = sum(manifest.block_index(name) is not None for name in selection.choices)
    of_first = sum(manifest.block_index(name) == 0 for name in selection.choices)
    if inside != of_first * manifest.blocks:
        raise UserError("the blocks do not train alike: simulate all of them")
    trace = simulate(shallow, few, Selection(chosen), spec, precision, beat=beat)
    return trace.peaks(rounding=1)
