"""The calls of the simulation: a spec on its model at full depth, and the probe of a few blocks."""

import copy
import json
from collections.abc import Callable, Sequence
from typing import Any

import torch
from transformers import AutoConfig

from finetune_tui.core import demo
from finetune_tui.core.errors import UserError
from finetune_tui.core.memory.estimate import CUDA_CONTEXT
from finetune_tui.core.memory.simulated import Simulation
from finetune_tui.core.memory.trace import Phase, Trace
from finetune_tui.core.memory.weights import Precision, precision_of
from finetune_tui.core.models.catalog import CatalogEntry
from finetune_tui.core.models.inspection import inspect_config, read_config
from finetune_tui.core.models.manifest import Manifest
from finetune_tui.core.models.resolve import ModelReference, config_folder, find_model
from finetune_tui.core.training.simulated_model import simulated_model
from finetune_tui.core.training.simulation import Steps, trace_steps
from finetune_tui.core.tuning.resolve import selection_of
from finetune_tui.core.tuning.selection import Selection
from finetune_tui.core.tuning.spec import Spec
from finetune_tui.core.tuning.spec_file import parse_spec

_PROBED = 3, 4  # blocks; with two, the peak of a phase may be another than with many


def simulate_call(params: dict[str, Any], progress: Any) -> dict[str, Any]:
    """The call `simulate`: {"spec": YAML, "batches": [[rows, tokens], …] or None} → a Simulation as JSON."""
    spec = parse_spec(params["spec"])
    batches = [(int(rows), int(tokens)) for rows, tokens in params.get("batches") or []]
    progress({"words": "building the model on the meta device"})
    reference = find_model(spec.model_name_or_path)
    config = config_of(reference)
    manifest = (
        reference.entry.manifest() if reference.entry else inspect_config(config, reference.name)
    )
    selection = selection_of(spec, manifest)

    def beat() -> None:
        progress({"words": "stepping the model on the meta device"})

    trace = simulate(config, manifest, selection, spec, precision_of(spec, True), batches, beat)
    return Simulation.of(trace, CUDA_CONTEXT).to_json()


def simulate(
    config: Any,
    manifest: Manifest,
    selection: Selection,
    spec: Spec,
    precision: Precision,
    batches: Sequence[tuple[int, int]] = (),
    beat: Callable[[], None] | None = None,
) -> Trace:
    """Two steps at full depth. batches: the micro-batches of a step; none: full ones of `max_length`."""
    model = simulated_model(config, manifest, selection, spec, precision)
    full = (spec.per_device_train_batch_size, spec.max_length)
    steps = Steps(
        # From the second micro-batch on, the gradients of those before are there.
        batches=tuple(batches) or (full,) * min(spec.gradient_accumulation_steps, 2),
        optim=spec.optim,
        autocast=None if precision is Precision.FP32 else torch.bfloat16,
        checkpointing=spec.gradient_checkpointing,
        clips=spec.max_grad_norm > 0,
        packed=spec.packing,
    )
    return trace_steps(model, manifest.blocks_at, manifest.blocks, steps, beat)


def probe(
    config: Any, manifest: Manifest, selection: Selection, spec: Spec, precision: Precision
) -> dict[Phase, int]:
    """The most bytes live in each phase, from models of three and four blocks: it is linear in depth.

    Unrounded bytes. Raises UserError when the blocks are not alike, or do not train alike.
    """
    first, second = (
        _peaks_at(depth, config, manifest, selection, spec, precision) for depth in _PROBED
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
    return simulate(shallow, few, Selection(chosen), spec, precision).peaks(rounding=1)
