"""Checkpoints: complete or absent, and free of pickle.

A folder is written aside, synced, given its manifest last and then renamed. What is inside: the trained
parameters, the optimizer, the schedule, every random generator and the position in the data, so that a
resumed run ends bitwise equal to one that was never interrupted.
"""

import hashlib
import json
import os
import random
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from finetune_tui.core.errors import WorkFailed
from finetune_tui.core.files import sync_folder, write_atomically

TRAINED = "trained.safetensors"
OPTIMIZER = "optimizer.safetensors"
RANDOM = "random.safetensors"
TRAINING = "training.json"
TRAINER_STATE = "trainer_state.json"
MANIFEST = "manifest.json"

_NAME = re.compile(r"step-(\d{6,})")


@dataclass(frozen=True, slots=True)
class Skipped:
    """A checkpoint that cannot be resumed from, and why."""

    path: Path
    why: str


def folder_name(step: int) -> str:
    return f"step-{step:06}"


def write_checkpoint(checkpoints: Path, step: int, trainer: Any) -> Path:
    """Write the whole state of a Trainer after optimizer step `step`.

    Raises OSError (a full disk); nothing half-written is then left behind.
    """
    checkpoints.mkdir(exist_ok=True)
    aside = checkpoints / f".{folder_name(step)}.partial"
    final = checkpoints / folder_name(step)
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir()
    try:
        _write_parts(aside, trainer)
        _write_manifest(aside, step)
        shutil.rmtree(final, ignore_errors=True)
        aside.rename(final)
        sync_folder(checkpoints)
    except BaseException as error:
        shutil.rmtree(aside, ignore_errors=True)
        if isinstance(error, OSError) or "No space left" not in str(error):
            raise
        raise OSError(28, "No space left on device") from error  # safetensors wraps it
    return final


def newest_valid(checkpoints: Path) -> tuple[Path | None, list[Skipped]]:
    """The newest checkpoint whose every byte is as written, and the newer ones passed over."""
    skipped: list[Skipped] = []
    for path in sorted(_folders(checkpoints), key=_step_of, reverse=True):
        why = _damage(path)
        if why is None:
            return path, skipped
        skipped.append(Skipped(path, why))
    return None, skipped


def keep_only(checkpoints: Path, steps: set[int]) -> None:
    """Delete the checkpoints of other steps."""
    for path in _folders(checkpoints):
        if _step_of(path) not in steps:
            shutil.rmtree(path, ignore_errors=True)


def load_trained(path: Path, model: nn.Module) -> None:
    """Put the trained parameters back. Raises WorkFailed when they are not those of this selection."""
    saved = load_file(path / TRAINED)
    trainable = _trainable(model)
    if saved.keys() != trainable.keys():
        odd = sorted(saved.keys() ^ trainable.keys())[0]
        raise WorkFailed("the checkpoint belongs to another selection", where=f"{path}: {odd}")
    with torch.no_grad():
        for name, parameter in trainable.items():
            parameter.copy_(saved[name])


def load_optimizer(path: Path, optimizer: Any, scheduler: Any) -> None:
    """Put optimizer and schedule back as they were."""
    training = _training(path)
    tensors = load_file(path / OPTIMIZER)
    state: dict[int, dict[str, Any]] = {}
    for index, values in training["optimizer"]["state"].items():
        state[int(index)] = dict(values)
    for key, tensor in tensors.items():
        index, _, name = key.partition(".")
        state.setdefault(int(index), {})[name] = tensor
    groups = training["optimizer"]["param_groups"]
    optimizer.load_state_dict({"state": state, "param_groups": groups})
    scheduler.load_state_dict(training["scheduler"])


