"""How many optimizer steps a spec comes to, before anything is loaded."""

import math

from finetune_tui.core.tuning.spec import Spec


def total_steps(spec: Spec, rows: int | None) -> int | None:
    """Optimizer steps in all, counted as Trainer counts; None when it is not known yet.

    rows: the usable ones of the training files. With packing fewer, larger batches come of them, so
    that only `max_steps` tells.
    """
    if spec.max_steps > 0:
        return spec.max_steps
    if rows is None or spec.packing:
        return None
    held_out = 0 if spec.eval_files else round(rows * spec.eval_split)
    batches = math.ceil(max(rows - held_out, 1) / spec.per_device_train_batch_size)
    per_epoch = math.ceil(batches / spec.gradient_accumulation_steps)
    return max(math.ceil(spec.num_train_epochs * per_epoch), 1)


def steps_of(value: float, total: int) -> int:
    """A number of steps, or below 1 a share of all: what Trainer makes of `warmup_steps: 0.03`."""
    return int(value) if value >= 1 else math.ceil(value * total)
