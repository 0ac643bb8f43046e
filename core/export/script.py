"""A run as one plain Python file: the same training with torch, transformers and peft alone."""

from collections.abc import Iterator, Mapping
from importlib.metadata import version

from finetune_tui.core.data.rows import Format
from finetune_tui.core.export import script_model as model
from finetune_tui.core.export import script_rows as rows
from finetune_tui.core.export import script_tokens as tokens
from finetune_tui.core.export import script_training as training
from finetune_tui.core.export.script_facts import Facts, facts_of
from finetune_tui.core.export.script_settings import arguments, settings
from finetune_tui.core.export.script_values import docstring_safe, wrapped
from finetune_tui.core.models.manifest import Manifest
from finetune_tui.core.runs.directory import RunDirectory
from finetune_tui.core.tuning.modes import Mode

NAME = "reproduce.py"
"""What the script is called beside an export."""

_ROWS = {
    Format.TEXT: rows.TEXT_ROW,
    Format.PROMPT_COMPLETION: rows.COMPLETION_ROW,
    Format.INSTRUCTION: rows.INSTRUCTION_ROW,
    Format.MESSAGES: rows.CHAT + rows.MESSAGES_ROW + rows.CHAT_CONTENT,
    Format.CONVERSATIONS: rows.CHAT + rows.CONVERSATIONS_ROW + rows.CHAT_CONTENT,
}
_CHAT_IN_TWO = rows.CHAT + rows.CHAT_COMPLETION_ROW + rows.CHAT_CONTENT
_HELD_OUT_FILES = """
rows = sequences_of(read(TRAIN_FILES))
held_out = sequences_of(read(EVAL_FILES))
"""
_HELD_OUT_SHARE = """
found = read(TRAIN_FILES)
places = held_out_of(found)
rows = sequences_of(row for place, row in enumerate(found) if place not in places)
held_out = sequences_of(row for place, row in enumerate(found) if place in places)
"""
_NONE_HELD_OUT = """
rows = sequences_of(read(TRAIN_FILES))
held_out = []
"""
_COUNT = 'print(f"{len(rows)} rows to train on, {len(held_out)} held out")\n'
_PACK = """
lengths = [len(ids) for ids, _ in rows]
sequences = [[rows[place] for place in pack] for pack in packed(lengths)]

"""


def script_of(run: RunDirectory, manifest: Manifest | None = None, travels: bool = False) -> str:
    """The whole text of the script. manifest: of the run's model, when it is at hand. travels: files and
    folders of this machine are called by their own names alone, for others to put in place.

    Raises UserError for a run that no script can do again: its data or model is gone, or it is a table
    or too large to be read at once.
    """
    facts = facts_of(run, manifest, travels)
    parts = [_head(facts), settings(facts), *_data_parts(facts), *_training_parts(facts)]
    return "".join(parts)


def _head(facts: Facts) -> str:
    run = facts.run
    made = f"Made by finetune-tui {version('finetune-tui')} from run {run.short_id}."
    lines = [
        docstring_safe(
            f"Trains again what run {run.id} trained, without the program that made it."
        ),
        "",
        "Same model, same modules, same rows in the same order, same masks, same settings: on the same",
        "machine and versions every step has the same loss. It needs torch, transformers and peft.",
    ]
    versions = facts.started.get("versions")
    if isinstance(versions, Mapping):
        found = ", ".join(f"{name} {number}" for name, number in versions.items() if number)
        lines.append(wrapped(docstring_safe(f"The run had {found}.")))
    lines += ["", "What it does not do as the run did:"]
    lines += [wrapped(docstring_safe(note), "- ", "  ") for note in _notes(facts)]
    lines += ["", f"    python {NAME} [--steps N] [--out FOLDER]"]
    text = "\n".join(lines)
    return (
        f'#!/usr/bin/env python3\n# {docstring_safe(made)}\n"""{text}\n"""\n\n{_imports(facts)}\n'
    )


def _notes(facts: Facts) -> Iterator[str]:
    spec = facts.spec
    yield "Nothing is written on the way: no checkpoints, no pausing, no resuming."
    if spec.eval_replies or spec.eval_samples:
        yield "Held-out rows are not answered, only their loss is measured."
    if facts.other_format:
        yield (
            "The held-out rows are of another format than those trained on: they are not measured, "
            "nothing stops early, and the last step is the result."
        )
    if facts.recovered:
        yield (
            "The run ran out of memory and went on with fewer rows at once. Here all are taken as asked: "
            "sums may differ in their last bits, or memory run out again."
        )
    if not facts.started:
        yield "The run had not begun when this was written: its device and threads are guessed."
    if facts.is_directed:
        yield (
            "The result is not saved: an adapter that starts from the weights' own directions has to be "
            "turned into plain LoRA first, which the run's own adapter already is."
        )
    if spec.report_to != "none":
        yield f"Nothing is sent to {spec.report_to}."
    if facts.travels:
        yield "Files are called by their names alone: lay them beside this script."
    if facts.reference.kind in ("demo", "folder"):
        yield "The model is a folder of the machine it ran on: on another one set MODEL."


