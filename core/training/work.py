"""The whole of a run, top to bottom: from spec to adapter."""

import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from transformers import set_seed
from transformers.utils import logging as transformers_logging

from finetune_tui.core.data.tokens import load_tokenizer
from finetune_tui.core.hardware import read_hardware
from finetune_tui.core.limits import bounded_memory
from finetune_tui.core.memory.estimate import Estimate
from finetune_tui.core.runs.directory import RunDirectory
from finetune_tui.core.runs.processes import host_name
from finetune_tui.core.runs.state import Status
from finetune_tui.core.training import checkpoint
from finetune_tui.core.training.apply import apply_selection
from finetune_tui.core.training.arguments import training_arguments
from finetune_tui.core.training.batches import Collator
from finetune_tui.core.training.download import fetch_weights
from finetune_tui.core.training.feed import Feed, read_feed, spare_memory
from finetune_tui.core.training.load import load_base
from finetune_tui.core.training.loss import use_chunked_loss
from finetune_tui.core.training.metering import Meter
from finetune_tui.core.training.plan import Plan, make_plan
from finetune_tui.core.training.probe import Probe
from finetune_tui.core.training.recomputing import recompute_blocks
from finetune_tui.core.training.recovery import Batch, Training, train
from finetune_tui.core.training.reporter import Reporter
from finetune_tui.core.training.results import Results, read_back, write_results
from finetune_tui.core.training.samples import Samples
from finetune_tui.core.training.trainer import RunTrainer
from finetune_tui.core.training.vocabulary import trained_tokens
from finetune_tui.core.tuning.counting import trained_numbers
from finetune_tui.core.tuning.refusals import remarks
from finetune_tui.core.tuning.spec import Spec

VERSIONS = ("finetune-tui", "torch", "transformers", "peft", "accelerate", "bitsandbytes")


def work(run: RunDirectory, reporter: Reporter, resume: bool) -> None:
    """Do the whole run. Raises UserError, WorkFailed or StopRequested."""
    began = time.monotonic()
    before = read_hardware()  # while nothing of this run is on a GPU
    transformers_logging.disable_progress_bar()
    resumed_from = _resume_point(run, reporter) if resume else None
    plan = make_plan(run, before)
    meter = Meter(run, plan, before, reporter)
    _say_started(plan, meter.predicted, reporter)
    meter.refuse_hopeless()
    reporter.check()

    plan = replace(plan, reference=fetch_weights(plan.reference, reporter.say))
    reporter.phase("loading")
    with bounded_memory(spare_memory()):
        tokenizer = load_tokenizer(plan.reference.weights, plan.reference.name)
        tokens = trained_tokens(plan.spec, tokenizer)
        feed = read_feed(plan.spec, tokenizer, reporter, plan.manifest.config.context)
    batch = Batch.of(plan.spec, resumed_from)
    meter.expect(batch.rows, batch.accumulation, feed.longest)
    meter.check()
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
        return adapted(base, plan, tokens, reporter)

    def make_trainer(model: Any, batch: Batch) -> RunTrainer:
        reporter.phase("training")
        reporter.update(status=Status.RUNNING)
        meter.expect(batch.rows, batch.accumulation, feed.longest)
        trainer = trainer_for(model, feed, plan, batch, samples.after_eval, run, reporter)
        trainer.add_callback(meter.callback())
        return trainer

    training = Training(run, reporter, make_trainer, make_model, meter.words)
    with meter.watching():
        trainer = train(training, batch, resumed_from)
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
    seconds = time.monotonic() - began - reporter.held
    _say_finished(results, trainer.ending_words(kept_step), seconds, meter, reporter)


def adapted(base: Any, plan: Plan, tokens: Sequence[int], reporter: Reporter) -> Any:
    """The base as it will train: with its selection, its way of checkpointing and its loss."""
    spec = plan.spec
    set_seed(spec.seed)  # LoRA starts from random numbers: the same seed, the same start
    model = apply_selection(base, plan.manifest, plan.selection, spec, tokens)
    if spec.gradient_checkpointing:
        recompute_blocks(model)
    if spec.chunked_loss and not spec.use_liger_kernel:  # Liger brings its own loss in pieces
        why = use_chunked_loss(model)
        if why is not None:
            message = f"this model keeps its own loss, which takes more memory: {why}"
            reporter.event("warning", message=message, where="chunked_loss")
    return model


def trainer_for(
    model: Any,
    feed: Feed,
    plan: Plan,
    batch: Batch,
    after_eval: Callable[[Any], None],
    run: RunDirectory,
    reporter: Reporter,
) -> RunTrainer:
    """A trainer of `adapted`. after_eval: called with the model after each evaluation."""
    evaluates = feed.held_out is not None
    spec = replace(
        plan.spec,
        per_device_train_batch_size=batch.rows,
        gradient_accumulation_steps=batch.accumulation,
    )
    if getattr(model, "is_quantized", False) and not hasattr(model, "peft_config"):
        # Trainer wants an adapter on a quantised model. What trains here is never quantised: biases, norms.
        model._hf_peft_config_loaded = True
    arguments = training_arguments(spec, plan.device, run.checkpoints, evaluates)
    arguments.per_device_eval_batch_size = batch.eval_rows
    trainer = RunTrainer(
        reporter,
        run.checkpoints,
        spec,
        after_eval=after_eval,
        model=model,
        args=arguments,
        train_dataset=feed.train,
        eval_dataset=feed.held_out,
        data_collator=Collator(),
    )
    if plan.device.on_gpu and not feed.peaks_first:
        trainer.add_callback(Probe(trainer, feed.longest))
    return trainer


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
    reporter.update(step=step)  # a stop before the next step is at this one
    if path is not None:
        torch.set_num_threads(checkpoint.threads_of(path))
    return path


def _say_started(plan: Plan, predicted: Estimate, reporter: Reporter) -> None:
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
        predicted_device=predicted.device,
    )
    for message, key in remarks(plan.manifest, plan.selection, spec):
        reporter.event("warning", message=message, where=key)
    reporter.update(model=plan.reference.name, preset=spec.preset)


def _samples(tokenizer: Any, feed: Feed, spec: Spec, reporter: Reporter) -> Samples:
    rows, longest = feed.held_out_rows, feed.longest_answer
    return Samples(tokenizer, rows, longest, spec, reporter, reporter.check)


def _say_finished(
    results: Results, why: str | None, seconds: float, meter: Meter, reporter: Reporter
) -> None:
    reporter.event(
        "finished",
        steps=reporter.state.step,
        why=why,
        train_loss=reporter.state.loss,
        eval_loss=reporter.state.best_eval_loss,
        adapter=str(results.adapter) if results.adapter else None,
        trained=str(results.trained) if results.trained else None,
        seconds=round(seconds, 1),
        **meter.figures(),
    )


def _version(name: str) -> str | None:
    try:
        return version(name)
    except ModuleNotFoundError:
        return None
