"""TRL's `sft --config`: Trainer's own names, and what its documentation adds."""

from typing import Any

from finetune_tui.core.text import plain
from finetune_tui.core.tuning.importing import common
from finetune_tui.core.tuning.importing import trl_keys as keys
from finetune_tui.core.tuning.importing.data_sets import Sources, expect_columns
from finetune_tui.core.tuning.importing.notes import Draft, Kind, is_nothing, str_of
from finetune_tui.core.tuning.importing.targets import Targets

TOOL = "TRL"
_LORA_KEYS = (
    *("lora_target_modules", "lora_modules_to_save", "lora_r", "lora_alpha", "lora_dropout"),
    *("use_dora", "use_rslora"),
)


def translate(draft: Draft, sources: Sources) -> Targets:
    """Fill the draft. Raises UserError for a value that cannot be."""
    draft.same(keys.SAME)
    targets = _targets(draft)
    _data(draft, sources)
    _loss(draft)
    _course(draft)
    common.quantisation_kind(draft, "bnb_4bit_quant_type", "nf4", "4 bits are nf4 here")
    common.quantisation_kind(draft, "use_bnb_nested_quant", "true", "quantised twice here, always")
    common.quantisation_kind(draft, "bnb_4bit_quant_storage", "uint8", "stored as bytes here")
    draft.drop(Kind.DROPPED, keys.DROPPED)
    draft.drop(Kind.CHANGES, keys.CHANGES)
    _defaults(draft, adapted=not targets.everything)
    return targets


def _targets(draft: Draft) -> Targets:
    if not draft.yes("use_peft"):
        draft.without_lora(_LORA_KEYS, "use_peft is not set: no LoRA is asked for")
        key = "use_peft" if "use_peft" in draft.file.values else "model_name_or_path"
        draft.say(Kind.TRANSLATED, key, "no LoRA: every parameter trains (preset full)")
        return Targets(key, everything=True)
    named = draft.take("lora_target_modules")
    names = tuple(draft.names("lora_target_modules"))
    pattern = None
    everything = names == ("all-linear",)
    if everything:
        draft.say(Kind.TRANSLATED, "lora_target_modules", "every linear module but the head")
    elif len(names) == 1:  # TRL hands PEFT a single one as text: an expression for whole names
        pattern, names = str(named[0] if isinstance(named, list) else named).strip(), ()
    key = "lora_target_modules" if not is_nothing(named) else "use_peft"
    return Targets(
        key,
        lora=() if everything else names,
        all_linear=everything,
        by_peft=is_nothing(named),
        lora_pattern=pattern,
        saved=draft.names("lora_modules_to_save"),
        saved_key="lora_modules_to_save",
    )


def _data(draft: Draft, sources: Sources) -> None:
    mixture, name = draft.take("datasets"), draft.take("dataset_name")
    train, test = draft.take("dataset_train_split"), draft.take("dataset_test_split")
    found: list[str] = []
    if isinstance(mixture, list) and mixture:
        for number, entry in enumerate(mixture):
            if not isinstance(entry, dict):
                raise draft.wrong(f"datasets[{number}]", "no data set with a path")
            found += sources.of_entry(entry, f"datasets[{number}]")
            for key in ("columns", "fraction"):
                if not is_nothing(entry.get(key)):
                    draft.say(
                        Kind.CHANGES, f"datasets[{number}].{key}", "all rows are taken as they are"
                    )
        draft.put("train_files", found, "datasets", f"train_files: {plain(', '.join(found), 200)}")
    elif not is_nothing(name):
        found = sources.of_entry({"path": str_of(name), "split": train}, "dataset_name")
        draft.put(
            "train_files", found, "dataset_name", f"train_files: {plain(', '.join(found), 200)}"
        )
    evaluates = str(draft.file.values.get("eval_strategy") or "no") != "no"
    if evaluates and not is_nothing(name):
        held_out = sources.of_entry({"path": str_of(name), "split": test or "test"}, "dataset_name")
        if held_out == found:
            words = "the file has no split of its own: a share of 0.05 is held out"
            draft.say(Kind.CHANGES, "eval_strategy", words)
            draft.values["eval_split"] = 0.05
        else:
            draft.put(
                "eval_files",
                held_out,
                "dataset_name",
                f"eval_files: {plain(', '.join(held_out), 200)}",
            )
    column = draft.take("dataset_text_field")
    expect_columns(draft, "dataset_text_field", {"text": column}, {"text": ("text",)})
    share = draft.take("test_split_size")
    if not is_nothing(share):
        draft.put("eval_split", share, "test_split_size", "eval_split")


def _loss(draft: Draft) -> None:
    if draft.take("truncation_mode") not in (None, "keep_start"):
        draft.say(Kind.CHANGES, "truncation_mode", "a longer row is cut at its end")
    if draft.take("loss_type") not in (None, "nll", "chunked_nll"):
        draft.say(Kind.CHANGES, "loss_type", "the loss is plain cross-entropy")
    if not is_nothing(draft.take("shuffle_dataset")):
        draft.say(Kind.DROPPED, "shuffle_dataset", "rows are shuffled by the seed")
    strategy = draft.take("train_sampling_strategy")
    if strategy is not None:
        draft.put("train_sampling_strategy", strategy, "train_sampling_strategy")
    common.by_length(draft)


def _course(draft: Draft) -> None:
    common.optimizer(draft, "optim")
    common.schedule(draft, "lr_scheduler_type")
    common.warmup(draft)
    common.adam(draft)
    common.dtype(draft, {})
    held: Any = draft.take("dtype")
    held = draft.take("torch_dtype") if held is None else held
    if held is not None and str(held) not in ("auto", draft.values.get("dtype", "bfloat16")):
        key = "dtype" if "dtype" in draft.file.values else "torch_dtype"
        words = "the base is held in the type that is computed in"
        draft.say(Kind.CHANGES, key, words)
    epochs = float(draft.values.get("num_train_epochs", 3.0))
    common.every(draft, "eval", epochs)
    common.every(draft, "save", epochs)
    steps = draft.whole("max_steps")
    if steps is not None and steps > 0:
        draft.values["max_steps"] = steps
    where = draft.take("report_to")
    if not is_nothing(where):
        common.report(draft, where, "report_to")


def _defaults(draft: Draft, adapted: bool) -> None:
    """What TRL takes where its file says nothing."""
    if adapted:
        draft.default("lora_r", 16, "lora_r")
        draft.default("lora_alpha", 32, "lora_alpha")
    if "dtype" not in draft.values:
        words = "TRL computes in bfloat16"
        draft.default("dtype", "bfloat16", "bf16", words)
    for name, value, key in (
        ("per_device_train_batch_size", 8, "per_device_train_batch_size"),
        ("gradient_accumulation_steps", 1, "gradient_accumulation_steps"),
        ("learning_rate", 2e-5, "learning_rate"),
        ("lr_scheduler_type", "linear", "lr_scheduler_type"),
        ("warmup_steps", 0, "warmup_steps"),
        ("gradient_checkpointing", True, "gradient_checkpointing"),
        ("eval_split", 0, "eval_strategy"),
        ("save_steps", 500, "save_steps"),
        ("early_stopping_patience", 0, "early_stopping_patience"),
        ("load_best_model_at_end", False, "load_best_model_at_end"),
    ):
        draft.default(name, value, key)
    words = "TRL trains every turn of a chat, the user's too"
    draft.default("assistant_only_loss", False, "assistant_only_loss", words)
    if draft.values["eval_split"] or draft.values.get("eval_files"):
        draft.default("eval_steps", 500, "eval_steps")
