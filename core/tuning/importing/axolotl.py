"""axolotl's configuration: what its documentation says each key means, in the words used here."""

from typing import Any

from finetune_tui.core.models.data_set_name import SCHEME
from finetune_tui.core.text import plain
from finetune_tui.core.tuning.importing import axolotl_keys as keys
from finetune_tui.core.tuning.importing import common
from finetune_tui.core.tuning.importing.axolotl_data import chat_template, read_data
from finetune_tui.core.tuning.importing.data_sets import Sources
from finetune_tui.core.tuning.importing.notes import Draft, Kind, is_nothing, str_of
from finetune_tui.core.tuning.importing.targets import Targets
from finetune_tui.core.tuning.spec import FIELDS

TOOL = "axolotl"


_OTHER_WORK = {
    "rl": "preference training or reinforcement learning",
    "reward_model": "a reward model",
    "process_reward_model": "a reward model",
    "num_labels": "classification",
}
_LORA_KEYS = (
    *("lora_target_modules", "lora_target_linear", "lora_modules_to_save", "lora_r", "lora_alpha"),
    *("lora_dropout", "peft_use_dora", "peft_use_rslora", "peft_layers_to_transform"),
    *("peft_layers_pattern", "lora_rank_pattern", "lora_alpha_pattern", "peft_init_lora_weights"),
)
_STARTS = {
    "gaussian": "gaussian",
    "olora": "olora",
    "pissa": "pissa",
    "pissa_niter_16": "pissa_niter_16",
}


def translate(draft: Draft, sources: Sources) -> Targets:
    """Fill the draft. Raises UserError for a value that cannot be, and for other work than this."""
    for key, what in _OTHER_WORK.items():
        if not is_nothing(draft.take(key)):
            raise draft.wrong(key, f"asks for {what}; only training on text is done here")
    draft.same(keys.SAME)
    targets = _targets(draft)
    read_data(draft, sources)
    _masking(draft)
    _course(draft)
    _start(draft)
    draft.drop(Kind.DROPPED, keys.DROPPED)
    draft.drop(Kind.CHANGES, keys.CHANGES)
    _tokens(draft)
    _plugins(draft)
    _defaults(draft)
    return targets


def _targets(draft: Draft) -> Targets:
    adapter = str(draft.take("adapter") or "").strip().lower()
    if adapter not in ("", "none", "null", "lora", "qlora"):
        raise draft.wrong(
            "adapter", f"no '{plain(adapter, 40)}' here", "lora, qlora, or none for all weights"
        )
    if adapter == "qlora":
        if draft.values.get("load_in_4bit") is False:
            raise draft.wrong("adapter", "qlora, and load_in_4bit is false")
        draft.put("load_in_4bit", True, "adapter", "LoRA on a base in 4 bits")
    elif adapter == "lora":
        draft.say(Kind.TRANSLATED, "adapter", "modules in mode lora")
    if adapter in ("lora", "qlora"):
        return _adapter(draft)
    draft.without_lora(_LORA_KEYS, "no adapter is asked for")
    unfrozen = draft.take("unfrozen_parameters")
    if not is_nothing(unfrozen):
        patterns = tuple(map(str, unfrozen if isinstance(unfrozen, list) else [unfrozen]))
        draft.say(Kind.TRANSLATED, "unfrozen_parameters", "modules in mode full, those it matches")
        return Targets("unfrozen_parameters", unfrozen=patterns)
    key = "adapter" if "adapter" in draft.file.values else "base_model"
    draft.say(Kind.TRANSLATED, key, "no adapter: every parameter trains (preset full)")
    return Targets(key, everything=True)


