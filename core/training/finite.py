"""A loss or gradient that is no number any more: seen before the optimizer takes it up, with its rows."""

import math

import torch

from finetune_tui.core.errors import WorkFailed

_MOST_OVERFLOWS = 50  # steps in a row that fp16's scaler may skip while it looks for its scale
_MOST_NAMED = 8  # rows


class FiniteGuard:
    """Remembers the micro-batches of a step until its gradient is judged."""

    def __init__(self) -> None:
        self._batches: list[tuple[list[str], torch.Tensor]] = []
        self._overflows = 0

    def saw(self, rows: list[str], loss: torch.Tensor) -> None:
        """A micro-batch: where its rows come from ("file:line") and its loss, which stays on its device."""
        self._batches.append((rows, loss))

    def judge(self, loss: float, norm: float, step: int, scales: bool, hint: str) -> None:
        """End a step: its loss and gradient norm. Raises WorkFailed, naming step, batch and rows.

        scales: fp16's scaler is at work: a gradient beyond its range skips the step, which is its way to
        find the scale, and no error unless it never ends.
        """
        batches, self._batches = self._batches, []
        if math.isfinite(loss) and math.isfinite(norm):
            self._overflows = 0
            return
        self._overflows += 1
        if scales and math.isfinite(loss) and self._overflows <= _MOST_OVERFLOWS:
            return
        what = "gradient" if math.isfinite(loss) else "loss"
        rows, batch = _to_blame(batches)
        raise WorkFailed(
            f"the {what} is not a number any more at step {step}{batch}{_named(rows)}",
            where=rows[0] if rows else None,
            hint=f"look at these rows, or lower learning_rate; {hint}",
        )

    def forget(self) -> None:
        """The step is given up."""
        self._batches.clear()


def _to_blame(batches: list[tuple[list[str], torch.Tensor]]) -> tuple[list[str], str]:
    """The rows of the first micro-batch whose loss is no number; of the whole step when none is."""
    for number, (rows, loss) in enumerate(batches, 1):
        if not bool(torch.isfinite(loss)):
            return rows, f", batch {number} of {len(batches)}"
    return [row for rows, _ in batches for row in rows], ""


def _named(rows: list[str]) -> str:
    if not rows:
        return ""
    more = f" and {len(rows) - _MOST_NAMED} more" if len(rows) > _MOST_NAMED else ""
    return f": rows {', '.join(rows[:_MOST_NAMED])}{more}"
