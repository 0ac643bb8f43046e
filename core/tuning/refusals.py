"""What cannot work, said before a weight is loaded: one line each, with the remedy."""

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from finetune_tui.core.errors import UserError
from finetune_tui.core.models.manifest import Manifest
from finetune_tui.core.models.roles import Role
from finetune_tui.core.text import plain
from finetune_tui.core.tuning.counting import embedding_of
from finetune_tui.core.tuning.modes import Mode
from finetune_tui.core.tuning.selection import LINEAR_CLASSES, Selection, lora_modules
from finetune_tui.core.tuning.spec import FIELDS, Spec

# Starts that are read off the weights' own directions, of which there are min(inputs, outputs).
DIRECTED = ("olora", "pissa", "pissa_niter_16")

# NVIDIA's Ampere; bfloat16 and TF32 begin there.
_AMPERE = (8, 0)


def is_installed(package: str) -> bool:
    """Whether Python would find it; nothing is imported."""
    return find_spec(package) is not None


@dataclass(frozen=True, slots=True)
class Machine:
    """What is known about where the run will train; None: not known, and then nothing is refused for it.

    capability: the GPU's compute capability. gpus: UUIDs of all GPUs and slices here; empty: not known.
    """

    on_gpu: bool | None = None
    capability: tuple[int, int] | None = None
    gpus: tuple[str, ...] | None = None
    has_package: Callable[[str], bool] = is_installed
    has_program: Callable[[str], str | None] = shutil.which


def refuse_impossible(
    spec: Spec, manifest: Manifest, selection: Selection, machine: Machine | None = None
) -> None:
    """Raises UserError naming the key at fault and what to do instead."""
    machine = machine or Machine(on_gpu=False if spec.use_cpu else None)
    _refuse_method(spec, manifest, selection)
    _refuse_tokens(spec, manifest, selection)
    _refuse_schedule(spec, manifest)
    _refuse_precision(spec, machine)
    _refuse_machine(spec, machine)
    _refuse_packages(spec, machine)


def remarks(manifest: Manifest, selection: Selection, spec: Spec) -> Iterator[tuple[str, str]]:
    """What works, but not as one might think: (message, key)."""
    for module, _ in lora_modules(manifest, selection):
        if module.role is Role.HEAD or module.leaf_name == "lm_head":
            yield (
                "the adapter reaches the head: servers such as vLLM refuse that; merge it to serve it",
                "modules",
            )
    if spec.use_cpu and spec.optim.startswith("paged_"):
        yield "paging needs a GPU: on the CPU this optimizer keeps its state in memory", "optim"
    if spec.early_stopping_patience and not _evaluates(spec):
        yield "nothing is evaluated, so nothing stops early", "early_stopping_patience"


def _refuse_method(spec: Spec, manifest: Manifest, selection: Selection) -> None:
    adapted = list(lora_modules(manifest, selection))
    directed = spec.init_lora_weights in DIRECTED
    for key, asked in (
        ("use_dora", spec.use_dora),
        ("use_rslora", spec.use_rslora),
        ("init_lora_weights", spec.init_lora_weights != FIELDS["init_lora_weights"].default),
    ):
        if asked and not adapted:
            raise UserError(
                "nothing selected is in mode lora",
                where=key,
                hint="take the key out, or choose lora for some modules",
            )
    if spec.use_dora and directed:
        raise UserError(
            f"DoRA cannot start from {spec.init_lora_weights}: its magnitudes are the base's own",
            where="use_dora",
            hint="init_lora_weights: default, or use_dora: false",
        )
    for module, choice in adapted if directed else ():
        rank, features = choice.r or spec.lora_r, module.features
        if module.cls in LINEAR_CLASSES and features and rank > min(features):
            raise UserError(
                f"'{module.name}' has {min(features)} directions and rank {rank} asks for more",
                where="init_lora_weights",
                hint=f"a rank of {min(features)} at most, or init_lora_weights: default",
            )


def _refuse_tokens(spec: Spec, manifest: Manifest, selection: Selection) -> None:
    asked = spec.trainable_token_indices
    if not asked:
        return
    key = "trainable_token_indices"
    embedding = embedding_of(manifest)
    if embedding is None:
        raise UserError("this model's embedding is not known", where=key, hint="take the key out")
    mode = selection.mode(embedding.name)
    if mode is not Mode.FROZEN:
        raise UserError(
            f"'{embedding.name}' trains as {mode} already, every token with it",
            where=key,
            hint="take one of the two out",
        )
    if len(set(asked)) < len(asked):
        twice = next(token for token in asked if asked.count(token) > 1)
        raise UserError(f"'{plain(twice, 40)}' is named twice", where=key, hint="once is enough")
    vocabulary = manifest.config.vocabulary
    for token in asked:
        if token.isdecimal() and int(token) >= vocabulary:
            raise UserError(
                f"token {token} lies outside the vocabulary of {vocabulary}",
                where=key,
                hint=f"ids go from 0 to {vocabulary - 1}",
            )


