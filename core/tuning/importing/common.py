"""What the three tools share: optimizers, schedules, dtypes, how often to evaluate and save."""

import math
from collections.abc import Mapping
from typing import Any

from finetune_tui.core.text import plain
from finetune_tui.core.tuning.importing.notes import Draft, Kind, is_nothing
from finetune_tui.core.tuning.refusals import is_installed
from finetune_tui.core.tuning.spec import FIELDS, OPTIMIZERS

_OPTIMIZERS: Mapping[str, str] = {
    "adamw": "adamw_torch",
    "adamw_hf": "adamw_torch",
    "adamw_bnb_8bit": "adamw_8bit",
    "paged_adamw": "paged_adamw_32bit",
}
_ADAM = {"adam_beta1": 0.9, "adam_beta2": 0.999, "adam_epsilon": 1e-8}
_REPORTS = ("none", "tensorboard", "wandb")

MACHINERY = "one device trains here; on several GPUs, their steps take that many times more rows"
LOGGED = "every step is told and kept"
FOLDER = "a run has a folder of its own"
ATTENTION = "torch's own attention, with the same result"
WORKERS = "rows are read as they are needed"


def keyed(reasons: Mapping[str, str]) -> dict[str, str]:
    """Key → reason, from reason → keys with spaces between."""
    return {key: reason for reason, keys in reasons.items() for key in keys.split()}


def optimizer(draft: Draft, key: str) -> None:
    value = draft.take(key)
    if value is None:
        return
    name = str(value).strip().lower()
    found = _OPTIMIZERS.get(name, name)
    if found in OPTIMIZERS:
        draft.put("optim", found, key, None if found == name else f"optim: {found}")
    else:
        instead = FIELDS["optim"].default
        draft.say(Kind.CHANGES, key, f"no {plain(name, 40)} here: {instead} takes its place")


def schedule(draft: Draft, key: str) -> None:
    value = draft.take(key)
    if value is None:
        return
    name, known = str(value).strip().lower(), FIELDS["lr_scheduler_type"].choices
    if name in known:
        draft.put("lr_scheduler_type", name, key, None if key == "lr_scheduler_type" else name)
    else:
        draft.put("lr_scheduler_type", "cosine", key)
        draft.say(
            Kind.CHANGES, key, f"no schedule '{plain(name, 40)}' here: cosine takes its place"
        )


def warmup(draft: Draft) -> None:
    """warmup_steps wins over warmup_ratio, as in Trainer."""
    steps, ratio = draft.take("warmup_steps"), draft.take("warmup_ratio")
    if not is_nothing(steps):
        draft.put("warmup_steps", steps, "warmup_steps")
        if not is_nothing(ratio):
            draft.say(Kind.DROPPED, "warmup_ratio", "warmup_steps is there and counts")
    elif not is_nothing(ratio):
        value = draft.read("warmup_steps", ratio, "warmup_ratio")
        if value >= 1:
            raise draft.wrong("warmup_ratio", f"{value:g} is no share of the steps")
        draft.put("warmup_steps", value, "warmup_ratio", f"warmup_steps: {value:g}, a share")
    elif draft.has("warmup_steps") or draft.has("warmup_ratio"):
        draft.values["warmup_steps"] = 0.0


def adam(draft: Draft) -> None:
    """Adam's own constants, where they are not the usual ones."""
    for key, usual in _ADAM.items():
        value = draft.take(key)
        if value is None:
            continue
        number = draft.read("max_grad_norm", value, key)
        if math.isclose(number, usual):
            draft.say(Kind.DROPPED, key, "the usual value, taken here too")
        else:
            draft.say(Kind.CHANGES, key, f"it is {usual:g} here, always")


def dtype(draft: Draft, pure: Mapping[str, str]) -> None:
    """bf16 and fp16. pure: keys that ask for training in that dtype alone."""
    words = {"bf16": "bfloat16", "fp16": "float16", **pure}
    asked = {key: draft.take(key) for key in words}
    for key, value in asked.items():
        text = str(value).strip().lower()
        if value is None or text in ("false", "no", "0", ""):
            continue
        if text == "auto":
            draft.say(Kind.TRANSLATED, key, "dtype: auto, bfloat16 where the GPU has it")
        else:
            draft.put("dtype", words[key], key, f"dtype: {words[key]}")
            if key in pure or text == "full":
                draft.say(Kind.CHANGES, key, "what trains is float32 here, on a base in 16 bits")
        return
    if any(value is False for value in asked.values()):
        key = next(key for key, value in asked.items() if value is False)
        draft.put("dtype", "float32", key, "dtype: float32, as no 16-bit type is asked for")


def every(draft: Draft, what: str, epochs: float) -> None:
    """How often to evaluate or save: `what` is "eval" or "save"."""
    name = f"{what}_steps"
    strategy = str(draft.take(f"{what}_strategy") or draft.take("evaluation_strategy") or "")
    per_epoch, steps = draft.take(f"{what}s_per_epoch"), draft.take(name)
    if strategy == "no":
        draft.values[name] = 0.0
        return
    if not is_nothing(per_epoch):
        times = draft.read("max_steps", per_epoch, f"{what}s_per_epoch")
        key = f"{what}s_per_epoch"
        share = _share(max(times, 1) * epochs)
        draft.put(name, share, key, f"{name}: {share:g}, a share of all steps")
    elif strategy in ("epoch", "best"):
        share = _share(epochs)
        words = f"once an epoch: {name}: {share:g}, a share of all steps"
        draft.put(name, share, f"{what}_strategy", words)
    elif not is_nothing(steps):
        draft.put(name, steps, name)


def each_epoch(epochs: float) -> float:
    """The share of all steps after which an epoch ends."""
    return _share(epochs)


def _share(times: float) -> float:
    """A share that comes about so often; once at the end is half-way and at the end."""
    return round(1 / times, 6) if times > 1 else 0.5


def report(draft: Draft, value: Any, key: str) -> None:
    """Where else a run is told: one place at most."""
    asked = [str(item).strip().lower() for item in (value if isinstance(value, list) else [value])]
    known = [name for name in asked if name in _REPORTS]
    for name in asked:
        if name not in _REPORTS:
            draft.say(Kind.DROPPED, key, f"nothing is sent to '{plain(name, 40)}' from here")
    if known and known[0] != "none" and not is_installed(known[0]):
        words = f"{known[0]} is not installed here; report_to: {known[0]} asks for it, once it is"
        draft.say(Kind.DROPPED, key, words)
    elif known:
        draft.put(
            "report_to", known[0], key, None if key == "report_to" else f"report_to: {known[0]}"
        )


def quantisation_kind(draft: Draft, key: str, usual: str, words: str) -> None:
    """A detail of quantisation that is fixed here."""
    value = draft.take(key)
    if value is None:
        return
    if str(value).strip().lower() == usual:
        draft.say(Kind.DROPPED, key, "taken here too")
    else:
        draft.say(Kind.CHANGES, key, words)


def by_length(draft: Draft) -> None:
    """`group_by_length`, which all of them call so."""
    if draft.yes("group_by_length"):
        words = "train_sampling_strategy: group_by_length"
        draft.put("train_sampling_strategy", "group_by_length", "group_by_length", words)
