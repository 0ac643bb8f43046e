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
from transformers import set_seed
from transformers.utils import logging as transformers_logging

from finetune_tui.core.data.tokens import load_tokenizer
from finetune_tui.core.hardware import read_hardware
from finetune_tui.core.limits import bounded_memory
from finetune_tui.core.memory.estimate import Estimate, estimate, precision_of
from finetune_tui.core.models.inspection import inspect_folder
from finetune_tui.core.models.manifest import Manifest
from finetune_tui.core.models.resolve import ModelReference, find_model, load_manifest
from finetune_tui.core.runs.directory import RunDirectory
from finetune_tui.core.runs.processes import host_name
from finetune_tui.core.runs.state import Status
from finetune_tui.core.training import checkpoint
from finetune_tui.core.training.apply import apply_selection
from finetune_tui.core.training.arguments import training_arguments
from finetune_tui.core.training.batches import Collator
from finetune_tui.core.training.download import fetch_weights
from finetune_tui.core.training.feed import Feed, read_feed, spare_memory
from finetune_tui.core.training.load import Device, choose_device, load_base
from finetune_tui.core.training.loss import use_chunked_loss
from finetune_tui.core.training.probe import Probe
from finetune_tui.core.training.recovery import Batch, Training, train
from finetune_tui.core.training.reporter import Reporter
from finetune_tui.core.training.results import Results, read_back, write_results
from finetune_tui.core.training.samples import Samples
from finetune_tui.core.training.trainer import RunTrainer
from finetune_tui.core.training.vocabulary import trained_tokens
from finetune_tui.core.tuning.counting import trained_numbers
from finetune_tui.core.tuning.refusals import Machine, refuse_impossible, remarks
from finetune_tui.core.tuning.resolve import selection_of
from finetune_tui.core.tuning.selection import Selection
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
        tokens = trained_tokens(plan.spec, tokenizer)
        feed = read_feed(plan.spec, tokenizer, reporter, plan.manifest.config.context)
    samples = _samples(tokenizer, feed, plan.spec, reporter)
    is_measured = resumed_from is not None

    def make_model() -> Any:
        nonlocal is_measured
        reporter.phase("loading")
        base = load_base(plan.reference, plan.spec, plan.device)
        reporter.check()
        if not is_measured:
            samples.measure("before", base)
            is_measured = True
        reporter.phase("applying")
        set_seed(plan.spec.seed)  # LoRA starts from random numbers: the same seed, the same start
        model = apply_selection(base, plan.manifest, plan.selection, plan.spec, tokens)
        _choose_loss(model, plan.spec, reporter)
        return model

    def make_trainer(model: Any, batch: Batch) -> RunTrainer:
        reporter.phase("training")
        reporter.update(status=Status.RUNNING)
        return _trainer(model, feed, plan, batch, samples, run, reporter)

    training = Training(run, reporter, make_trainer, make_model)
    trainer = train(training, Batch.of(plan.spec, resumed_from), resumed_from)

    reporter.phase("saving")
    kept_step = trainer.restore_best()
    results = reporter.with_room(
        lambda: write_results(run, trainer.model, plan.selection),
        "the result",
        checkpoint.trained_bytes(trainer.model),
    )
    read_back(results, trainer.model, plan.selection)
    reporter.update(adapter_bytes=results.bytes)
    samples.measure("after", trainer.model)
    why = trainer.ending_words(kept_step)
    _say_finished(results, why, plan, reporter, time.monotonic() - began - reporter.held)


def _plan(run: RunDirectory) -> Plan:
    spec = run.spec()
    reference = find_model(spec.model_name_or_path)
    device = choose_device(spec, is_demo=reference.kind == "demo")
    manifest = load_manifest(reference, lambda folder, name: inspect_folder(folder, name).to_json())
    selection = selection_of(spec, manifest)
    refuse_impossible(spec, manifest, selection, _machine(device))
    return Plan(spec, reference, manifest, selection, device)


def _machine(device: Device) -> Machine:
    gpus = tuple(gpu.uuid for gpu in read_hardware().gpus if gpu.uuid)
    capability = torch.cuda.get_device_capability(0) if device.on_gpu else None
    return Machine(on_gpu=device.on_gpu, capability=capability, gpus=gpus)


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
        trainable_parameters=trained_numbers(plan.manifest, plan.selection, spec),
        parameters=plan.manifest.parameters,
        total_steps=spec.max_steps if spec.max_steps > 0 else None,
        predicted_device=_predicted(plan).device,
    )
    for message, key in remarks(plan.manifest, plan.selection, spec):
        reporter.event("warning", message=message, where=key)
    reporter.update(model=plan.reference.name, preset=spec.preset)


def _choose_loss(model: Any, spec: Spec, reporter: Reporter) -> None:
    """Liger brings its own loss in pieces."""
    if not spec.chunked_loss or spec.use_liger_kernel:
        return
    why = use_chunked_loss(model)
    if why is not None:
        message = f"this model keeps its own loss, which takes more memory: {why}"
        reporter.event("warning", message=message, where="chunked_loss")


def _trainer(
    model: Any,
    feed: Feed,
    plan: Plan,
    batch: Batch,
    samples: Samples,
    run: RunDirectory,
    reporter: Reporter,
) -> RunTrainer:
    evaluates = feed.held_out is not None
    spec = replace(
        plan.spec,
        per_device_train_batch_size=batch.rows,
        gradient_accumulation_steps=batch.accumulation,
    )
    arguments = training_arguments(spec, plan.device, run.checkpoints, evaluates)
    arguments.per_device_eval_batch_size = batch.eval_rows
    trainer = RunTrainer(
        reporter,
        run.checkpoints,
        spec,
        after_eval=samples.after_eval,
        model=model,
        args=arguments,
        train_dataset=feed.train,
        eval_dataset=feed.held_out,
        data_collator=Collator(),
    )
    if plan.device.on_gpu and not feed.peaks_first:
        trainer.add_callback(Probe(trainer, feed.longest))
    return trainer


def _samples(tokenizer: Any, feed: Feed, spec: Spec, reporter: Reporter) -> Samples:
    rows, longest = feed.held_out_rows, feed.longest_answer
    return Samples(tokenizer, rows, longest, spec, reporter, reporter.check)


def _say_finished(
    results: Results, why: str | None, plan: Plan, reporter: Reporter, seconds: float
) -> None:
    on_gpu = plan.device.on_gpu
    reporter.event(
        "finished",
        steps=reporter.state.step,
        why=why,
        train_loss=reporter.state.loss,
        eval_loss=reporter.state.best_eval_loss,
        adapter=str(results.adapter) if results.adapter else None,
        trained=str(results.trained) if results.trained else None,
        seconds=round(seconds, 1),
        peak_allocated=torch.cuda.max_memory_allocated() if on_gpu else None,
        peak_reserved=torch.cuda.max_memory_reserved() if on_gpu else None,
        peak_memory=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _MAXRSS_UNIT,
        predicted_allocated=_predicted(plan).allocated if on_gpu else None,
    )


def _predicted(plan: Plan) -> Estimate:
    precision = precision_of(plan.spec, plan.device.on_gpu)
    return estimate(plan.manifest, plan.selection, plan.spec, precision)


def _version(name: str) -> str | None:
    try:
        return version(name)
    except ModuleNotFoundError:
        return None