def _adapter(draft: Draft) -> Targets:
    if not is_nothing(draft.take("unfrozen_parameters")):
        words = "with an adapter these parameters stay frozen here"
        draft.say(Kind.CHANGES, "unfrozen_parameters", words)
    named = draft.take("lora_target_modules")
    linear = draft.yes("lora_target_linear")
    draft.drop(Kind.DROPPED, {"peft_layers_pattern": "blocks are told by their numbers"})
    layers = draft.names("peft_layers_to_transform")
    key = "lora_target_linear" if linear and is_nothing(named) else "lora_target_modules"
    if linear:
        words = "every linear module but the head"
        draft.say(Kind.TRANSLATED, "lora_target_linear", words)
    pattern: str | None = None
    names: tuple[str, ...] = ()
    everything = linear
    if isinstance(named, str):
        # One text alone is an expression for whole names, to PEFT.
        if named.strip() == "all-linear":
            everything = True
        else:
            pattern = named
    elif not is_nothing(named):
        names = draft.names("lora_target_modules")
    if not (everything or pattern or names):
        key = "adapter"
    if "lora_alpha" not in draft.values:
        draft.default("lora_alpha", 8, "lora_alpha", "PEFT takes 8")
    draft.default("lora_r", 8, "lora_r", "PEFT takes 8")
    draft.default("lora_dropout", 0, "lora_dropout")
    return Targets(
        key,
        lora=tuple(names),
        all_linear=everything,
        by_peft=not (everything or pattern or names),
        lora_pattern=pattern,
        layers=tuple(_numbers(draft, layers, "peft_layers_to_transform")) if layers else None,
        saved=draft.names("lora_modules_to_save"),
        saved_key="lora_modules_to_save",
        ranks=_pattern(draft, "lora_rank_pattern", "lora_r"),
        alphas=_pattern(draft, "lora_alpha_pattern", "lora_alpha"),
    )


def _numbers(draft: Draft, texts: tuple[str, ...], key: str) -> list[int]:
    return [int(draft.read("seed", text, key)) for text in texts]


def _pattern(draft: Draft, key: str, name: str) -> dict[str, Any]:
    value = draft.take(key)
    if is_nothing(value):
        return {}
    if not isinstance(value, dict):
        raise draft.wrong(key, "a mapping of names to numbers")
    return {str(one): draft.read(name, number, key) for one, number in value.items()}


def _masking(draft: Draft) -> None:
    chat_template(draft, draft.take("chat_template"), "chat_template")
    if draft.take("train_on_inputs") is not None:
        trains = draft.yes("train_on_inputs")
        words = "prompts train too" if trains else "only what is to be written trains"
        draft.put("completion_only_loss", not trains, "train_on_inputs", words)
        draft.values["assistant_only_loss"] = not trains
    strategy = draft.take("excess_length_strategy")
    if strategy != "truncate" and "sequence_len" in draft.file.values:
        words = "a longer row is cut; axolotl leaves it out"
        draft.say(
            Kind.CHANGES, "sequence_len" if strategy is None else "excess_length_strategy", words
        )
    if draft.yes("curriculum_sampling"):
        words = "rows in the order of the file"
        draft.put("train_sampling_strategy", "sequential", "curriculum_sampling", words)
    common.by_length(draft)


def _course(draft: Draft) -> None:
    common.optimizer(draft, "optimizer")
    common.schedule(draft, "lr_scheduler")
    common.warmup(draft)
    common.adam(draft)
    common.dtype(draft, {"bfloat16": "bfloat16", "float16": "float16"})
    epochs = float(draft.values.get("num_train_epochs", 1.0))
    common.every(draft, "eval", epochs)
    common.every(draft, "save", epochs)
    _steps(draft)
    size = draft.take("val_set_size")
    if not is_nothing(size):
        share = draft.read("max_grad_norm", size, "val_set_size")
        if share >= 1:
            words = f"{share:g} rows cannot be asked for: a share of 0.05 is held out"
            draft.say(Kind.CHANGES, "val_set_size", words)
            share = 0.05
        draft.put("eval_split", share, "val_set_size", f"eval_split: {share:g}")
    checkpointing = draft.take("gradient_checkpointing")
    if checkpointing is not None:
        is_word = str(checkpointing).lower() in ("unsloth", "offload", "offload_disk")
        draft.put(
            "gradient_checkpointing", True if is_word else checkpointing, "gradient_checkpointing"
        )
    exact = draft.take("tf32")
    if exact is not None and str(exact).lower() != "auto":
        draft.put("tf32", exact, "tf32")
    compiled = draft.take("torch_compile")
    if compiled is not None and str(compiled).lower() != "auto":
        draft.put("torch_compile", compiled, "torch_compile")
    if not is_nothing(draft.take("wandb_project")):
        common.report(draft, "wandb", "wandb_project")
    if draft.yes("use_tensorboard"):
        common.report(draft, "tensorboard", "use_tensorboard")


