"""What a run leaves behind: `adapter/` for plain PEFT, `trained.safetensors` for plain Transformers."""

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import PeftConfig, get_peft_model_state_dict
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from finetune_tui.core.errors import WorkFailed
from finetune_tui.core.files import sync_folder
from finetune_tui.core.runs.directory import RunDirectory
from finetune_tui.core.training.apply import base_module
from finetune_tui.core.training.starts import as_plain_config, as_plain_lora, started
from finetune_tui.core.tuning.modes import Mode
from finetune_tui.core.tuning.selection import Selection

ADAPTER = "adapter_model.safetensors"
ADAPTER_CONFIG = "adapter_config.json"


@dataclass(frozen=True, slots=True)
class Results:
    """Where the results lie; None: the selection has no such part. bytes: of both together."""

    adapter: Path | None
    trained: Path | None
    bytes: int


def write_results(run: RunDirectory, model: Any, selection: Selection) -> Results:
    """Write both, each complete or absent.

    The adapter holds `lora`, `full` beside it, and single tokens. `trained.safetensors` holds `bias`, and
    `full` when there is no `lora`, under the model's own parameter names.
    """
    adapter = _write_adapter(run, model) if hasattr(model, "peft_config") else None
    tensors = own_tensors(model, selection)
    trained = _write_trained(run, tensors) if tensors else None
    written = list(adapter.iterdir()) if adapter else []
    written += [trained] if trained else []
    return Results(adapter, trained, sum(path.stat().st_size for path in written))


def read_back(results: Results, model: Any, selection: Selection) -> None:
    """Read what was written and compare it, number by number, with what the model holds.

    Raises WorkFailed naming the first tensor that is missing, differs or is not a number.
    """
    if results.adapter is not None:
        try:
            PeftConfig.from_pretrained(str(results.adapter))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise WorkFailed(
                "the adapter's settings cannot be read back", where=str(results.adapter)
            ) from error
        _compare(results.adapter / ADAPTER, adapter_tensors(model))
    if results.trained is not None:
        _compare(results.trained, own_tensors(model, selection))


def adapter_tensors(model: Any) -> dict[str, torch.Tensor]:
    """What plain PEFT loads, by its names. The frozen embedding never goes along ("auto" adds it)."""
    return as_plain_lora(model, get_peft_model_state_dict(model, save_embedding_layers=False))


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
    """`folder` as plain PEFT loads it on the base as it was published."""
    model.save_pretrained(folder, save_embedding_layers=False)
    # PEFT writes a model card full of blanks; ours comes with the export.
    (folder / "README.md").unlink(missing_ok=True)
    if any(started(model)):
        tensors = {
            name: t.detach().cpu().contiguous() for name, t in adapter_tensors(model).items()
        }
        save_file(tensors, folder / ADAPTER, metadata={"format": "pt"})
        config = json.loads((folder / ADAPTER_CONFIG).read_text(encoding="utf-8"))
        text = json.dumps(as_plain_config(model, config), indent=2, sort_keys=True)
        (folder / ADAPTER_CONFIG).write_text(text, encoding="utf-8")


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


def _compare(path: Path, wanted: dict[str, torch.Tensor]) -> None:
    try:
        found = load_file(path)
    except (OSError, SafetensorError) as error:
        raise WorkFailed("what was saved cannot be read back", where=str(path)) from error
    odd = sorted(found.keys() ^ wanted.keys())
    if odd:
        raise WorkFailed(
            f"what was saved is not what was trained, first: {odd[0]}", where=str(path)
        )
    for name, tensor in wanted.items():
        if not torch.isfinite(found[name]).all():
            raise WorkFailed(f"{name} holds numbers that are none", where=str(path))
        if not torch.equal(found[name], tensor.detach().cpu()):
            raise WorkFailed(f"{name} was saved with other numbers", where=str(path))


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
