"""LLaMA-Factory's arguments: what its documentation says each key means, in the words used here."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from finetune_tui.core.errors import UserError
from finetune_tui.core.files import read_json
from finetune_tui.core.models.data_set_name import SCHEME
from finetune_tui.core.text import plain
from finetune_tui.core.tuning.importing import common
from finetune_tui.core.tuning.importing import llama_factory_keys as keys
from finetune_tui.core.tuning.importing.data_sets import Sources, expect_columns
from finetune_tui.core.tuning.importing.notes import Draft, Kind, is_nothing
from finetune_tui.core.tuning.importing.targets import Blocks, Targets

TOOL = "LLaMA-Factory"
INFO = "dataset_info.json"
_LARGEST_INFO = 2**22

# What reads with these names is read here too; LLaMA-Factory's own names are the defaults.
_ALPACA = {
    "prompt": ("instruction",),
    "query": ("input",),
    "response": ("output",),
    "system": ("system",),
}
_TAGS = {
    "role_tag": ("from", "role"),
    "content_tag": ("value", "content"),
    "user_tag": ("human", "user"),
    "assistant_tag": ("gpt", "assistant"),
    "observation_tag": ("observation", "tool"),
    "function_tag": ("function_call", "tool_call"),
    "system_tag": ("system",),
}


def translate(draft: Draft, sources: Sources) -> Targets:
    """Fill the draft. Raises UserError for a value that cannot be, and for other work than this."""
    stage = str(draft.take("stage") or "sft").strip().lower()
    if stage not in ("sft", "pt"):
        raise draft.wrong(
            "stage", f"'{plain(stage, 20)}' is not done here; only training on text is"
        )
    draft.same(keys.SAME)
    if draft.yes("packing"):
        draft.put("packing", True, "packing")
        words = "packed rows do not see each other; there they do, unless neat_packing"
        draft.say(Kind.CHANGES, "packing", words)
    if draft.yes("neat_packing"):
        draft.put(
            "packing", True, "neat_packing", "packing: true; packed rows do not see each other"
        )
    targets = _targets(draft)
    _quantisation(draft)
    _data(draft, sources, stage)
    _masking(draft)
    _course(draft)
    draft.drop(Kind.DROPPED, keys.DROPPED)
    draft.drop(Kind.CHANGES, keys.CHANGES)
    _defaults(draft, adapted=targets.blocks is None and not targets.everything)
    return targets


def _targets(draft: Draft) -> Targets:
    how = str(draft.take("finetuning_type") or "lora").strip().lower()
    lora_keys = (
        *("lora_target", "additional_target", "pissa_init", "pissa_iter", "lora_rank"),
        *("lora_alpha", "lora_dropout", "use_dora", "use_rslora"),
    )
    freeze_keys = ("freeze_trainable_layers", "freeze_trainable_modules", "freeze_extra_modules")
    if how == "lora":
        draft.drop(Kind.DROPPED, dict.fromkeys(freeze_keys, "LoRA is asked for"))
        return _adapter(draft)
    draft.without_lora(lora_keys, "no LoRA is asked for")
    if how == "full":
        draft.drop(Kind.DROPPED, dict.fromkeys(freeze_keys, "all weights train"))
        draft.say(Kind.TRANSLATED, "finetuning_type", "every parameter trains (preset full)")
        return Targets("finetuning_type", everything=True)
    if how != "freeze":
        raise draft.wrong("finetuning_type", f"no '{plain(how, 20)}' here", "lora, full or freeze")
    if not is_nothing(draft.take("use_llama_pro")):
        raise draft.wrong("use_llama_pro", "blocks that were added to a model are not known here")
    last = (
        draft.whole("freeze_trainable_layers", "max_steps") if _positive(draft) else _below(draft)
    )
    draft.say(Kind.TRANSLATED, "finetuning_type", "modules in mode full, in the blocks that train")
    return Targets(
        "finetuning_type",
        blocks=Blocks(
            2 if last is None else last,
            draft.names("freeze_trainable_modules") or ("all",),
            draft.names("freeze_extra_modules"),
        ),
    )


def _positive(draft: Draft) -> bool:
    return not str(draft.take("freeze_trainable_layers") or "").strip().startswith("-")


def _below(draft: Draft) -> int:
    """The first so many blocks: a number below zero."""
    text = str(draft.take("freeze_trainable_layers")).strip().removeprefix("-")
    return -int(draft.read("seed", text, "freeze_trainable_layers"))


def _adapter(draft: Draft) -> Targets:
    names = draft.names("lora_target") or ("all",)
    if "lora_target" not in draft.file.values:
        draft.notes.append(
            draft.default_note("lora_target", "LLaMA-Factory takes all linear modules but the head")
        )
    everything = names == ("all",)
    if everything and "lora_target" in draft.file.values:
        draft.say(Kind.TRANSLATED, "lora_target", "every linear module but the head")
    if draft.yes("pissa_init"):
        rounds = draft.take("pissa_iter")
        start = {None: "pissa_niter_16", "16": "pissa_niter_16", "-1": "pissa"}.get(
            None if rounds is None else str(rounds)
        )
        if start is None:
            draft.say(Kind.CHANGES, "pissa_iter", "16 rounds are taken")
        start = start or "pissa_niter_16"
        draft.put("init_lora_weights", start, "pissa_init", f"init_lora_weights: {start}")
    else:
        draft.take("pissa_iter")
    if draft.yes("use_llama_pro"):
        draft.say(Kind.CHANGES, "use_llama_pro", "LoRA goes into all blocks")
    return Targets(
        "lora_target" if "lora_target" in draft.file.values else "finetuning_type",
        lora=() if everything else names,
        all_linear=everything,
        saved=draft.names("additional_target"),
        saved_key="additional_target",
    )


def _quantisation(draft: Draft) -> None:
    bits = draft.take("quantization_bit")
    if not is_nothing(bits):
        if str(bits) not in ("4", "8"):
            raise draft.wrong("quantization_bit", f"{plain(str(bits), 20)} is not 4 or 8")
        draft.put(f"load_in_{bits}bit", True, "quantization_bit", f"load_in_{bits}bit: true")
    method = str(draft.take("quantization_method") or "bnb").strip().lower()
    if method not in ("bnb", "bitsandbytes"):
        words = f"bitsandbytes quantises here, not {plain(method, 20)}"
        draft.say(Kind.CHANGES, "quantization_method", words)
    common.quantisation_kind(draft, "quantization_type", "nf4", "4 bits are nf4 here")
    common.quantisation_kind(draft, "double_quantization", "true", "quantised twice here, always")


def _data(draft: Draft, sources: Sources, stage: str) -> None:
    folder = str(draft.take("dataset_dir") or "data")
    for key, name in (("dataset", "train_files"), ("eval_dataset", "eval_files")):
        asked = draft.names(key)
        if asked:
            found = [
                file for one in asked for file in _data_set(draft, sources, one, folder, key, stage)
            ]
            draft.put(name, found, key, f"{name}: {plain(', '.join(found), 200)}")


def _data_set(
    draft: Draft, sources: Sources, name: str, folder: str, key: str, stage: str
) -> list[str]:
    """The files of a data set that the register names."""
    at = sources.folder_with(folder, INFO)
    if at is None:
        words = (
            f"there is no {folder}/{INFO} that says what '{plain(name, 60)}' is: set train_files"
        )
        draft.say(Kind.IMPOSSIBLE, key, words)
        return []
    about = _register(at / INFO).get(name)
    if not isinstance(about, dict):
        words = f"'{plain(name, 60)}' is not in {at / INFO}: set train_files"
        draft.say(Kind.IMPOSSIBLE, key, words)
        return []
    _columns(draft, about, name, key, stage)
    if about.get("ranking"):
        draft.say(Kind.IMPOSSIBLE, key, f"'{plain(name, 40)}' holds preferences, not rows to learn")
    file, hub = about.get("file_name"), about.get("hf_hub_url")
    if isinstance(hub, str) and hub.strip():
        split = about.get("split")
        return [
            SCHEME + hub.strip() + ("" if split in (None, "train") else f"/{plain(str(split), 40)}")
        ]
    if isinstance(file, str) and file.strip():
        return [sources.find(str(at / file), key)]
    draft.say(Kind.IMPOSSIBLE, key, f"'{plain(name, 60)}' lies neither on this disk nor on the Hub")
    return []


def _register(path: Path) -> Mapping[str, Any]:
    found = read_json(path, _LARGEST_INFO)
    if not isinstance(found, dict):
        raise UserError("no register of data sets", where=str(path))
    return found


def _columns(draft: Draft, about: Mapping[str, Any], name: str, key: str, stage: str) -> None:
    columns, tags = _mapping(about.get("columns")), _mapping(about.get("tags"))
    shown = plain(name, 40)
    if about.get("formatting", "alpaca") == "alpaca":
        if stage == "pt":
            expect_columns(draft, key, {"text": columns.get("prompt", "text")}, {"text": ("text",)})
            return
        expect_columns(draft, key, columns, _ALPACA)
        if columns.get("history"):
            draft.say(Kind.IMPOSSIBLE, key, f"the history of '{shown}' is not read: write messages")
        words = f"'{shown}': instruction, input and output as they are, without the chat template"
        draft.say(Kind.CHANGES, key, f"{words}; as messages they would go through it")
        return
    messages = {"messages": columns.get("messages")}
    expect_columns(draft, key, messages, {"messages": ("conversations", "messages")})
    expect_columns(draft, key, tags, _TAGS)


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _masking(draft: Draft) -> None:
    template = draft.take("template")
    if not is_nothing(template):
        words = (
            f"the model's own chat template is taken, which may not be '{plain(str(template), 40)}'"
        )
        draft.say(Kind.CHANGES, "template", words)
    if draft.take("train_on_prompt") is not None:
        trains = draft.yes("train_on_prompt")
        words = "prompts train too" if trains else "only what is to be written trains"
        draft.put("completion_only_loss", not trains, "train_on_prompt", words)
        draft.values["assistant_only_loss"] = not trains
    common.by_length(draft)


def _course(draft: Draft) -> None:
    common.optimizer(draft, "optim")
    common.schedule(draft, "lr_scheduler_type")
    common.warmup(draft)
    common.adam(draft)
    common.dtype(draft, {"pure_bf16": "bfloat16"})
    epochs = float(draft.values.get("num_train_epochs", 3.0))
    common.every(draft, "eval", epochs)
    common.every(draft, "save", epochs)
    steps = draft.whole("max_steps")
    if steps is not None and steps > 0:
        draft.values["max_steps"] = steps
    share = draft.take("val_size")
    if not is_nothing(share):
        number = draft.read("max_grad_norm", share, "val_size") if _is_small(share) else 1.0
        if number >= 1:
            words = "so many rows cannot be asked for: a share of 0.05 is held out"
            draft.say(Kind.CHANGES, "val_size", words)
            number = 0.05
        draft.put("eval_split", number, "val_size", f"eval_split: {number:g}")
    if draft.take("disable_gradient_checkpointing") is not None:
        off = draft.yes("disable_gradient_checkpointing")
        words = f"gradient_checkpointing: {str(not off).lower()}"
        draft.put("gradient_checkpointing", not off, "disable_gradient_checkpointing", words)
    elif draft.take("gradient_checkpointing") is not None:
        value = draft.take("gradient_checkpointing")
        draft.put("gradient_checkpointing", value, "gradient_checkpointing")
    where = draft.take("report_to")
    if not is_nothing(where):
        common.report(draft, where, "report_to")
    if draft.take("tf32") is not None:
        draft.put("tf32", draft.take("tf32"), "tf32")


def _is_small(value: Any) -> bool:
    return not isinstance(value, int) or isinstance(value, bool) or value < 1


def _defaults(draft: Draft, adapted: bool) -> None:
    """What LLaMA-Factory takes where its file says nothing."""
    if adapted:
        draft.default("lora_r", 8, "lora_rank")
        rank = draft.values["lora_r"]
        draft.default("lora_alpha", 2 * rank, "lora_alpha", "LLaMA-Factory takes twice the rank")
        draft.default("lora_dropout", 0, "lora_dropout")
    for name, value, key in (
        ("max_length", 2048, "cutoff_len"),
        ("per_device_train_batch_size", 8, "per_device_train_batch_size"),
        ("gradient_accumulation_steps", 1, "gradient_accumulation_steps"),
        ("learning_rate", 5e-5, "learning_rate"),
        ("num_train_epochs", 3, "num_train_epochs"),
        ("lr_scheduler_type", "linear", "lr_scheduler_type"),
        ("warmup_steps", 0, "warmup_steps"),
        ("gradient_checkpointing", True, "disable_gradient_checkpointing"),
        ("eval_split", 0, "val_size"),
        ("save_steps", 500, "save_steps"),
        ("early_stopping_patience", 0, "early_stopping_steps"),
        ("load_best_model_at_end", False, "load_best_model_at_end"),
    ):
        draft.default(name, value, key)
    if draft.values["eval_split"] or draft.values.get("eval_files"):
        draft.default("eval_steps", 500, "eval_steps")