def _refuse_schedule(spec: Spec, manifest: Manifest) -> None:
    holds_out = bool(spec.eval_files or spec.eval_split)
    for key in ("early_stopping_patience", "eval_replies"):
        asked = getattr(spec, key)
        looks = _evaluates(spec) if key == "early_stopping_patience" else holds_out
        if asked and asked != FIELDS[key].default and not looks:
            missing = "eval_steps is 0" if holds_out else "no rows are held out"
            raise UserError(
                f"{asked} cannot be: {missing}",
                where=key,
                hint="set eval_steps" if holds_out else "set eval_split or eval_files",
            )
    if spec.last_turn_only and not spec.assistant_only_loss:
        raise UserError(
            "all turns and the last turn only cannot both be trained",
            where="last_turn_only",
            hint="assistant_only_loss: true, or last_turn_only: false",
        )
    context = manifest.config.context
    chosen = spec.max_length != FIELDS["max_length"].default
    if context is not None and chosen and spec.max_length > context:
        raise UserError(
            f"{spec.max_length} tokens are more than the {context} this model can read",
            where="max_length",
            hint=f"max_length: {context}",
        )


def _refuse_precision(spec: Spec, machine: Machine) -> None:
    if spec.dtype == "float16" and machine.on_gpu is False:
        raise UserError(
            "float16 needs a GPU: on the CPU its gradients vanish unscaled",
            where="dtype",
            hint="dtype: bfloat16 or float32",
        )
    too_old = machine.capability is not None and machine.capability < _AMPERE
    if spec.dtype == "bfloat16" and machine.on_gpu and too_old:
        raise UserError(
            "this GPU has no bfloat16", where="dtype", hint="dtype: float16, or auto to choose it"
        )


def _refuse_machine(spec: Spec, machine: Machine) -> None:
    if spec.gpus and spec.use_cpu:
        raise UserError("both gpus and use_cpu are set", where="gpus", hint="keep one")
    if machine.gpus:
        for uuid in spec.gpus:
            if not any(known.startswith(uuid) for known in machine.gpus):
                there = ", ".join(machine.gpus) or "none"
                raise UserError(
                    f"no GPU '{plain(uuid, 60)}' on this machine",
                    where="gpus",
                    hint=f"there is: {plain(there, 300)}",
                )
    if spec.use_liger_kernel and machine.on_gpu is False:
        raise UserError(
            "Liger's kernels need a GPU", where="use_liger_kernel", hint="use_liger_kernel: false"
        )
    if spec.torch_compile and not any(map(machine.has_program, _compilers())):
        raise UserError(
            "torch.compile needs a C++ compiler, and none is installed",
            where="torch_compile",
            hint="`apt-get install g++` or the like, or torch_compile: false",
        )


def _refuse_packages(spec: Spec, machine: Machine) -> None:
    needs_bitsandbytes = "8bit" in spec.optim or spec.optim.startswith("paged_")
    for key, asked, package, name in (
        ("load_in_4bit", spec.load_in_4bit, "bitsandbytes", "bitsandbytes"),
        ("load_in_8bit", spec.load_in_8bit, "bitsandbytes", "bitsandbytes"),
        ("optim", needs_bitsandbytes, "bitsandbytes", "bitsandbytes"),
        ("use_liger_kernel", spec.use_liger_kernel, "liger_kernel", "liger-kernel"),
        ("report_to", spec.report_to == "tensorboard", "tensorboard", "tensorboard"),
        ("report_to", spec.report_to == "wandb", "wandb", "wandb"),
    ):
        if asked and not machine.has_package(package):
            raise UserError(
                f"{name} is not installed", where=key, hint=f"`pip install {name}`, or change {key}"
            )
    if spec.report_to == "wandb" and not _wandb_can_start():
        raise UserError(
            "wandb would ask for a login, and a run has nobody to ask",
            where="report_to",
            hint="`wandb login` first, or WANDB_MODE=offline",
        )


def _evaluates(spec: Spec) -> bool:
    return bool(spec.eval_steps and (spec.eval_files or spec.eval_split))


def _compilers() -> tuple[str, ...]:
    own = os.environ.get("CXX", "").split()[:1]
    return (*own, "g++", "clang++", "c++")


def _wandb_can_start() -> bool:
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_MODE") in ("offline", "disabled"):
        return True
    return any((Path.home() / name).is_file() for name in (".netrc", "_netrc"))
