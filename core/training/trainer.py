"""transformers' Trainer with our events, our checkpoints and our way of stopping.

The loop, the schedule, accumulation, clipping and the loss are Trainer's own. What is asked of the
worker is done between two micro-batches, and whatever is written then is the state of the last optimizer
step: its parameters and optimizer have not changed since, its random generators were noted.
"""

import math
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from transformers import PrinterCallback, TrainerCallback
from transformers.integrations.neftune import deactivate_neftune

from finetune_tui.core.training import checkpoint
from finetune_tui.core.training.checkpoint import Progress
from finetune_tui.core.training.evaluation import EvaluatingTrainer
from finetune_tui.core.training.finite import FiniteGuard
from finetune_tui.core.training.generators import Generators, undisturbed
from finetune_tui.core.training.out_of_memory import is_out_of_memory
from finetune_tui.core.training.reporter import Reporter, StopRequested
from finetune_tui.core.tuning.spec import Spec


class _Over(Exception):  # not an error
    """The checkpoint that was resumed from leaves nothing to train."""


class RunTrainer(EvaluatingTrainer):
    """Says every step, writes checkpoints that are complete or absent, stops when asked.

    after_eval: called with the model after each evaluation; it may draw random numbers. The batches may
    carry `rows` (where each row comes from, "file:line") and `tokens` (how many are no padding).
    """

    control: Any
    _globalstep_last_logged: int

    def __init__(
        self,
        reporter: Reporter,
        folder: Path,
        spec: Spec,
        after_eval: Callable[[Any], None] | None = None,
        **rest: Any,
    ) -> None:
        super().__init__(reporter, callbacks=[_Steps(self)], **rest)
        self.remove_callback(PrinterCallback)
        self._folder = folder
        self._spec = spec
        self._after_eval = after_eval
        self._progress = Progress(
            rows=self.args.per_device_train_batch_size,
            eval_rows=self.args.per_device_eval_batch_size,
        )
        self._tokens = 0  # those of the step that is not yet whole included
        self._generators = Generators.now()
        self._guard = FiniteGuard()
        self._loss = 0.0
        self._since = (time.monotonic(), 0.0, 0)
        self._written: tuple[int, Progress] | None = None
        self.last_checkpoint: Path | None = None
        self.is_clean = True
        """Parameters and optimizer are those of the last whole step: no optimizer is at work."""

    def go(self, resume_from: Path | None) -> None:
        """Train to the end. Raises StopRequested when asked to end before, the last step kept."""
        self._reporter.save = self.save_last_step
        try:
            self.train(resume_from_checkpoint=str(resume_from) if resume_from else None)
        except _Over:
            self.is_in_train = False
        except StopRequested:
            self._save_on_the_way_out()
            raise
        finally:
            self._reporter.save = None

    def save_last_step(self) -> Path | None:
        """A checkpoint of the last optimizer step, unless it lies there whole; None before the first."""
        step = self.state.global_step
        path = self._folder / checkpoint.folder_name(step)
        if step == 0:
            return None
        if self._written == (step, self._progress) and checkpoint.damage(path) is None:
            return path
        return self._write_checkpoint()

    def use_fewer_rows(self, rows: int) -> None:
        """Whoever resumes from the next checkpoint takes so many rows at once."""
        self._progress = replace(self._progress, rows=rows)

    def let_go(self) -> None:
        """Leave the model as it was given, without gradients, for another Trainer to take."""
        self.model.zero_grad(set_to_none=True)
        if self.neftune_noise_alpha is not None and hasattr(self, "neftune_hook_handle"):
            deactivate_neftune(self.model, self.neftune_hook_handle, self.accelerator)
        unwrapped = self.model.__dict__.pop("_original_forward", None)
        if unwrapped is not None:  # accelerate wraps forward in autocast, and would do so again
            self.model.forward = unwrapped
        self._guard.forget()
        self.is_in_train = False

    def restore_best(self) -> int:
        """Put the parameters of the best evaluation back, if that is wanted; the step they are of."""
        last, best = self.state.global_step, self.state.best_global_step
        if not self._spec.load_best_model_at_end or not best or best == last:
            return last
        path = self._folder / checkpoint.folder_name(best)
        damage = checkpoint.damage(path) if path.is_dir() else "it is gone"
        if damage is not None:
            message = f"the best step's checkpoint cannot be read ({damage}): the last step is kept"
            self._reporter.event("warning", message=message, where=str(path))
            return last
        checkpoint.load_trained(path, self.model)
        return best

    @property
    def early_stop(self) -> bool:
        """Whether the held-out loss has not got better for too long."""
        patience = self._spec.early_stopping_patience
        return 0 < patience <= self._progress.without_better

    def ending_words(self, kept_step: int) -> str | None:
        """Why the training ended before its last step, and whose parameters were kept; None: it did not."""
        if not self.early_stop or self.state.global_step >= self.state.max_steps:
            return None
        return (
            f"finished early at step {self.state.global_step}: no better evaluation in "
            f"{self._spec.early_stopping_patience}; the result is that of step {kept_step}"
        )

    # What Trainer calls, in the order of a step.

    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> Any:
        self._reporter.check()
        rows = inputs.pop("rows", [])
        self._tokens += _tokens_of(inputs)
        loss = super().training_step(model, inputs, num_items_in_batch)
        self._guard.saw(rows, loss)
        return loss

    def floating_point_ops(self, inputs: Any) -> int:
        """Nobody asks, and counting all parameters at every batch is not free."""
        return 0

    def _get_grad_norm(self, model: Any, grad_norm: Any = None) -> float:
        """Look at loss and gradient before the optimizer does: the one wait for the GPU of a step."""
        norm = super()._get_grad_norm(model, grad_norm)
        self._loss, length = torch.stack([self._tr_loss.float(), norm.float()]).tolist()
        self._tr_loss.zero_()
        kept = self.last_checkpoint.name if self.last_checkpoint else "none was written yet"
        self._guard.judge(
            self._loss,
            length,
            self.state.global_step + 1,
            scales=self.accelerator.scaler is not None,
            hint=f"the last good checkpoint: {kept}",
        )
        return float(length)

    def step_ended(self) -> None:
        """Note what a checkpoint of this step will need, however late it is written."""
        self._generators = Generators.now()
        self._progress = replace(self._progress, tokens=self._tokens)
        self.is_clean = True

    def _maybe_log_save_evaluate(
        self, tr_loss: Any, grad_norm: Any, *_: Any, learning_rate: float | None = None
    ) -> None:
        step = self.state.global_step
        if self.control.should_log and step > self._globalstep_last_logged:
            self._globalstep_last_logged = step
            self._total_loss_scalar += self._loss
            self._say_step(grad_norm, learning_rate)
        if self.control.should_evaluate:
            self._judge()
        if self.control.should_save:
            self._write_checkpoint()
            self.control = self.callback_handler.on_save(self.args, self.state, self.control)

    def log(self, logs: dict[str, Any], start_time: float | None = None) -> None:
        """For tensorboard and wandb alone: Trainer's own growing history is not kept."""
        if self.args.report_to:
            logs = {**logs, "epoch": self.state.epoch or 0.0}
            self.control = self.callback_handler.on_log(self.args, self.state, self.control, logs)

    def _say_step(self, grad_norm: float | None, learning_rate: float | None) -> None:
        state, loss = self.state, self._loss
        self._reporter.event(
            "step",
            step=state.global_step,
            total_steps=state.max_steps,
            loss=loss,
            learning_rate=learning_rate,
            grad_norm=grad_norm,
            tokens=self._tokens,
            tokens_per_second=self._rate(),
            epoch=state.epoch,
        )
        self._reporter.update(
            step=state.global_step, total_steps=state.max_steps, loss=loss, epoch=state.epoch
        )
        self.log({"loss": loss, "grad_norm": grad_norm, "learning_rate": learning_rate})

    def _rate(self) -> float | None:
        """Tokens a second since the last event, the time that was held left out."""
        now, (then, held, tokens) = time.monotonic(), self._since
        seconds = now - then - (self._reporter.held - held)
        self._restart_clock()
        return round((self._tokens - tokens) / seconds, 1) if seconds > 0 else None

    def _restart_clock(self) -> None:
        """Evaluating and saving are not slow training."""
        self._since = (time.monotonic(), self._reporter.held, self._tokens)

    # Evaluation.

    def _judge(self) -> None:
        """Evaluate, say whether that is the best yet, and let the samples be asked."""
        began, held = time.monotonic(), self._reporter.held
        with undisturbed():
            loss = float(self.evaluate()["eval_loss"])
            self._note(loss, time.monotonic() - began - (self._reporter.held - held))
            if self._after_eval is not None:
                self._ask_samples(self._after_eval)
        self._restart_clock()

    def _note(self, loss: float, seconds: float) -> None:
        state, step, best = self.state, self.state.global_step, self.state.best_metric
        is_best = math.isfinite(loss) and (best is None or loss < best)
        is_better = is_best and (best is None or best - loss > self._spec.early_stopping_threshold)
        without_better = 0 if is_better else self._progress.without_better + 1
        self._progress = replace(
            self._progress,
            evaluated=step,
            without_better=without_better,
            eval_rows=self.args.per_device_eval_batch_size,
        )
        seconds = round(seconds, 3)
        self._reporter.event("eval", step=step, eval_loss=loss, best=is_best, seconds=seconds)
        self._reporter.update(eval_loss=loss)
        if is_best:
            state.best_metric, state.best_global_step = loss, step
            self._reporter.update(best_eval_loss=loss, best_step=step)
            # What is best must be there to come back to.
            self.control.should_save |= self._spec.load_best_model_at_end and self.is_in_train
        if self.early_stop and step < state.max_steps:
            self._reporter.event(
                "early_stop",
                step=step,
                best_step=state.best_global_step,
                patience=self._spec.early_stopping_patience,
            )
            self.control.should_training_stop = self.control.should_save = True

    def _ask_samples(self, ask: Callable[[Any], None]) -> None:
        try:
            ask(self.model)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            message = "out of memory while samples were answered: they are left out this time"
            self._reporter.event("warning", message=message, where="eval_samples")

    # Checkpoints.

    def _write_checkpoint(self) -> Path:
        began, held = time.monotonic(), self._reporter.held
        step = self.state.global_step
        path = self._reporter.with_room(
            self._write_once, f"a checkpoint of step {step}", checkpoint.bytes_needed(self)
        )
        checkpoint.keep(
            self._folder, step, self.state.best_global_step, self._spec.save_total_limit
        )
        seconds = time.monotonic() - began - (self._reporter.held - held)
        self._reporter.event(
            "checkpoint",
            step=step,
            path=path.name,
            bytes=sum(file.stat().st_size for file in path.iterdir()),
            seconds=round(seconds, 3),
        )
        self._restart_clock()
        return path

    def _write_once(self) -> Path:
        path = checkpoint.write_checkpoint(self._folder, self, self._generators, self._progress)
        self.last_checkpoint, self._written = path, (self.state.global_step, self._progress)
        return path

    def _save_on_the_way_out(self) -> None:
        """On a full disk nobody waits any more: what was written before is what stays."""
        try:
            self.save_last_step()
        except StopRequested:
            self._reporter.event(
                "warning",
                message=f"the disk is full: no checkpoint of step {self.state.global_step}",
                where=str(self._folder),
            )

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        checkpoint.load_trained(Path(resume_from_checkpoint), model or self.model)

    def _load_optimizer_and_scheduler(self, checkpoint_path: str | None) -> None:
        if checkpoint_path is None:
            return
        path = Path(checkpoint_path)
        checkpoint.load_optimizer(path, self.optimizer, self.lr_scheduler)
        found = checkpoint.progress_of(path)
        self._written, self.last_checkpoint = (checkpoint.step_of(path), found), path
        self._progress = replace(
            found, rows=self._progress.rows, eval_rows=self._progress.eval_rows
        )
        self._tokens = found.tokens
        self._generators = checkpoint.generators_of(path)
        self._restart_clock()

    def _load_scaler(self, checkpoint_path: str | None) -> None:
        if checkpoint_path is not None:
            checkpoint.load_scaler(Path(checkpoint_path), self.accelerator.scaler)

    def _load_rng_state(self, checkpoint_path: str | None) -> None:
        if checkpoint_path is not None:
            self._generators.put_back()

    def make_up(self) -> None:
        """Before the first step after resuming: the evaluation a stop cut off. Raises _Over at the end."""
        state, args = self.state, self.args
        step, last = state.global_step, state.max_steps
        if step == 0:
            return
        is_due = step >= last or step % state.eval_steps == 0
        if args.eval_strategy != "no" and is_due and self._progress.evaluated < step:
            self._judge()
            if self.control.should_save:
                self._write_checkpoint()
        if step >= last or self.early_stop:
            raise _Over


class _Steps(TrainerCallback):
    """Trainer's own marks in the course of a training."""

    def __init__(self, trainer: RunTrainer) -> None:
        self._trainer = trainer

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        self._trainer.make_up()

    def on_pre_optimizer_step(self, *_: Any, **__: Any) -> None:
        self._trainer.is_clean = False

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self._trainer.step_ended()


def _tokens_of(inputs: Any) -> int:
    """How many tokens a batch holds, padding left out where the batch says so."""
    if "tokens" in inputs:
        return int(inputs.pop("tokens"))
    if "attention_mask" in inputs:
        return int(inputs["attention_mask"].sum())
    return int(inputs["input_ids"].numel())
