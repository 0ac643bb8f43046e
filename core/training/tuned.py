"""A trained model and its base in one: loaded once, told apart by a switch that costs microseconds."""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from peft import get_peft_model_state_dict
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn
from transformers import set_seed
from transformers.utils import logging as transformers_logging

from finetune_tui.core.data.tokens import load_tokenizer
from finetune_tui.core.errors import UserError, WorkFailed
from finetune_tui.core.hardware import read_hardware
from finetune_tui.core.limits import bounded_memory
from finetune_tui.core.memory.answering import room_for_answers
from finetune_tui.core.models.inspection import inspect_folder
from finetune_tui.core.models.manifest import Manifest
from finetune_tui.core.models.resolve import ModelReference, find_model, load_manifest
from finetune_tui.core.models.tensor_file import read_header
from finetune_tui.core.runs.adapter_check import Found, check_result
from finetune_tui.core.runs.directory import RunDirectory
from finetune_tui.core.runs.targets import has_result, require_result
from finetune_tui.core.text import plain
from finetune_tui.core.training import checkpoint
from finetune_tui.core.training.apply import apply_selection
from finetune_tui.core.training.download import Say, fetch_weights, quiet
from finetune_tui.core.training.load import Device, choose_device, load_base
from finetune_tui.core.training.memory_check import free_memory
from finetune_tui.core.training.metering import chosen_gpu
from finetune_tui.core.training.vocabulary import trained_tokens
from finetune_tui.core.tuning.modes import Mode
from finetune_tui.core.tuning.resolve import selection_of
from finetune_tui.core.tuning.selection import Selection
from finetune_tui.core.tuning.spec import Spec


@dataclass(frozen=True, slots=True)
class _Kept:
    """What of the base trains in place. names: its parameters. base: their numbers before.

    forwards: modules that compute in another way once their bias trains, with their own `forward`, if any.
    """

    names: dict[str, nn.Parameter]
    base: dict[nn.Parameter, torch.Tensor]
    forwards: dict[nn.Module, Any]


class Tuned:
    """What a run trained, in evaluation mode. Every forward goes in `precision()`.

    model: PEFT's where the selection needs it. spec: the run's own. step: of the checkpoint that stands for
    a result the run never wrote; None: it is the result.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        spec: Spec,
        manifest: Manifest,
        reference: ModelReference,
        device: Device,
        step: int | None,
        kept: _Kept,
    ) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.spec = spec
        self.manifest = manifest
        self.reference = reference
        self.device = device
        self.step = step
        self._is_tuned = True
        # PEFT's own `disable_adapter` takes a tenth of a second: too slow for once a token.
        self._adapted = [
            one.__dict__ for one in model.modules() if hasattr(one, "_disable_adapters")
        ]
        self._numbers = [(one, base, one.data) for one, base in kept.base.items()]
        self._forwards = [
            (module, before, after)
            for module, before in kept.forwards.items()
            if (after := module.__dict__.get("forward")) is not before
        ]
        halves = {p.dtype for p in model.parameters()} & {torch.bfloat16, torch.float16}
        self._half = halves.pop() if halves else None

    @contextlib.contextmanager
    def as_base(self) -> Iterator[Any]:
        """The model as it was before training, to the last bit."""
        with self._being(tuned=False) as model:
            yield model

    @contextlib.contextmanager
    def as_tuned(self) -> Iterator[Any]:
        """The trained model; it is that outside of both, too."""
        with self._being(tuned=True) as model:
            yield model

    def precision(self) -> torch.autocast:
        """As it trained: what trained is float32 beside a base in 16 bits; only autocast mixes the two."""
        kind = self.device.torch_device.type
        return torch.autocast(kind, dtype=self._half, enabled=self._half is not None)

    @contextlib.contextmanager
    def _being(self, tuned: bool) -> Iterator[Any]:
        before = self._is_tuned
        self._switch(tuned)
        try:
            yield self.model
        finally:
            self._switch(before)

    def _switch(self, tuned: bool) -> None:
        if tuned is self._is_tuned:
            return
        self._is_tuned = tuned
        for attributes in self._adapted:
            attributes["_disable_adapters"] = not tuned
        for parameter, base, trained in self._numbers:
            parameter.data = trained if tuned else base
        for module, before, after in self._forwards:
            _set_forward(module, after if tuned else before)


def load_tuned(
    trained: RunDirectory,
    *,
    use_cpu: bool | None = None,
    dtype: str = "auto",
    say: Say = quiet,
) -> Tuned:
    """Base and what the run trained, the files checked before anything heavy.

    use_cpu: None: as the run did. dtype: of a base that is not quantised; "auto": held as the run held
    it. Raises UserError for a result that is missing or not what the run's spec says, WorkFailed when the
    model cannot be loaded, and what `say` raises.
    """
    transformers_logging.disable_progress_bar()
    say("checking the result")
    require_result(trained)
    spec = trained.spec()
    held = _held(spec, use_cpu, dtype)
    reference = find_model(spec.model_name_or_path)
    device = choose_device(held, is_demo=reference.kind == "demo")
    manifest = load_manifest(reference, lambda folder, name: inspect_folder(folder, name).to_json())
    selection = selection_of(spec, manifest)
    found = folder = None
    if has_result(trained):
        found = check_result(trained, spec, manifest, selection, reference)
    else:
        folder = _best_checkpoint(trained)
        say("checking the result", words=f"there is none; {folder.name} stands for it")
    if spec.memory_check:
        _require_room(manifest, selection, held, device)
    say("loading")
    reference = fetch_weights(reference, say)
    with bounded_memory():
        tokenizer = load_tokenizer(reference.weights, reference.name)
        tokens = trained_tokens(spec, tokenizer)
    if found is not None and found.tokens != tokens:
        raise UserError("the adapter is of other tokens than this run's", where=str(found.adapter))
    base = load_base(reference, held, device)
    say("applying")
    kept = _keep_base(base, selection)
    if found is not None:
        held = replace(held, init_lora_weights="default")  # PiSSA is saved as plain LoRA
        selection = found.as_saved(selection)
    set_seed(spec.seed)  # a checkpoint's start, like PiSSA's, is computed again
    model = apply_selection(base, manifest, selection, held, tokens)
    if found is not None:
        _put_result(model, kept, found)
    elif folder is not None:
        _put_checkpoint(model, folder)
    model.requires_grad_(False)
    model.eval()
    step = checkpoint.step_of(folder) if folder else None
    return Tuned(model, tokenizer, spec, manifest, reference, device, step, kept)


def _held(spec: Spec, use_cpu: bool | None, dtype: str) -> Spec:
    """The run's spec with the base held as it is asked for now."""
    if use_cpu is not None:
        spec = replace(spec, use_cpu=use_cpu)
    if dtype != "auto":
        spec = replace(spec, dtype=dtype, load_in_4bit=False, load_in_8bit=False)
    return spec


