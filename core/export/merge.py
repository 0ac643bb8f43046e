"""The whole of an export, top to bottom: from a trained run to a folder anybody can load, and the Hub."""

import gc
import hashlib
import json
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch
from safetensors import SafetensorError

from finetune_tui.core.errors import WorkFailed
from finetune_tui.core.export.adapter_files import write_adapter
from finetune_tui.core.export.beside import write_beside
from finetune_tui.core.export.destination import check_out, free_beside, made_aside
from finetune_tui.core.export.exported import NOTE, Exported, exported_by, note_of
from finetune_tui.core.export.merging import merge_in_place, write_model
from finetune_tui.core.export.plan import (
    ExportPlan,
    Trained,
    make_plan,
    read_trained,
    refuse_without_room,
)
from finetune_tui.core.export.push import push
from finetune_tui.core.export.push_plan import plan_push
from finetune_tui.core.export.tokenizer_files import write_tokenizer
from finetune_tui.core.export.verify import (
    Difference,
    check_prompts,
    compare,
    load_plain,
    logits_of,
)
from finetune_tui.core.files import write_atomically
from finetune_tui.core.hardware import read_hardware
from finetune_tui.core.models.inspection import inspect_folder
from finetune_tui.core.models.manifest import Manifest
from finetune_tui.core.models.resolve import load_manifest
from finetune_tui.core.runs.directory import RunDirectory
from finetune_tui.core.runs.targets import target_of
from finetune_tui.core.text import plain, size
from finetune_tui.core.training.download import fetch_weights
from finetune_tui.core.training.load import DTYPES
from finetune_tui.core.training.reporter import Reporter
from finetune_tui.core.training.room import is_disk_full
from finetune_tui.core.training.tuned import load_tuned
from finetune_tui.core.tuning.resolve import selection_of
from finetune_tui.core.tuning.task_spec import ExportSpec


def work(run: RunDirectory, reporter: Reporter, resume: bool) -> None:  # noqa: ARG001
    """Do the whole export. Raises UserError, WorkFailed or StopRequested; `out` is then as it was.

    A second attempt finds what the first one put in place, and only pushes.
    """
    began = time.monotonic()
    spec = run.task_spec()
    assert isinstance(spec, ExportSpec)
    key = _key(run)
    exported = exported_by(Path(spec.out), key)
    if exported is None:
        exported = _export(run, spec, key, reporter)
    reporter.event("exported", **exported.to_json())
    pushed = None
    if spec.push_to is not None:
        sent = push(exported.out, spec.push_to, spec.private, reporter.phase, reporter.check)
        pushed = sent.to_json()
    seconds = round(time.monotonic() - began, 1)
    reporter.event(
        "finished", why=exported.words, seconds=seconds, pushed=pushed, **exported.to_json()
    )


def _key(run: RunDirectory) -> str:
    """Tells the folders of one export from those of all others, and nothing else."""
    return hashlib.sha256(f"{run.id} {run.state().created}".encode()).hexdigest()[:16]


def _export(run: RunDirectory, spec: ExportSpec, key: str, reporter: Reporter) -> Exported:
    out = Path(spec.out)
    check_out(out)
    trained = read_trained(target_of(spec))
    manifest = load_manifest(
        trained.reference, lambda folder, name: inspect_folder(folder, name).to_json()
    )
    hardware = read_hardware(out)
    plan = make_plan(spec, trained, manifest, hardware)
    refuse_without_room(plan)
    if plan.memory and plan.device == "memory" and hardware.gpus and not spec.use_cpu:
        reporter.event(
            "warning", message="no GPU has the room free: it is done on the CPU", where=None
        )
    if spec.push_to is not None:  # what the Hub would refuse, before hours go into it
        plan_push({file.name: file.bytes for file in plan.files}, spec.push_to, spec.private)
    reporter.check()
    trained = replace(trained, reference=fetch_weights(trained.reference, reporter.say))
    try:
        with made_aside(out) as folder:
            if plan.dtype is None:
                difference = None
                write_adapter(folder, trained, manifest, plan, reporter)
            else:
                difference = _write_merged(folder, trained, plan, plan.dtype, reporter)
            exported = _finish(folder, trained, manifest, plan, difference, key)
            reporter.check()
    except (OSError, SafetensorError) as error:
        if not is_disk_full(error):
            raise
        free = free_beside(out)
        raise WorkFailed(
            f"the disk is full: the export needs {size(plan.bytes)}"
            + ("" if free is None else f", {size(free)} is free again"),
            where=f"out: {plain(str(out), 200)}",
            hint=f"make room, then `finetune-tui resume {plain(run.short_id)}` does it again",
        ) from error
    return exported


def _write_merged(
    folder: Path, trained: Trained, plan: ExportPlan, dtype_name: str, reporter: Reporter
) -> Difference:
    """Weights, config and generation config, read back before this returns."""
    dtype = DTYPES[dtype_name]
    on_cpu = plan.device == "memory" or not torch.cuda.is_available()
    tuned = load_tuned(trained.run, use_cpu=on_cpu, dtype=dtype_name, say=reporter.say)
    prompts = check_prompts(trained, tuned.tokenizer, tuned.manifest.config.vocabulary)
    reporter.say("measuring")
    with _exact_products():
        with tuned.precision(), tuned.as_base() as model:
            base = logits_of(model, prompts, reporter.check)
        with tuned.precision(), tuned.as_tuned() as model:
            wanted = logits_of(model, prompts, reporter.check)
        names = tuple(selection_of(tuned.spec, tuned.manifest).choices)
        device, model = tuned.device.torch_device, tuned.model
        del tuned
        model = merge_in_place(model, dtype, names, _tell(reporter, "merging"))
        write_model(model, folder, _tell(reporter, "writing"))
        _copy_generation_settings(trained, folder)
        del model
        _let_go()
        reporter.say("verifying")
        again = load_plain(folder, dtype, device)
        found = logits_of(again, prompts, reporter.check)
        del again
        _let_go()
    return compare(wanted, found, base, dtype)


def _copy_generation_settings(trained: Trained, folder: Path) -> None:
    """As the base was published: how long answers are, where they end."""
    source = trained.reference.folder
    if source is not None and (source / "generation_config.json").is_file():
        shutil.copyfile(source / "generation_config.json", folder / "generation_config.json")


def _finish(
    folder: Path,
    trained: Trained,
    manifest: Manifest,
    plan: ExportPlan,
    difference: Difference | None,
    key: str,
) -> Exported:
    """Everything that goes beside, and the note that says what this folder is."""
    write_tokenizer(folder, trained)
    told = Exported(plan.out, plan.merge, plan.dtype, _size(folder), 0)
    if difference is not None:
        told = replace(
            told,
            difference=difference.largest,
            tolerance=difference.tolerance,
            moved=difference.moved,
            prompts=difference.prompts,
        )
    write_beside(folder, trained, manifest, told, plan.notes)
    files = sum(path.is_file() for path in folder.rglob("*")) + 1
    exported = replace(told, bytes=_size(folder), files=files)
    write_atomically(folder / NOTE, json.dumps(note_of(exported, key), indent=1) + "\n")
    return exported


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _tell(reporter: Reporter, phase: str) -> Callable[[int, int], None]:
    return lambda done, total: reporter.say(phase, done, total)


@contextmanager
def _exact_products() -> Iterator[None]:
    """Float32 products without TF32's shortcut: what is compared shall differ by nothing else."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def _let_go() -> None:
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