def load_random(path: Path) -> None:
    """Put Python's, NumPy's and torch's generators back."""
    saved = _training(path)["random"]
    tensors = load_file(path / RANDOM)
    version, internal, gauss = saved["python"]
    random.setstate((version, tuple(internal), gauss))
    kind, position, has_gauss, cached = saved["numpy"]
    np.random.set_state(
        (kind, tensors["numpy"].numpy().astype(np.uint32), position, has_gauss, cached)
    )
    torch.set_rng_state(tensors["torch"])
    if "cuda" in tensors and torch.cuda.is_available():
        torch.cuda.set_rng_state(tensors["cuda"])


def threads_of(path: Path) -> int:
    """How many threads the run computes with: another number changes the last bits."""
    return int(_training(path)["threads"])


def _write_parts(folder: Path, trainer: Any) -> None:
    trained = {name: p.detach().cpu().contiguous() for name, p in _trainable(trainer.model).items()}
    save_file(trained, folder / TRAINED)
    optimizer = trainer.optimizer.state_dict()
    tensors: dict[str, torch.Tensor] = {}
    numbers: dict[str, dict[str, Any]] = {}
    for index, values in optimizer["state"].items():
        for name, value in values.items():
            if isinstance(value, torch.Tensor):
                tensors[f"{index}.{name}"] = value.detach().cpu().contiguous().clone()
            else:
                numbers.setdefault(str(index), {})[name] = value
    save_file(tensors, folder / OPTIMIZER)
    numpy: Any = np.random.get_state(legacy=True)
    kind, keys, position, has_gauss, cached = numpy
    generators = {"torch": torch.get_rng_state(), "numpy": torch.from_numpy(keys.astype(np.int64))}
    if torch.cuda.is_available():
        generators["cuda"] = torch.cuda.get_rng_state()
    save_file(generators, folder / RANDOM)
    training = {
        "optimizer": {"state": numbers, "param_groups": optimizer["param_groups"]},
        "scheduler": trainer.lr_scheduler.state_dict(),
        "random": {"python": random.getstate(), "numpy": [kind, position, has_gauss, cached]},
        "threads": torch.get_num_threads(),
    }
    write_atomically(folder / TRAINING, json.dumps(training, default=_number), durable=False)
    trainer.state.save_to_json(str(folder / TRAINER_STATE))


def _write_manifest(folder: Path, step: int) -> None:
    """Sizes and sha256 of every file, each file synced first."""
    files = {}
    for path in sorted(folder.iterdir()):
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            os.fsync(file.fileno())
        files[path.name] = {"bytes": path.stat().st_size, "sha256": digest}
    write_atomically(folder / MANIFEST, json.dumps({"step": step, "files": files}, indent=1))


def _damage(folder: Path) -> str | None:
    try:
        manifest = json.loads((folder / MANIFEST).read_bytes())
        files = dict(manifest["files"])
        if (
            manifest["step"] != _step_of(folder)
            or not {TRAINED, OPTIMIZER, TRAINING} <= files.keys()
        ):
            return "its manifest is of something else"
        for name, wanted in files.items():
            path = folder / Path(name).name
            if path.stat().st_size != wanted["bytes"]:
                return f"{path.name} has the wrong size"
            with path.open("rb") as file:
                if hashlib.file_digest(file, "sha256").hexdigest() != wanted["sha256"]:
                    return f"{path.name} has changed since it was written"
    except FileNotFoundError as error:
        return f"{Path(str(error.filename)).name} is missing"
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return f"{MANIFEST} cannot be read"
    return None


def _folders(checkpoints: Path) -> Iterator[Path]:
    if checkpoints.is_dir():
        yield from (path for path in checkpoints.iterdir() if _NAME.fullmatch(path.name))


def _step_of(path: Path) -> int:
    found = _NAME.fullmatch(path.name)
    return int(found.group(1)) if found else -1


def _training(path: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((path / TRAINING).read_bytes())
    return loaded


def _trainable(model: nn.Module) -> dict[str, nn.Parameter]:
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


def _number(value: Any) -> Any:
    """Schedules keep NumPy numbers; JSON wants Python's."""
    return value.item()
