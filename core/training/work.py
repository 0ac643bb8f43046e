"""The whole of a run, top to bottom: from spec to adapter."""

import platform
import resource
import sys
import time
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerState, set_seed
from transformers.utils import logging as transformers_logging

from finetune_tui.core.data.tokens import load_tokenizer
from finetune_tui.core.limits import bounded_memory
from finetune_tui.core.memory.estimate import estimate, precision_of
from finetune_tui.core.models.inspection import inspect_folder
from finetune_tui.core.models.manifest import Manifest
from finetune_tui.core.models.resolve import ModelReference, find_model, load_manifest
from finetune_tui.core.runs.directory import RunDirectory
from finetune_tui.core.runs.processes import host_name
from finetune_tui.core.runs.state import Status
from finetune_tui.core.training import checkpoint
from finetune_tui.core.training.apply import apply_selection
from finetune_tui.core.training.arguments import training_arguments
from finetune_tui.core.training.download import fetch_weights
from finetune_tui.core.training.feed import Data, Padding, TokenRows, read_data, spare_memory
from finetune_tui.core.training.load import Device, choose_device, load_base
from finetune_tui.core.training.reporter import Reporter, StopRequested
from finetune_tui.core.training.results import Results, write_results
from finetune_tui.core.training.samples import Samples
from finetune_tui.core.training.trainer import RunTrainer
from finetune_tui.core.tuning.resolve import selection_of
from finetune_tui.core.tuning.selection import Selection, trainable_parameters
from finetune_tui.core.tuning.spec import Spec

_MAXRSS_UNIT = 1 if sys.platform == "darwin" else 1024  # bytes
VERSIONS = ("finetune-tui", "torch", "transformers", "peft", "accelerate", "bitsandbytes")


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that is known before a weight is loaded."""

    spec: Spec
    reference: ModelReference
    manifest: Manifest
    selection: Selection
    device: Device


def work(run: RunDirectory, reporter: Reporter, resume: bool) -> None:
    """Do the whole run. Raises UserError, WorkFailed or StopRequested."""
    began = time.monotonic()
    transformers_logging.disable_progress_bar()
    resumed_from = _resume_point(run, reporter) if resume else None
    plan = _plan(run)
    _say_started(plan, reporter)
    reporter.check()

    plan = replace(plan, reference=fetch_weights(plan.reference, reporter))
    reporter.phase("loading")
    with bounded_memory(spare_memory()):
        tokenizer = load_tokenizer(plan.reference.weights, plan.reference.name)
        data = read_data(plan.spec, tokenizer, reporter)
    reporter.phase("loading")
    model = load_base(plan.reference, plan.spec, plan.device)
    reporter.check()
    samples = _samples(tokenizer, data, plan.spec, reporter)
    if resumed_from is None:
        samples.measure("before", model)

    reporter.phase("applying")
    set_seed(plan.spec.seed)  # LoRA starts from random numbers: the same seed, the same start
    adapted = apply_selection(model, plan.manifest, plan.selection, plan.spec)
    trainer = _trainer(adapted, data, plan, run, reporter)

    reporter.phase("training")
    reporter.update(status=Status.RUNNING)
    _train(trainer, resumed_from)
    stop = reporter.stop_asked()
    if stop and trainer.state.global_step < trainer.state.max_steps:
        raise StopRequested(stop)

    reporter.phase("saving")
    trainer.restore_best()
    results = write_results(run, trainer.model, plan.selection)
    reporter.update(adapter_bytes=results.bytes)
    samples.measure("after", trainer.model)
    _say_finished(results, plan, reporter, time.monotonic() - began)


def _plan(run: RunDirectory) -> Plan:
    spec = run.spec()
    reference = find_model(spec.model_name_or_path)
    device = choose_device(spec, is_demo=reference.kind == "demo")
    manifest = load_manifest(reference, lambda folder, name: inspect_folder(folder, name).to_json())
    return Plan(spec, reference, manifest, selection_of(spec, manifest), device)


def _resume_point(run: RunDirectory, reporter: Reporter) -> Path | None:
    """The checkpoint to go on from, with the thread count it was computed with."""
    path, skipped = checkpoint.newest_valid(run.checkpoints)
    step = int(path.name.removeprefix("step-")) if path else 0
    reporter.event(
        "resumed",
        step=step,
        checkpoint=path.name if path else None,
        skipped=[{"path": item.path.name, "why": item.why} for item in skipped],
    )
    if path is not None:
        torch.set_num_threads(checkpoint.threads_of(path))
    return path


def _say_started(plan: Plan, reporter: Reporter) -> None:
    spec = plan.spec
    reporter.event(
        "started",
        model=plan.reference.name,
        preset=spec.preset,
        host=host_name(),
        attempt=reporter.state.attempt,
        device=str(plan.device.torch_device),
        dtype=str(plan.device.dtype).removeprefix("torch."),
        threads=torch.get_num_threads(),
        versions={
            "python": platform.python_version(),
            **{name: _version(name) for name in VERSIONS},
        },
        trainable_parameters=trainable_parameters(plan.manifest, plan.selection, spec.lora_r),
        parameters=plan.manifest.parameters,
        total_steps=spec.max_steps if spec.max_steps > 0 else None,
    )
    reporter.update(model=plan.reference.name, preset=spec.preset)


def _trainer(
    adapted: Any, data: Data, plan: Plan, run: RunDirectory, reporter: Reporter
) -> RunTrainer:
    evaluates = bool(data.held_out)
    return RunTrainer(
        reporter,
        run.checkpoints,
        model=adapted,
        args=training_arguments(plan.spec, plan.device, run.checkpoints, evaluates),
        train_dataset=TokenRows(data.train),
        eval_dataset=TokenRows(data.held_out) if evaluates else None,
        data_collator=Padding(),
    )


def _train(trainer: RunTrainer, resumed_from: Path | None) -> None:
    """Train to the end or to a stop. A checkpoint of the last step leaves nothing to train."""
    if resumed_from is not None:
        state = TrainerState.load_from_json(str(resumed_from / checkpoint.TRAINER_STATE))
        if state.global_step >= state.max_steps > 0:
            checkpoint.load_trained(resumed_from, trainer.model)
            trainer.state = state
            return
    trainer.train(resume_from_checkpoint=str(resumed_from) if resumed_from else None)


def _samples(tokenizer: Any, data: Data, spec: Spec, reporter: Reporter) -> Samples:
    longest = max((row.trained for row in data.held_out), default=0)
    return Samples(tokenizer, data.held_out_rows, longest, spec, reporter, reporter.check)


def _say_finished(results: Results, plan: Plan, reporter: Reporter, seconds: float) -> None:
    precision = precision_of(plan.spec, plan.device.on_gpu)
    predicted = estimate(plan.manifest, plan.selection, plan.spec, precision).allocated
    on_gpu = plan.device.on_gpu
    reporter.event(
        "finished",
        steps=reporter.state.step,
        train_loss=reporter.state.loss,
        eval_loss=reporter.state.best_eval_loss,
        adapter=str(results.adapter) if results.adapter else None,
        trained=str(results.trained) if results.trained else None,
        seconds=round(seconds, 1),
        peak_allocated=torch.cuda.max_memory_allocated() if on_gpu else None,
        peak_reserved=torch.cuda.max_memory_reserved() if on_gpu else None,
        peak_memory=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _MAXRSS_UNIT,
        predicted_allocated=predicted if on_gpu else None,
    )


def _version(name: str) -> str | None:
    try:
        return version(name)
    except ModuleNotFoundError:
        return None
