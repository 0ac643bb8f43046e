"""The settings form as rows: which settings, in which order, and what stands beside each."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from rich.cells import cell_len

from finetune_tui.core.text import plain
from finetune_tui.core.tuning.fields import Field
from finetune_tui.core.tuning.schedule import steps_of, total_steps
from finetune_tui.core.tuning.spec import FIELDS, Spec
from finetune_tui.tui.widgets.lines import Line, Span, clip_left, dim, fit, line, rule
from finetune_tui.tui.widgets.plot import number

NAME = 29  # cells of a name; the longest has 27
VALUE = 13

# The last group takes every key that is named nowhere.
_GROUPS: tuple[tuple[str, tuple[str, ...]], ...] = (
    (
        "method",
        (
            *("lora_r", "lora_alpha", "lora_dropout"),
            *("load_in_4bit", "load_in_8bit", "dtype"),
            *("use_dora", "use_rslora", "init_lora_weights", "trainable_token_indices"),
        ),
    ),
    (
        "schedule",
        (
            *("learning_rate", "num_train_epochs", "max_steps"),
            *("per_device_train_batch_size", "gradient_accumulation_steps"),
            *("lr_scheduler_type", "warmup_steps", "max_grad_norm", "weight_decay"),
            *("eval_steps", "eval_samples", "eval_replies"),
            *("early_stopping_patience", "early_stopping_threshold", "load_best_model_at_end"),
        ),
    ),
    (
        "data",
        (
            *("train_files", "eval_files", "eval_split", "max_length"),
            *("completion_only_loss", "assistant_only_loss", "last_turn_only"),
            *("packing", "train_sampling_strategy", "neftune_noise_alpha", "strict"),
        ),
    ),
    (
        "speed",
        (
            *("gradient_checkpointing", "optim", "chunked_loss", "use_liger_kernel"),
            *("torch_compile", "tf32", "use_cpu", "gpus", "memory_check"),
        ),
    ),
    ("saving", ("save_steps", "save_total_limit", "report_to", "name", "note", "tags", "seed")),
)
# Chosen in other places, or not a setting.
_ELSEWHERE = frozenset({"task", "model_name_or_path", "preset", "modules"})


@dataclass(frozen=True, slots=True)
class Row:
    """A heading (no field), a setting, or a button: words for what `enter` does there.

    path: names of files complete while one types.
    """

    title: str
    field: Field | None = None
    button: str = ""
    path: bool = False

    @property
    def is_heading(self) -> bool:
        return self.field is None and not self.button


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
        while 0 <= ahead < len(of) and of[ahead].is_heading:
            ahead += step
        if not 0 <= ahead < len(of):
            break
        at = ahead
    return at


def value_words(spec: object, name: str) -> str:
    """A value as a person writes it: '2e-4', 'yes', 'train.jsonl +1', '–' for nothing."""
    return _words(getattr(spec, name))


def edit_text(spec: object, name: str) -> str:
    """What an input starts with."""
    value = getattr(spec, name)
    if isinstance(value, tuple):
        return ", ".join(map(str, value))
    return "" if value is None else value_words(spec, name)


def help_words(spec: Spec, field: Field, rows: int | None = None) -> str:
    """The rule of thumb, with the number it comes to here. rows: the usable ones of the data, if known."""
    total = total_steps(spec, rows)
    if field.name == "lora_alpha":
        how = "alpha/√rank" if spec.use_rslora else "alpha/rank"
        return f"2 × rank; scales by {how}: × {number(scale(spec))}"
    if field.name == "gradient_accumulation_steps":
        at_once = spec.per_device_train_batch_size * spec.gradient_accumulation_steps
        return f"{at_once} rows a step; costs time, not memory"
    if field.name == "num_train_epochs" and spec.max_steps > 0:
        return f"{field.help}; here max_steps decides"
    if total is None:
        return field.help
    if field.name == "num_train_epochs":
        return f"{field.help}: {total} steps"
    if field.name == "warmup_steps":
        return f"{steps_of(spec.warmup_steps, total)} of {total} steps; {field.help}"
    if field.name in ("eval_steps", "save_steps") and getattr(spec, field.name):
        every = min(steps_of(getattr(spec, field.name), total), total)
        how = f"every {every} of {total} steps" if every > 1 else f"at each of {total} steps"
        return f"{how}; {field.help}"
    return field.help


def reason_words(field: Field) -> str:
    """The default with its reason."""
    return f"default {_words(field.default)}" + (f": {field.why}" if field.why else "")


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
        low = f" from {field.minimum:.12g}" if math.isfinite(field.minimum) else ""
        high = f" to {field.maximum:.12g}" if math.isfinite(field.maximum) else ""
        return what + low + high
    if field.kind == "names" and field.choices:
        return f"of {', '.join(field.choices)}; several separated by commas"
    return "names, separated by commas" if field.kind in ("files", "names") else "text"


def form_line(
    spec: Spec, row: Row, width: int, under_cursor: bool, rows: int | None = None
) -> Line:
    """One row of the settings: the name, its value, the rule of thumb."""
    about = help_words(spec, row.field, rows) if row.field else ""
    return field_line(spec, row, width, under_cursor, about)


def field_line(values: object, row: Row, width: int, under_cursor: bool, about: str) -> Line:
    """One row of any form. values: with an attribute for each field; about: the words beside this one."""
    if row.button:
        words = Span(f" {row.button} ", "cursor" if under_cursor else "key")
        space = " " * max(NAME - 3 - len(row.button), 2)
        return fit(line(" ", words, space if width > 2 * NAME else "  ", dim(about)), width)
    if row.field is None:
        return rule(width, [line(dim(row.title))])
    changed = getattr(values, row.field.name) != row.field.default
    value = clip_left(value_words(values, row.field.name), VALUE - 1)
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
    return (*text, *fit(line(dim(_whole_parts(about, room))), room))


def _whole_parts(about: str, room: int) -> str:
    """As many of the parts between `;` as fit; all of it stands below the form."""
    parts = about.split("; ")
    while len(parts) > 1 and cell_len("; ".join(parts)) > room:
        parts.pop()
    return "; ".join(parts)


def _words(value: object) -> str:
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
