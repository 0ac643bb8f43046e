"""What a run leaves behind: `adapter/` for plain PEFT, `trained.safetensors` for plain Transformers."""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from finetune_tui.core.files import sync_folder
from finetune_tui.core.runs.directory import RunDirectory
from finetune_tui.core.training.apply import base_module
from finetune_tui.core.tuning.modes import Mode
from finetune_tui.core.tuning.selection import Selection


@dataclass(frozen=True, slots=True)
class Results:
    """Where the results lie; None: the selection has no such part. bytes: of both together."""

    adapter: Path | None
    trained: Path | None
    bytes: int


def write_results(run: RunDirectory, model: Any, selection: Selection) -> Results:
    """Write both, each complete or absent.

    The adapter holds `lora`, and `full` beside it. `trained.safetensors` holds `bias`, and `full` when
    there is no `lora`, under the model's own parameter names.
    """
    adapter = _write_adapter(run, model) if selection.names(Mode.LORA) else None
    tensors = own_tensors(model, selection)
    trained = _write_trained(run, tensors) if tensors else None
    written = list(adapter.iterdir()) if adapter else []
    written += [trained] if trained else []
    return Results(adapter, trained, sum(path.stat().st_size for path in written))


def own_tensors(model: Any, selection: Selection) -> dict[str, torch.Tensor]:
    """The model's own parameters that trained in place, by the names `load_state_dict` knows."""
    names = [f"{name}.bias" for name in selection.names(Mode.BIAS)]
    if not selection.names(Mode.LORA):
        for name in selection.names(Mode.FULL):
            own = base_module(model, name).named_parameters(recurse=False)
            names += [f"{name}.{parameter}" for parameter, _ in own]
    tensors = {}
    for name in names:
        module, _, parameter = name.rpartition(".")
        tensors[name] = getattr(base_module(model, module), parameter).detach().cpu().contiguous()
    return tensors


def save_adapter(model: Any, folder: Path) -> None:
    """`folder` as plain PEFT loads it. The frozen embedding never goes along ("auto" would add it)."""
    model.save_pretrained(folder, save_embedding_layers=False)
    # PEFT writes a model card full of blanks; ours comes with the export.
    (folder / "README.md").unlink(missing_ok=True)


def _write_adapter(run: RunDirectory, model: Any) -> Path:
    aside = run.path / ".adapter.partial"
    shutil.rmtree(aside, ignore_errors=True)
    try:
        save_adapter(model, aside)
        for path in aside.iterdir():
            _sync(path)
        shutil.rmtree(run.adapter, ignore_errors=True)
        aside.rename(run.adapter)
        sync_folder(run.path)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return run.adapter


def _write_trained(run: RunDirectory, tensors: dict[str, torch.Tensor]) -> Path:
    aside = run.path / f".{run.trained.name}.partial"
    try:
        save_file(tensors, aside)
        _sync(aside)
        aside.replace(run.trained)
        sync_folder(run.path)
    finally:
        aside.unlink(missing_ok=True)
    return run.trained


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
