"""transformers' Trainer with our events, our checkpoints and our way of stopping.

The loop, the schedule, accumulation, clipping and the loss are Trainer's own.
"""

import math
import time
from pathlib import Path
from typing import Any

from transformers import PrinterCallback, Trainer, TrainerCallback

from finetune_tui.core.errors import WorkFailed
from finetune_tui.core.training import checkpoint
from finetune_tui.core.training.reporter import Reporter


class RunTrainer(Trainer):
    """Says every step, writes checkpoints that are complete or absent, stops when asked."""

    def __init__(self, reporter: Reporter, folder: Path, **rest: Any) -> None:
        super().__init__(callbacks=[_Requests(reporter)], **rest)
        self.remove_callback(PrinterCallback)
        self._reporter = reporter
        self._folder = folder
        self._tokens = 0
        self._since = (time.monotonic(), 0)
        self.last_checkpoint: Path | None = None

    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> Any:
        self._tokens += int(inputs["attention_mask"].sum())
        return super().training_step(model, inputs, num_items_in_batch)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """One event a step or evaluation; Trainer's own growing history is not kept."""
        if "loss" in logs:
            self._say_step(logs)
        elif "eval_loss" in logs:
            self._say_eval(logs)

    def _say_step(self, logs: dict[str, float]) -> None:
        step, loss = self.state.global_step, logs["loss"]
        grad_norm = logs.get("grad_norm")
        self._reporter.event(
            "step",
            step=step,
            total_steps=self.state.max_steps,
            loss=loss,
            learning_rate=logs.get("learning_rate"),
            grad_norm=grad_norm,
            tokens=self._tokens,
            tokens_per_second=self._rate(),
            epoch=self.state.epoch,
        )
        self._reporter.update(
            step=step, total_steps=self.state.max_steps, loss=loss, epoch=self.state.epoch
        )
        if not math.isfinite(loss) or (grad_norm is not None and not math.isfinite(grad_norm)):
            kept = self.last_checkpoint.name if self.last_checkpoint else "none was written yet"
            raise WorkFailed(
                f"the loss is not a number any more at step {step}",
                hint=f"lower learning_rate or max_grad_norm; the last good checkpoint: {kept}",
            )

    def _say_eval(self, logs: dict[str, float]) -> None:
        loss, step = logs["eval_loss"], self.state.global_step
        best = self.state.best_metric
        is_best = best is None or loss < best
        self._reporter.event("eval", step=step, eval_loss=loss, best=is_best)
        self._since = (time.monotonic(), self._tokens)  # evaluating is not slow training
        self._reporter.update(eval_loss=loss)
        if is_best:
            self._reporter.update(best_eval_loss=loss, best_step=step)
            self.control.should_save = (
                self.is_in_train
            )  # what is best must be there to come back to

    def _rate(self) -> float | None:
        """Tokens a second since the last event."""
        now, (then, tokens) = time.monotonic(), self._since
        self._since = (now, self._tokens)
        return round((self._tokens - tokens) / (now - then), 1) if now > then else None

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        began = time.monotonic()
        step = self.state.global_step
        self.state.stateful_callbacks["Tokens"] = {"tokens": self._tokens}
        path = checkpoint.write_checkpoint(self._folder, step, self)
        self.last_checkpoint = path
        checkpoint.keep_only(self._folder, {step, self.state.best_global_step or step})
        self._reporter.event(
            "checkpoint",
            step=step,
            path=path.name,
            bytes=sum(file.stat().st_size for file in path.iterdir()),
            seconds=round(time.monotonic() - began, 3),
        )

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        checkpoint.load_trained(Path(resume_from_checkpoint), model or self.model)

    def _load_optimizer_and_scheduler(self, checkpoint_path: str | None) -> None:
        if checkpoint_path is not None:
            path = Path(checkpoint_path)
            checkpoint.load_optimizer(path, self.optimizer, self.lr_scheduler)
            self._tokens = self.state.stateful_callbacks.get("Tokens", {}).get("tokens", 0)
            self._since = (time.monotonic(), self._tokens)
            self.last_checkpoint = path

    def _load_rng_state(self, checkpoint_path: str | None) -> None:
        if checkpoint_path is not None:
            checkpoint.load_random(Path(checkpoint_path))

    def restore_best(self) -> int:
        """Put the parameters of the best evaluation back; the step they are of."""
        best = self.state.best_global_step
        if best and best != self.state.global_step:
            path = self._folder / checkpoint.folder_name(best)
            if path.is_dir():
                checkpoint.load_trained(path, self.model)
                return best
        return self.state.global_step


class _Requests(TrainerCallback):
    """Between two steps: is there something to do for the person watching?"""

    def __init__(self, reporter: Reporter) -> None:
        self._reporter = reporter

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._reporter.look_for_requests()
        if self._reporter.take_checkpoint_request():
            control.should_save = True
        if self._reporter.stop_asked():
            control.should_save = True
            control.should_training_stop = True
        if state.global_step >= state.max_steps and args.eval_strategy != "no":
            control.should_evaluate = True
