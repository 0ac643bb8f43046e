"""A training that goes on when memory runs out: fewer rows at once, the same rows in every step.

What was computed stays: the last optimizer step's state, when memory ran out in a forward or backward
pass; the newest checkpoint's (or the beginning's), when it ran out while the optimizer changed parameters.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finetune_tui.core.errors import WorkFailed
from finetune_tui.core.runs.directory import RunDirectory
from finetune_tui.core.training import checkpoint
from finetune_tui.core.training.out_of_memory import forget_memory, is_out_of_memory
from finetune_tui.core.training.reporter import Reporter
from finetune_tui.core.training.trainer import RunTrainer
from finetune_tui.core.tuning.spec import Spec


@dataclass(frozen=True, slots=True)
class Batch:
    """rows: at once. accumulation: batches a step. eval_rows: at once in evaluations."""

    rows: int
    accumulation: int
    eval_rows: int

    @staticmethod
    def of(spec: Spec, resumed_from: Path | None) -> "Batch":
        """What the spec says, or what a checkpoint learned about this machine's memory."""
        rows, accumulation = spec.per_device_train_batch_size, spec.gradient_accumulation_steps
        asked = Batch(rows, accumulation, rows)
        if resumed_from is None:
            return asked
        found = checkpoint.progress_of(resumed_from)
        if (rows * accumulation) % found.rows:
            return asked
        return Batch(found.rows, rows * accumulation // found.rows, found.eval_rows)

    def halved(self) -> "Batch | None":
        """The largest at most half as large that makes the same steps; None when it is one row."""
        step = self.rows * self.accumulation
        smaller = (rows for rows in range(self.rows // 2, 0, -1) if step % rows == 0)
        rows = next(smaller, None)
        return Batch(rows, step // rows, self.eval_rows) if rows else None


@dataclass(frozen=True, slots=True)
class Training:
    """make_model: the model as the selection wants it, from the start. make_trainer: one to train it.

    memory_words: what was predicted of it, for when no batch is small enough.
    """

    run: RunDirectory
    reporter: Reporter
    make_trainer: Callable[[Any, Batch], RunTrainer]
    make_model: Callable[[], Any]
    memory_words: Callable[[], str]


def train(training: Training, batch: Batch, resumed_from: Path | None) -> RunTrainer:
    """Train to the end; the trainer that came there. Raises StopRequested, WorkFailed."""
    model = training.make_model()
    while True:
        trainer = training.make_trainer(model, batch)
        try:
            trainer.go(resumed_from)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            why = (str(error).strip().splitlines() or ["out of memory"])[0]
        else:
            return trainer
        smaller = batch.halved()
        if smaller is None:
            raise _nothing_left(trainer.state.global_step, training.memory_words())
        trainer.let_go()
        forget_memory()
        resumed_from = _point_to_go_on_from(trainer, smaller, training.run)
        is_lost = resumed_from is None and not trainer.is_clean
        _say(training.reporter, batch, smaller, resumed_from, why)
        batch = smaller
        del trainer  # with its optimizer, before there is another
        if is_lost:
            del model
        forget_memory()
        if is_lost:
            model = training.make_model()


def _point_to_go_on_from(trainer: RunTrainer, smaller: Batch, run: RunDirectory) -> Path | None:
    """None: from the beginning."""
    if trainer.is_clean:
        trainer.use_fewer_rows(smaller.rows)
        return trainer.save_last_step()
    return checkpoint.newest_valid(run.checkpoints)[0]


def _say(reporter: Reporter, batch: Batch, smaller: Batch, point: Path | None, why: str) -> None:
    step = checkpoint.step_of(point) if point else 0
    reporter.update(step=step)
    reporter.event(
        "recovered",
        what="out of memory",
        step=step,
        micro_batch_from=batch.rows,
        micro_batch_to=smaller.rows,
        accumulation=smaller.accumulation,
        why=why,
    )


def _nothing_left(step: int, memory_words: str) -> WorkFailed:
    return WorkFailed(
        f"out of memory after step {step}, with one row at a time; {memory_words}",
        where="max_length",
        hint="lower max_length, set gradient_checkpointing, load_in_4bit or an 8-bit optimizer, "
        "or train fewer modules",
    )