def _imports(facts: Facts) -> str:
    spec = facts.spec
    adapted = bool(facts.selection.names(Mode.LORA))
    standard = {"argparse", "json", "re"}
    standard |= {"hashlib", "itertools"} if facts.splits else set()
    standard |= set() if facts.stock_loss else {"functools"}
    standard |= {"math"} if facts.judges else set()
    lines = [f"import {name}" for name in sorted(standard)]
    lines.append(f"from bisect import {'bisect_left, insort' if spec.packing else 'bisect_left'}")
    lines += ["from pathlib import Path", "", "import jinja2", "import torch"]
    peft = ["LoraConfig"] if adapted else []
    peft += ["TrainableTokensConfig"] if spec.trainable_token_indices and not adapted else []
    if peft:
        lines.append(f"from peft import {', '.join([*peft, 'get_peft_model'])}")
    if facts.is_directed:
        lines.append("from peft.utils.integrations import dequantize_module_weight")
    if facts.saves_own:
        lines.append("from safetensors.torch import save_file")
    if facts.is_directed or not facts.stock_loss:
        lines.append("from torch.nn import functional")
    if not facts.stock_loss:
        lines.append("from torch.utils.checkpoint import checkpoint")
    names = {"AutoConfig", "AutoModelForCausalLM", "AutoTokenizer", "PrinterCallback", "Trainer"}
    names |= {"TrainerCallback", "TrainingArguments", "set_seed"}
    names |= {"BitsAndBytesConfig"} if spec.load_in_4bit or spec.load_in_8bit else set()
    lines += ["from transformers import (", *(f"    {name}," for name in sorted(names)), ")"]
    if not facts.stock_loss:
        lines.append("from transformers.modeling_outputs import CausalLMOutputWithPast")
    if facts.is_chat:
        lines.append("from transformers.utils.chat_template_utils import render_jinja_template")
    return "\n".join(lines) + "\n"


def _data_parts(facts: Facts) -> Iterator[str]:
    in_two = facts.is_chat and facts.train.format is Format.PROMPT_COMPLETION
    yield rows.RECORDS
    yield _CHAT_IN_TWO if in_two else _ROWS[facts.train.format]
    if facts.splits:
        yield rows.HOLD_OUT
    yield tokens.TOKENS
    yield tokens.CHAT_TOKENS if facts.is_chat else tokens.PLAIN_TOKENS
    yield rows.READING
    if facts.splits:
        yield _HELD_OUT_SHARE
    else:
        yield _HELD_OUT_FILES if facts.judges else _NONE_HELD_OUT
    yield _COUNT


def _training_parts(facts: Facts) -> Iterator[str]:
    spec = facts.spec
    yield model.LOAD
    yield model.QUANTISED if spec.load_in_4bit or spec.load_in_8bit else model.MOVE
    if spec.load_in_8bit and spec.use_dora:
        yield model.EIGHT_BIT_SCALES
    yield from _selection_parts(facts)
    if spec.gradient_checkpointing:
        yield model.CHECKPOINTING
    if not facts.stock_loss:
        yield model.LOSS
    yield from _order_parts(facts)
    yield training.COLLATE
    yield training.TRAINER
    if facts.judges:
        yield training.JUDGING
    yield arguments(facts)
    judge = "[EveryStep(), judge] if held_out else [EveryStep()]"
    yield training.GO.replace("CALLBACKS", judge if facts.judges else "[EveryStep()]")
    if facts.judges and spec.load_best_model_at_end:
        yield training.RESTORE
    if not facts.is_directed:
        yield from _saving_parts(facts)


def _selection_parts(facts: Facts) -> Iterator[str]:
    spec, selection = facts.spec, facts.selection
    lora, full, bias = (selection.names(mode) for mode in (Mode.LORA, Mode.FULL, Mode.BIAS))
    yield model.SELECTION
    if spec.trainable_token_indices:
        yield model.TOKEN_IDS
    if lora:
        indices = "{EMBEDDING: TOKENS}" if spec.trainable_token_indices else "None"
        yield model.ADAPTER.replace("TOKEN_INDICES", indices)
    elif spec.trainable_token_indices:
        yield model.TOKENS_ALONE
    if facts.is_directed:
        yield model.STARTS
    if facts.saves_own:
        yield model.OWN_PARAMETERS
    if full and not lora:
        yield model.FULL_ALONE
    if bias:
        yield model.BIAS
    if bias and (spec.load_in_4bit or spec.load_in_8bit):
        yield model.BIAS_OUTSIDE
    yield model.IN_FLOAT32


def _order_parts(facts: Facts) -> Iterator[str]:
    spec = facts.spec
    if spec.packing:
        yield training.PACKS
        yield _PACK
    yield training.ORDER
    if spec.train_sampling_strategy == "sequential":
        yield training.PLACES_IN_ORDER
    else:
        yield training.PLACES
        yield training.PLACES_GROUPED if spec.train_sampling_strategy == "group_by_length" else ""
        yield training.PLACES_END
    yield "\n\n"
    if not spec.packing:
        yield "sequences = [[row] for row in rows]\n"
    yield "order = Order([sum(len(ids) for ids, _ in packed) for packed in sequences])\n"


def _saving_parts(facts: Facts) -> Iterator[str]:
    selection = facts.selection
    lora, bias = selection.names(Mode.LORA), selection.names(Mode.BIAS)
    yield training.SAVE
    if lora or facts.spec.trainable_token_indices:
        yield training.SAVE_ADAPTER
    if facts.saves_own:
        own_full = "[]" if lora or not selection.names(Mode.FULL) else "FULL"
        yield training.SAVE_OWN.replace("OWN_FULL", own_full).replace(
            "OWN_BIAS", "BIAS" if bias else "[]"
        )
    yield 'print(f"the result lies in {out}")\n'
