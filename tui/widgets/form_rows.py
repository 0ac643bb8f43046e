"""The settings form as rows: which settings, in which order, and what stands beside each."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from finetune_tui.core.text import plain
from finetune_tui.core.tuning.fields import Field
from finetune_tui.core.tuning.spec import FIELDS, Spec
from finetune_tui.tui.widgets.lines import Line, Span, clip_left, dim, fit, line, rule
from finetune_tui.tui.widgets.plot import number

NAME = 29  # cells of a name; the longest has 27
VALUE = 13

# The first group is what people change; the last takes every key that is named nowhere.
_GROUPS: tuple[tuple[str, tuple[str, ...]], ...] = (
    (
        "settings",
        (
            "train_files",
            "learning_rate",
            "num_train_epochs",
            "max_steps",
            "lora_r",
            "lora_alpha",
            "per_device_train_batch_size",
            "gradient_accumulation_steps",
            "max_length",
        ),
    ),
    (
        "memory",
        (
            "load_in_4bit",
            "load_in_8bit",
            "dtype",
            "gradient_checkpointing",
            "optim",
            "use_cpu",
            "gpus",
        ),
    ),
    (
        "learning",
        (
            "lr_scheduler_type",
            "warmup_steps",
            "lora_dropout",
            "use_rslora",
            "weight_decay",
            "max_grad_norm",
            "completion_only_loss",
        ),
    ),
    ("measuring", ("eval_files", "eval_split", "eval_steps", "eval_replies", "save_steps")),
    ("the rest", ("name", "strict", "seed")),
)
# Chosen in other places, or not a setting.
_ELSEWHERE = frozenset({"task", "model_name_or_path", "preset", "modules"})


@dataclass(frozen=True, slots=True)
class Row:
    """A heading (no field) or a setting."""

    title: str
    field: Field | None = None


def rows() -> list[Row]:
    """Every setting once, under its heading."""
    named = {name for _, names in _GROUPS for name in names} | _ELSEWHERE
    found: list[Row] = []
    for title, names in _GROUPS:
        found.append(Row(title))
        found += [Row(name, FIELDS[name]) for name in names if name in FIELDS]
    return found + [Row(name, field) for name, field in FIELDS.items() if name not in named]


def moved(of: Sequence[Row], cursor: int, by: int) -> int:
    """The next setting up or down, headings left out; the ends hold."""
    step = 1 if by > 0 else -1
    at = cursor
    for _ in range(abs(by)):
        ahead = at + step
        while 0 <= ahead < len(of) and of[ahead].field is None:
            ahead += step
        if not 0 <= ahead < len(of):
            break
        at = ahead
    return at


def value_words(spec: Spec, name: str) -> str:
    """A value as a person writes it: '2e-4', 'yes', 'train.jsonl +1', '–' for nothing."""
    value = getattr(spec, name)
    if value is None or value in ((), ""):
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return number(value) if 0 < abs(value) < 1e-3 else f"{value:g}"
    if isinstance(value, tuple):
        first = plain(str(value[0]), 200).rpartition("/")[2]
        return first + (f" +{len(value) - 1}" if len(value) > 1 else "")
    return plain(str(value), 200)


def edit_text(spec: Spec, name: str) -> str:
    """What an input starts with."""
    value = getattr(spec, name)
    if isinstance(value, tuple):
        return ", ".join(map(str, value))
    return "" if value is None else value_words(spec, name)


def help_words(spec: Spec, field: Field) -> str:
    """The rule of thumb, with the number it comes to here."""
    if field.name == "lora_alpha":
        return f"2 × rank; the update is scaled × {number(scale(spec))}"
    if field.name == "gradient_accumulation_steps":
        rows = spec.per_device_train_batch_size * spec.gradient_accumulation_steps
        return f"{rows} rows a step; costs time, not memory"
    return field.help


def scale(spec: Spec) -> float:
    """What LoRA's update is multiplied by: alpha / r, or alpha / √r with rsLoRA."""
    return spec.lora_alpha / (math.sqrt(spec.lora_r) if spec.use_rslora else spec.lora_r)


def limits(field: Field) -> str:
    """What may be typed, in words."""
    if field.kind == "choice":
        return "one of " + ", ".join(field.choices)
    if field.kind == "yes/no":
        return "yes or no"
    if field.kind in ("whole", "number"):
        what = "a whole number" if field.kind == "whole" else "a number"
        low = f" from {field.minimum:g}" if math.isfinite(field.minimum) else ""
        high = f" to {field.maximum:g}" if math.isfinite(field.maximum) else ""
        return what + low + high
    return "names, separated by commas" if field.kind in ("files", "names") else "text"


def form_line(spec: Spec, row: Row, width: int, under_cursor: bool) -> Line:
    """One row: the name, its value, the rule of thumb."""
    if row.field is None:
        return rule(width, [line(dim(row.title))])
    changed = getattr(spec, row.field.name) != row.field.default
    value = clip_left(value_words(spec, row.field.name), VALUE - 1)
    name_width = min(NAME, max(width - VALUE - 2, 8))
    if under_cursor:
        text = line(
            Span(f" {row.title:<{name_width - 1}}", "cursor"), Span(f"{value:<{VALUE}}", "cursor")
        )
    else:
        name = Span(f" {row.title:<{name_width - 1}}", "" if changed else "dim")
        text = line(name, Span(f"{value:<{VALUE}}", "strong" if changed else ""))
    room = width - name_width - VALUE
    if room <= 8:
        return fit(text, width)
    return (*text, *fit(line(dim(help_words(spec, row.field))), room))
