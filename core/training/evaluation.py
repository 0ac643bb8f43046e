"""Trainer's evaluation with a loss that does not depend on batches, safe points, and fewer rows when
memory runs out."""

import math
from typing import Any

import torch

from finetune_tui.core.data.tokens import IGNORED
from finetune_tui.core.errors import WorkFailed
from finetune_tui.core.training.lean import LeanTrainer
from finetune_tui.core.training.out_of_memory import forget_memory, is_out_of_memory
from finetune_tui.core.training.reporter import Reporter


class EvaluatingTrainer(LeanTrainer):
    """evaluate: `eval_loss` is the mean over all trained tokens; Trainer's own is that of batches."""

    def __init__(self, reporter: Reporter, **rest: Any) -> None:
        super().__init__(**rest)
        self._reporter = reporter
        self._evaluated: list[torch.Tensor] = []  # sum of losses, count of tokens

    def evaluate(self, *args: Any, **rest: Any) -> dict[str, float]:
        """With fewer rows at once when memory runs out. Raises StopRequested between two batches."""
        while True:
            try:
                metrics: dict[str, float] = super().evaluate(*args, **rest)
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                why = (str(error).strip().splitlines() or ["out of memory"])[0]
            else:
                return metrics
            self._halve_rows(why)

    def evaluation_loop(self, *args: Any, **rest: Any) -> Any:
        self._evaluated = [torch.zeros((), device=self.args.device) for _ in range(2)]
        output = super().evaluation_loop(*args, **rest)
        loss, tokens = torch.stack(self._evaluated).tolist()
        output.metrics["eval_loss"] = loss / tokens if tokens else math.nan
        return output

    def prediction_step(self, model: Any, inputs: Any, *rest: Any, **more: Any) -> Any:
        self._reporter.check()
        inputs.pop("rows", None)
        inputs.pop("tokens", None)
        tokens = inputs["labels"][..., 1:].ne(IGNORED).sum()
        loss, *others = super().prediction_step(model, inputs, *rest, **more)
        self._evaluated[0] += loss * tokens
        self._evaluated[1] += tokens
        return (loss, *others)

    def _halve_rows(self, why: str) -> None:
        forget_memory()
        rows = self.args.per_device_eval_batch_size
        if rows == 1:
            raise WorkFailed(
                "out of memory in an evaluation of one row at a time",
                where="max_length",
                hint="lower max_length, or set eval_steps: 0",
            )
        self.args.per_device_eval_batch_size = rows // 2
        self._reporter.event(
            "recovered",
            what="out of memory in an evaluation",
            step=self.state.global_step,
            micro_batch_from=rows,
            micro_batch_to=rows // 2,
            why=why,
        )