def _steps(draft: Draft) -> None:
    steps = draft.whole("max_steps")
    if steps is not None and steps > 0:
        draft.values["max_steps"] = steps
    batch = draft.take("batch_size")
    if not is_nothing(batch) and "gradient_accumulation_steps" not in draft.values:
        rows = int(draft.read("per_device_train_batch_size", batch, "batch_size"))
        each = int(draft.values.get("per_device_train_batch_size", 1))
        steps = max(rows // each, 1)
        words = f"gradient_accumulation_steps: {steps}"
        draft.put("gradient_accumulation_steps", steps, "batch_size", words)


def _start(draft: Draft) -> None:
    value = draft.take("peft_init_lora_weights")
    if not is_nothing(value) and value is not True and "lora_r" in draft.values:
        name = str(value).strip()
        if name in _STARTS:
            draft.put(
                "init_lora_weights", name, "peft_init_lora_weights", f"init_lora_weights: {name}"
            )
        else:
            words = f"no start '{plain(name, 40)}' here: the usual one is taken"
            draft.say(Kind.CHANGES, "peft_init_lora_weights", words)
    peft = draft.take("peft")
    if isinstance(peft, dict) and peft.get("loftq_config"):
        draft.say(Kind.CHANGES, "peft.loftq_config", "no LoftQ here: the usual start is taken")
    tokens = draft.take("peft_trainable_token_indices")
    if isinstance(tokens, dict):
        tokens = [token for those in tokens.values() if isinstance(those, list) for token in those]
    if not is_nothing(tokens):
        draft.put(
            "trainable_token_indices", tokens, "peft_trainable_token_indices", "these tokens train"
        )


def _tokens(draft: Draft) -> None:
    special = draft.take("special_tokens")
    if not isinstance(special, dict):
        return
    for name, value in special.items():
        if is_nothing(value):
            continue
        if name == "pad_token":
            draft.say(
                Kind.DROPPED, "special_tokens.pad_token", "what pads is never read nor learnt here"
            )
        else:
            words = "the tokenizer's own special tokens are taken"
            draft.say(Kind.CHANGES, f"special_tokens.{name}", words)


def _plugins(draft: Draft) -> None:
    plugins = draft.take("plugins")
    for number, plugin in enumerate(plugins if isinstance(plugins, list) else []):
        name = plain(str_of(plugin), 80)
        if "liger" in name.lower() or "cut_cross_entropy" in name.lower():
            words = (
                "made in pieces here too; use_liger_kernel: true takes Liger where it is installed"
            )
            draft.say(Kind.DROPPED, f"plugins[{number}]", words)
        else:
            draft.say(
                Kind.CHANGES, f"plugins[{number}]", f"'{name}' is code, which a file does not bring"
            )


def _defaults(draft: Draft) -> None:
    """What axolotl takes where its file says nothing."""
    for name, value, key in (
        ("max_length", 512, "sequence_len"),
        ("per_device_train_batch_size", 1, "micro_batch_size"),
        ("gradient_accumulation_steps", 1, "gradient_accumulation_steps"),
        ("num_train_epochs", 1, "num_epochs"),
        ("eval_split", 0, "val_set_size"),
        ("early_stopping_patience", 0, "early_stopping_patience"),
        ("load_best_model_at_end", False, "load_best_model_at_end"),
    ):
        is_held_out = name == "eval_split" and "eval_files" in draft.values
        draft.default(name, value, key, "test_datasets is there" if is_held_out else None)
    if "learning_rate" not in draft.values:
        rate = FIELDS["learning_rate"].default
        words = f"{rate:g}: axolotl asks for one, and the file has none"
        draft.default("learning_rate", rate, "learning_rate", words)
    epochs = float(draft.values["num_train_epochs"])
    share = common.each_epoch(epochs)
    draft.default("save_steps", share, "save_steps", "axolotl saves once an epoch")
    if draft.values["eval_split"] or draft.values.get("eval_files"):
        draft.default("eval_steps", share, "eval_steps", "axolotl evaluates once an epoch")
    if not any(str(one).startswith(SCHEME) for one in draft.values.get("train_files", ("",))):
        return
    draft.say(Kind.TRANSLATED, "datasets", "a data set of the Hub is fetched when the run starts")
