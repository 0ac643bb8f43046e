"""Finished runs of tiny models, made without a worker: what trained holds random numbers."""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from transformers import set_seed

from finetune_tui.core.models.inspection import inspect_folder
from finetune_tui.core.models.resolve import find_model
from finetune_tui.core.runs.directory import RunDirectory, create_run
from finetune_tui.core.runs.state import Status, write_state
from finetune_tui.core.training import checkpoint
from finetune_tui.core.training.apply import apply_selection
from finetune_tui.core.training.load import choose_device, load_base
from finetune_tui.core.training.results import write_results
from finetune_tui.core.tuning.resolve import selection_of
from finetune_tui.core.tuning.spec import Spec
from finetune_tui.core.tuning.spec_file import write_spec

TOKENS = (5, 9)


def spec_of(folder: Path, **keys: Any) -> Spec:
    """A small spec that trains this model on the CPU."""
    small = {"use_cpu": True, "lora_r": 4, "lora_alpha": 12, "train_files": ["rows.jsonl"]}
    return Spec(model_name_or_path=str(folder)).changed(**{**small, **keys})


def untouched_base(spec: Spec) -> Any:
    return load_base(find_model(spec.model_name_or_path), spec, choose_device(spec, is_demo=False))


def as_trained(spec: Spec) -> Any:
    """The worker's model after some training, in evaluation mode."""
    manifest = inspect_folder(Path(spec.model_name_or_path), "tiny")
    tokens = tuple(int(token) for token in spec.trainable_token_indices)
    set_seed(spec.seed)
    base = untouched_base(spec)
    model = apply_selection(base, manifest, selection_of(spec, manifest), spec, tokens)
    torch.manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter += 0.05 * torch.randn_like(parameter)
    return model.eval()


def finished_run(home: Path, spec: Spec, model: Any) -> RunDirectory:
    """A run of that spec with the result as the worker writes it."""
    run = create_run(home, write_spec(spec), "tiny", model=spec.model_name_or_path)
    manifest = inspect_folder(Path(spec.model_name_or_path), "tiny")
    write_results(run, model, selection_of(spec, manifest))
    write_state(run.state_path, run.state().changed(status=Status.FINISHED, attempt=1, ended=1.0))
    return run


def stopped_run(home: Path, spec: Spec, model: Any, step: int) -> RunDirectory:
    """A run that was stopped with a checkpoint of that step, before it had a result."""
    run = create_run(home, write_spec(spec), "stopped", model=spec.model_name_or_path)
    write_state(run.state_path, run.state().changed(status=Status.STOPPED, attempt=1, ended=1.0))
    add_checkpoint(run, model, step)
    return run


def add_checkpoint(run: RunDirectory, model: Any, step: int) -> Path:
    """A whole one as far as a reader of what trained can tell."""
    folder = run.checkpoints / checkpoint.folder_name(step)
    folder.mkdir()
    trained = {name: p.detach().clone() for name, p in model.named_parameters() if p.requires_grad}
    save_file(trained, folder / checkpoint.TRAINED)
    return seal(folder)


def seal(folder: Path) -> Path:
    """Give a checkpoint the files it lacks and the manifest of what it holds now."""
    files = {}
    for name in (
        *(checkpoint.TRAINED, checkpoint.OPTIMIZER, checkpoint.RANDOM),
        *(checkpoint.TRAINING, checkpoint.TRAINER_STATE),
    ):
        path = folder / name
        path.touch()
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        files[name] = {"bytes": path.stat().st_size, "sha256": digest}
    manifest = {"step": checkpoint.step_of(folder), "files": files}
    (folder / checkpoint.MANIFEST).write_text(json.dumps(manifest))
    return folder


def copy_of(run: RunDirectory, name: str) -> RunDirectory:
    """The same run under another name beside it, to be damaged."""
    path = run.path.with_name(name)
    shutil.copytree(run.path, path)
    return RunDirectory(path)
