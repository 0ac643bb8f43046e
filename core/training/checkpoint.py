"""Checkpoints: complete or absent, and free of pickle.

A folder is written aside, synced, given its manifest last and then renamed. What is inside: the trained
parameters, the optimizer, the schedule, every random generator and the position in the data, so that a
resumed run ends bitwise equal to one that was never interrupted.
"""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from finetune_tui.core.errors import WorkFailed
from finetune_tui.core.files import sync_folder, write_atomically
from finetune_tui.core.training.generators import Generators

TRAINED = "trained.safetensors"
OPTIMIZER = "optimizer.safetensors"
RANDOM = "random.safetensors"
TRAINING = "training.json"
TRAINER_STATE = "trainer_state.json"
MANIFEST = "manifest.json"

_PARTS = frozenset({TRAINED, OPTIMIZER, RANDOM, TRAINING, TRAINER_STATE})
_TENSOR = "tensor in optimizer.safetensors"
_SMALL_FILES = 2**17  # bytes
_NAME = re.compile(r"step-(\d{6,})")


@dataclass(frozen=True, slots=True)
class Skipped:
    """A checkpoint that cannot be resumed from, and why."""

    path: Path
    why: str


@dataclass(frozen=True, slots=True)
class Progress:
    """What Trainer's own state does not hold of a run's progress.

    tokens: seen so far. evaluated: the last step that was evaluated. without_better: evaluations since
    the best. rows, eval_rows: at once, which may be fewer than the spec says when memory ran out.
    """

    tokens: int = 0
    evaluated: int = 0
    without_better: int = 0
    rows: int = 1
    eval_rows: int = 1


def folder_name(step: int) -> str:
    return f"step-{step:06}"


def step_of(path: Path) -> int:
    """The optimizer step a checkpoint is of, by its name; -1: no checkpoint's name."""
    found = _NAME.fullmatch(path.name)
    return int(found.group(1)) if found else -1


def write_checkpoint(
    checkpoints: Path, trainer: Any, generators: Generators, progress: Progress
) -> Path:
    """Write the whole state of a Trainer as its last optimizer step left it.

    generators: as they stood then. Raises OSError or SafetensorError (a full disk) and WorkFailed (what
    trained is no number any more); nothing half-written is then left behind.
    """
    checkpoints.mkdir(exist_ok=True)
    step = trainer.state.global_step
    final = checkpoints / folder_name(step)
    aside, before = (checkpoints / f".{final.name}.{end}" for end in ("partial", "before"))
    for left_behind in (aside, before):
        shutil.rmtree(left_behind, ignore_errors=True)
    aside.mkdir()
    try:
        _write_parts(aside, trainer, generators, progress)
        _write_manifest(aside, step)
        if final.exists():
            final.rename(before)
        aside.rename(final)
        sync_folder(checkpoints)
    finally:
        for done_with in (aside, before):
            shutil.rmtree(done_with, ignore_errors=True)
    return final


def bytes_needed(trainer: Any) -> int:
    """About what a checkpoint takes: what trained, what the optimizer keeps of it, and the small files."""
    kept: list[torch.Tensor] = []
    for values in trainer.optimizer.state.values():
        kept += [value for value in values.values() if isinstance(value, torch.Tensor)]
    return trained_bytes(trainer.model) + _bytes(kept)


def trained_bytes(model: nn.Module) -> int:
    """About what a file of everything that trains takes."""
    return _bytes(_trainable(model).values()) + _SMALL_FILES


def newest_valid(checkpoints: Path) -> tuple[Path | None, list[Skipped]]:
    """The newest checkpoint whose every byte is as written, and the newer ones passed over."""
    skipped: list[Skipped] = []
    for path in sorted(_folders(checkpoints), key=step_of, reverse=True):
        why = damage(path)
        if why is None:
            return path, skipped
        skipped.append(Skipped(path, why))
    return None, skipped


def damage(folder: Path) -> str | None:
    """Why a checkpoint cannot be resumed from: a byte of it is not as written. None: it can."""
    try:
        manifest = json.loads((folder / MANIFEST).read_bytes())
        files = dict(manifest["files"])
        if manifest["step"] != step_of(folder) or files.keys() != _PARTS:
            return "its manifest is of something else"
        for name, wanted in files.items():
            path = folder / name
            if path.stat().st_size != wanted["bytes"]:
                return f"{name} has the wrong size"
            with path.open("rb") as file:
                if hashlib.file_digest(file, "sha256").hexdigest() != wanted["sha256"]:
                    return f"{name} has changed since it was written"
    except FileNotFoundError as error:
        return f"{Path(str(error.filename)).name} is missing"
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return f"{MANIFEST} cannot be read"
    return None


def keep(checkpoints: Path, last: int, best: int | None, limit: int) -> None:
    """Delete checkpoints until `limit` are left: the last and the best always stay, then the newest.

    What lies beyond the last could not be resumed from: it goes first. A folder that holds anything
    else than a checkpoint's own files is left alone.
    """
    for path in checkpoints.glob(".step-*"):  # of a worker that was killed while it wrote
        shutil.rmtree(path, ignore_errors=True)
    found = {step_of(path): path for path in _folders(checkpoints) if _is_ours(path)}
    kept = {last, best or last} & found.keys()
    for step in sorted((step for step in found if step < last), reverse=True):
        if len(kept) < limit:
            kept.add(step)
    for step in found.keys() - kept:
        shutil.rmtree(found[step], ignore_errors=True)


