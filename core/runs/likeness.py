"""When two specs cost the same time and memory a step, so that one can speak for the other."""

import dataclasses
import hashlib
import json
from pathlib import Path

from finetune_tui.core.tuning.spec import Spec

# What a step costs does not hang on these: how many there are, how fast it learns, what is kept.
_BESIDE_THE_POINT = frozenset(
    (
        "task",
        "name",
        "note",
        "tags",
        "learning_rate",
        "lr_scheduler_type",
        "warmup_steps",
        "num_train_epochs",
        "max_steps",
        "max_grad_norm",
        "weight_decay",
        "eval_steps",
        "eval_samples",
        "eval_replies",
        "early_stopping_patience",
        "early_stopping_threshold",
        "load_best_model_at_end",
        "save_steps",
        "save_total_limit",
        "report_to",
        "memory_check",
        "seed",
    )
)


def likeness(spec: Spec) -> str:
    """Equal for specs whose steps cost the same on one machine: 16 hexadecimal digits.

    A data file that changed in size or time counts as another file.
    """
    values = [
        (field.name, _as_read(getattr(spec, field.name)))
        for field in dataclasses.fields(spec)
        if field.name not in _BESIDE_THE_POINT
    ]
    files = [_stamp(file) for file in (*spec.train_files, *spec.eval_files)]
    text = json.dumps([values, files])
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def _as_read(value: object) -> str:
    """A spec made in code may say 64 where its file says 64.0."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return repr(float(value) if is_number else value)  # type: ignore[arg-type]


def _stamp(file: str) -> tuple[int, int] | None:
    try:
        stat = Path(file).stat()
    except (OSError, ValueError):
        return None
    return stat.st_size, stat.st_mtime_ns