def _require_room(manifest: Manifest, selection: Selection, spec: Spec, device: Device) -> None:
    """Raises UserError, with the ways out, when the weights alone will not fit."""
    hardware = read_hardware()
    gpu = chosen_gpu(hardware, ()) if device.on_gpu else None  # not the one that trained
    free = free_memory(device.on_gpu, gpu, hardware)
    room_for_answers(manifest, selection, spec, free, device.on_gpu, answers=1, length=1).require()


def _best_checkpoint(run: RunDirectory) -> Path:
    """What a run that wrote no result can be judged by: its best step, else its newest."""
    best = run.state().best_step
    if best is not None:
        path = run.checkpoints / checkpoint.folder_name(best)
        if path.is_dir() and checkpoint.damage(path) is None:
            return path
    newest, skipped = checkpoint.newest_valid(run.checkpoints)
    if newest is None:
        why = f": of {skipped[0].path.name} {skipped[0].why}" if skipped else ""
        raise UserError(
            f"no result, and no checkpoint is whole{why}",
            where=str(run.path),
            hint=f"`finetune-tui resume {plain(run.short_id)}` trains it again",
        )
    return newest


def _keep_base(base: nn.Module, selection: Selection) -> _Kept:
    """Let what trains in place do so on a copy, and the vectors beside it, which become float32."""
    full = () if selection.names(Mode.LORA) else selection.names(Mode.FULL)
    kept = _Kept({}, {}, {})
    for name in (*full, *selection.names(Mode.BIAS)):
        module = base.get_submodule(name)
        kept.forwards[module] = module.__dict__.get("forward")
        for own, parameter in module.named_parameters(recurse=False):
            if parameter.is_floating_point() and (name in full or parameter.dim() == 1):
                kept.names[f"{name}.{own}"] = parameter
                if parameter not in kept.base:  # tied matrices are one
                    kept.base[parameter] = parameter.data
                    parameter.data = parameter.data.clone()
    return kept


def _put_result(model: Any, kept: _Kept, found: Found) -> None:
    """Fill in the numbers of a run's files."""
    if found.adapter is not None:
        places = get_peft_model_state_dict(model, save_embedding_layers=False)
        filled = _fill(places, found.adapter)
        # Tied matrices have two names and one place.
        empty = [name for name, place in places.items() if place.data_ptr() not in filled]
        if empty:
            raise WorkFailed(f"nothing fills {empty[0]}", where=str(found.adapter))
    if found.trained is not None:
        _fill({name: one.data for name, one in kept.names.items()}, found.trained)


def _fill(places: Mapping[str, torch.Tensor], path: Path) -> set[int]:
    """Copy each tensor of a file into its place; the places' addresses."""
    filled = set()
    for name, tensor in _read(path).items():
        place = places.get(name)
        if place is None or place.shape != tensor.shape:  # copy_ would stretch it to fit
            raise WorkFailed(f"there is no place for {name} in this model", where=str(path))
        place.copy_(tensor)
        filled.add(place.data_ptr())
    return filled


def _put_checkpoint(model: nn.Module, folder: Path) -> None:
    path = folder / checkpoint.TRAINED
    read_header(path)
    checkpoint.load_trained(folder, model)
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            _refuse_nan(name, parameter.data, path)


def _read(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of a file whose header was checked. Raises UserError for numbers that are none."""
    try:
        tensors: dict[str, torch.Tensor] = load_file(path)
    except (OSError, SafetensorError) as error:
        raise UserError("cannot be read as safetensors", where=str(path)) from error
    for name, tensor in tensors.items():
        _refuse_nan(name, tensor, path)
    return tensors


def _refuse_nan(name: str, tensor: torch.Tensor, path: Path) -> None:
    if not bool(torch.isfinite(tensor).all()):
        raise UserError(
            f"{plain(name, 120)} holds numbers that are none (NaN or infinite)",
            where=str(path),
            hint="this result is broken: train again, with a lower learning_rate",
        )


def _set_forward(module: nn.Module, forward: Any) -> None:
    """None: as its class does."""
    if forward is None:
        module.__dict__.pop("forward", None)
    else:
        module.__dict__["forward"] = forward
