"""The whole of a run, top to bottom: from spec to adapter."""

import platform
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerState, set_seed
from transformers.utils import logging as transformers_logging

from finetune_tui.core.data.reading import read_rows, split_rows
from finetune_tui.core.data.rows import BadRow, Row
from finetune_tui.core.data.tokens import TokenRow, load_tokenizer, token_row
from finetune_tui.core.errors import UserError
from finetune_tui.core.hardware import read_hardware
from finetune_tui.core.limits import MOST_MEMORY, bounded_memory
from finetune_tui.core.memory.estimate import estimate, precision_of
from finetune_tui.core.models.inspection import inspect_folder
from finetune_tui.core.models.manifest import Manifest
from finetune_tui.core.models.resolve import ModelReference, find_model, load_manifest
from finetune_tui.core.runs.directory import RunDirectory
from finetune_tui.core.runs.processes import host_name
from finetune_tui.core.runs.state import Status
from finetune_tui.core.training import checkpoint
from finetune_tui.core.training.apply import apply_selection
from finetune_tui.core.training.download import fetch_weights
from finetune_tui.core.training.load import Device, choose_device, load_base
from finetune_tui.core.training.replies import answer, can_be_asked
from finetune_tui.core.training.reporter import Reporter, StopRequested
from finetune_tui.core.training.results import Results, write_results
from finetune_tui.core.training.trainer import Padding, RunTrainer, TokenRows, training_arguments
from finetune_tui.core.tuning.selection import Selection, trainable_parameters
from finetune_tui.core.tuning.spec import Spec, selection_of

VERSIONS = ("finetune-tui", "torch", "transformers", "peft", "accelerate", "bitsandbytes")


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that is known before a weight is loaded."""

    spec: Spec
    reference: ModelReference
    manifest: Manifest
    selection: Selection
    device: Device


@dataclass(frozen=True, slots=True)
class Data:
    """Token rows to train on and to hold out, and the held-out rows as text."""

    train: list[TokenRow]
    held_out: list[TokenRow]
    held_out_rows: list[Row]


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
    with bounded_memory(_spare_memory()):
        tokenizer = load_tokenizer(plan.reference.weights, plan.reference.name)
        data = _read_data(plan.spec, tokenizer, reporter)
    reporter.phase("loading")
    model = load_base(plan.reference, plan.spec, plan.device)
    reporter.check()
    if resumed_from is None:
        _measure("before", model, tokenizer, data, plan.spec, reporter)

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
    _measure("after", trainer.model, tokenizer, data, plan.spec, reporter)
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


def _read_data(spec: Spec, tokenizer: Any, reporter: Reporter) -> Data:
    """Raises UserError when nothing is left that could be trained on."""
    if not spec.train_files:
        raise UserError("no training data is named", where="train_files")
    found = read_rows([Path(file) for file in spec.train_files], strict=spec.strict)
    _say_bad_rows(found.bad_rows, reporter)
    train_rows: Sequence[Row] = found.rows
    held_out_rows: Sequence[Row] = ()
    if spec.eval_files:
        kept_apart = read_rows([Path(file) for file in spec.eval_files], strict=spec.strict)
        _say_bad_rows(kept_apart.bad_rows, reporter)
        held_out_rows = kept_apart.rows
    elif spec.eval_split:
        train_rows, held_out_rows = split_rows(found.rows, spec.eval_split, spec.seed)
    train = _tokenise(train_rows, spec, tokenizer, reporter)
    if not train:
        raise UserError(
            "no row has a token to train on",
            where=spec.train_files[0],
            hint="raise max_length, or look at the rows with `finetune-tui data`",
        )
    held_out = _tokenise(held_out_rows, spec, tokenizer, reporter)
    return Data(train, held_out, list(held_out_rows))


def _spare_memory() -> int:
    """Bytes that rows and templates may take: data may be large, and the machine must go on."""
    available = read_hardware().memory_available
    return MOST_MEMORY if available is None else max(MOST_MEMORY, available * 9 // 10)


def _tokenise(
    rows: Sequence[Row], spec: Spec, tokenizer: Any, reporter: Reporter
) -> list[TokenRow]:
    """The rows that have something to train; the others are named. With `strict` they are an error."""
    tokenised: list[TokenRow] = []
    unusable: list[BadRow] = []
    next_word = time.monotonic()
    for done, row in enumerate(rows):
        if time.monotonic() >= next_word:
            next_word = time.monotonic() + 1
            reporter.phase("tokenising", done, len(rows))
            reporter.check()
        try:
            tokens = token_row(row, tokenizer, spec.max_length, spec.completion_only_loss)
            if not tokens.trained:
                raise UserError("no trained tokens", where=f"{row.path}:{row.line}")
        except UserError as error:
            if spec.strict:
                raise
            unusable.append(BadRow(row.path, row.line, error.message))
        else:
            tokenised.append(tokens)
    _say_bad_rows(unusable, reporter)
    cut = sum(row.cut > 0 for row in tokenised)
    if cut:
        longest = spec.max_length
        message = f"{cut} of {len(rows)} rows are longer than max_length {longest} and were cut"
        reporter.event("warning", message=message, where="max_length")
    return tokenised


def _say_bad_rows(bad_rows: Sequence[BadRow], reporter: Reporter, most: int = 20) -> None:
    for bad in bad_rows[:most]:
        reporter.event("warning", message=f"skipped: {bad.error}", where=f"{bad.path}:{bad.line}")
    if len(bad_rows) > most:
        message = f"{len(bad_rows) - most} more bad rows skipped"
        reporter.event("warning", message=message, where=None)


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


def _measure(
    when: str, model: Any, tokenizer: Any, data: Data, spec: Spec, reporter: Reporter
) -> None:
    """How many held-out prompts are answered exactly right; with `eval_replies` only."""
    rows = [row for row in data.held_out_rows if can_be_asked(row)][: spec.eval_replies]
    if not rows:
        return
    reporter.phase("measuring", 0, len(rows))

    def progress(done: int, total: int) -> None:
        reporter.phase("measuring", done, total)
        reporter.check()

    longest = max(row.trained for row in data.held_out) + 8
    replies = answer(model, tokenizer, rows, longest, progress)
    for reply in replies[:3]:
        reporter.event(
            "sample",
            step=reporter.state.step or 0,
            when=when,
            prompt=reply.prompt,
            expected=reply.expected,
            reply=reply.reply,
            correct=reply.is_exact,
        )
    exact = sum(reply.is_exact for reply in replies)
    reporter.event("measured", when=when, exact=exact, total=len(replies))


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
        predicted_allocated=predicted if on_gpu else None,
    )


def _version(name: str) -> str | None:
    try:
        return version(name)
    except ModuleNotFoundError:
        return None