def load_trained(path: Path, model: nn.Module) -> None:
    """Put the trained parameters back. Raises WorkFailed when they are not those of this selection."""
    saved = load_file(path / TRAINED)
    trainable = _trainable(model)
    if saved.keys() != trainable.keys():
        odd = sorted(saved.keys() ^ trainable.keys())[0]
        raise WorkFailed("the checkpoint belongs to another selection", where=f"{path}: {odd}")
    with torch.no_grad():
        for name, parameter in trainable.items():
            if parameter.shape != saved[name].shape:  # copy_ would stretch it to fit
                raise WorkFailed(
                    "the checkpoint belongs to another selection", where=f"{path}: {name}"
                )
            parameter.copy_(saved[name])


def load_optimizer(path: Path, optimizer: Any, scheduler: Any) -> None:
    """Put optimizer and schedule back as they were."""
    training = _training(path)
    tensors = load_file(path / OPTIMIZER)
    saved = training["optimizer"]
    state = {int(index): _together(values, tensors) for index, values in saved["state"].items()}
    optimizer.load_state_dict({"state": state, "param_groups": saved["param_groups"]})
    scheduler.load_state_dict(training["scheduler"])


def generators_of(path: Path) -> Generators:
    """Python's, NumPy's and torch's generators as they stood."""
    return Generators.load(path / RANDOM, _training(path)["random"])


def progress_of(path: Path) -> Progress:
    """What is ours of a run's progress."""
    return Progress(**_training(path)["progress"])


def load_scaler(path: Path, scaler: Any) -> None:
    """Put back the scale of fp16's losses, where there is one."""
    saved = _training(path)["scaler"]
    if scaler is not None and saved:
        scaler.load_state_dict(saved)


def threads_of(path: Path) -> int:
    """How many threads the run computes with: another number changes the last bits."""
    return int(_training(path)["threads"])


def _write_parts(folder: Path, trainer: Any, generators: Generators, progress: Progress) -> None:
    save_file(_trained(trainer.model), folder / TRAINED)
    optimizer = trainer.optimizer.state_dict()
    tensors: dict[str, torch.Tensor] = {}
    state = _apart(optimizer["state"], "", tensors)
    save_file(tensors, folder / OPTIMIZER)
    scaler = trainer.accelerator.scaler
    training = {
        "optimizer": {"state": state, "param_groups": optimizer["param_groups"]},
        "scheduler": trainer.lr_scheduler.state_dict(),
        "scaler": scaler.state_dict() if scaler is not None else None,
        "random": generators.save(folder / RANDOM),
        "progress": asdict(progress),
        "threads": torch.get_num_threads(),
    }
    write_atomically(folder / TRAINING, json.dumps(training, default=_number), durable=False)
    trainer.state.save_to_json(str(folder / TRAINER_STATE))


def _apart(value: Any, name: str, tensors: dict[str, torch.Tensor]) -> Any:
    """An optimizer's state for JSON, its tensors put into `tensors` under their path.

    bitsandbytes keeps those of its 8-bit optimizers in dicts within the dicts.
    """
    if isinstance(value, torch.Tensor):
        tensors[name] = value.detach().cpu().contiguous().clone()
        return {_TENSOR: name}
    if isinstance(value, dict):
        return {str(key): _apart(one, f"{name}/{key}", tensors) for key, one in value.items()}
    return value


def _together(value: Any, tensors: dict[str, torch.Tensor]) -> Any:
    """What `_apart` took apart."""
    if not isinstance(value, dict):
        return value
    if value.keys() == {_TENSOR}:
        return tensors[value[_TENSOR]]
    return {key: _together(one, tensors) for key, one in value.items()}


def _trained(model: nn.Module) -> dict[str, torch.Tensor]:
    """What trained, on the CPU. Raises WorkFailed when a number in it is none: nobody wants that back."""
    tensors = {}
    for name, parameter in _trainable(model).items():
        tensors[name] = parameter.detach().cpu().contiguous()
        if not bool(torch.isfinite(tensors[name]).all()):
            raise WorkFailed(
                f"{name} holds numbers that are not finite",
                where="learning_rate",
                hint="no checkpoint of this step is written; lower learning_rate",
            )
    return tensors


def _write_manifest(folder: Path, step: int) -> None:
    """Sizes and sha256 of every file, each file synced first."""
    files = {}
    for path in sorted(folder.iterdir()):
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            os.fsync(file.fileno())
        files[path.name] = {"bytes": path.stat().st_size, "sha256": digest}
    write_atomically(folder / MANIFEST, json.dumps({"step": step, "files": files}, indent=1))


def _bytes(tensors: Iterable[torch.Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def _is_ours(folder: Path) -> bool:
    return folder.is_dir() and {path.name for path in folder.iterdir()} <= _PARTS | {MANIFEST}


def _folders(checkpoints: Path) -> Iterator[Path]:
    if checkpoints.is_dir():
        yield from (path for path in checkpoints.iterdir() if _NAME.fullmatch(path.name))


def _training(path: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((path / TRAINING).read_bytes())
    return loaded


def _trainable(model: nn.Module) -> dict[str, nn.Parameter]:
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


def _number(value: Any) -> Any:
    """Schedules keep NumPy numbers; JSON wants Python's."""
    return value.item()
