"""Configurations as people write them for three tools: what trains here is what trains there."""

from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path

import pytest
import yaml

from finetune_tui.core.models.manifest import Manifest
from finetune_tui.core.models.resolve import ModelReference, find_model
from finetune_tui.core.tuning.importing.importing import Imported, import_file
from finetune_tui.core.tuning.importing.notes import Kind
from finetune_tui.core.tuning.resolve import selection_of
from finetune_tui.core.tuning.spec import FIELDS
from finetune_tui.core.tuning.spec_file import parse_spec, write_spec

FILES = Path(__file__).with_name("files")
DATA = FILES / "data"

Wanted = dict[str, str]


def look(reference: ModelReference) -> Manifest:
    assert reference.entry is not None
    return reference.entry.manifest()


@cache
def imported(name: str) -> Imported:
    return import_file(FILES / name, look)


def trained(found: Imported) -> Wanted:
    """Name → mode of everything that trains."""
    assert found.manifest is not None
    choices = selection_of(found.spec, found.manifest).choices
    return {name: choice.mode.value for name, choice in choices.items()}


def each(blocks: Iterable[int], *ends: str, mode: str = "lora") -> Wanted:
    return {f"model.layers.{block}.{end}": mode for block in blocks for end in ends}


def attention(*names: str) -> list[str]:
    return [f"self_attn.{name}" for name in names]


SEVEN = [
    *attention("q_proj", "k_proj", "v_proj", "o_proj"),
    *(f"mlp.{name}" for name in ("gate_proj", "up_proj", "down_proj")),
]


def everything(model: str) -> Wanted:
    manifest = look(find_model(model))
    tied = {name.rpartition(".")[0] for group in manifest.tied for name in group[1:]}
    return {m.name: "full" for m in manifest.modules if m.own and m.name not in tied}


TRAINED: dict[str, Callable[[], Wanted]] = {
    "axolotl-llama3-lora.yml": lambda: (
        each(range(32), *SEVEN) | {"model.embed_tokens": "full", "lm_head": "full"}
    ),
    "axolotl-mistral-qlora.yml": lambda: each(range(32), *SEVEN),
    "axolotl-phi2-full.yml": lambda: everything("microsoft/phi-2"),
    "axolotl-qwen-unfrozen.yml": lambda: (
        each(range(24, 28), "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj", mode="full")
        | each([27], *attention("q_proj", "k_proj", "v_proj"), mode="bias")
        | {"model.norm": "full", "model.embed_tokens": "full"}
    ),
    "axolotl-phi35-dora.yml": lambda: each(range(28, 32), *attention("qkv_proj", "o_proj")),
    "llama-factory-llama3-lora.yaml": lambda: each(range(32), *SEVEN),
    "llama-factory-qwen-qlora.yaml": lambda: (
        each(range(24), *attention("q_proj", "v_proj")) | {"model.embed_tokens": "full"}
    ),
    "llama-factory-mistral-full.yaml": lambda: everything("mistralai/Mistral-7B-v0.3"),
    "llama-factory-qwen-freeze.yaml": lambda: (
        each(range(24, 28), *attention("q_proj", "k_proj", "v_proj", "o_proj"), mode="full")
        | {"lm_head": "full"}
    ),
    "llama-factory-phi2-pissa.yaml": lambda: each(
        range(32), *attention("q_proj", "v_proj"), "mlp.fc1"
    ),
    "trl-llama-lora.yaml": lambda: each(range(32), *attention("q_proj", "v_proj")),
    "trl-smollm-full.yaml": lambda: everything("HuggingFaceTB/SmolLM2-360M"),
    "trl-phi2-qlora.yaml": lambda: (
        each(range(32), *attention("q_proj", "v_proj"), "mlp.fc1", "mlp.fc2")
        | {"model.final_layernorm": "full"}
    ),
}

# Keys that are told to be not understood, not possible, or different here.
TOLD: dict[str, set[str]] = {
    "axolotl-llama3-lora.yml": {"datasets[0].type", "sequence_len", "deepspeed"},
    "axolotl-mistral-qlora.yml": {
        *("datasets[0].shuffle_rows_first", "plugins[1]", "chat_template", "val_set_size"),
        *("sequence_len", "optimizer", "lr_scheduler", "loraplus_lr_ratio", "tokens"),
        *("special_tokens.bos_token", "special_tokens.eos_token"),
    },
    "axolotl-phi2-full.yml": {"sequence_len", "adam_beta2", "fsdp", "fsdp_config"},
    "axolotl-qwen-unfrozen.yml": {"unfrozen_parameters", "sequence_len"},
    "axolotl-phi35-dora.yml": {"common", "tokenizer_config"},
    "llama-factory-llama3-lora.yaml": {"template", "max_samples"},
    "llama-factory-qwen-qlora.yaml": {
        *("double_quantization", "dataset", "template", "packing", "optim", "loraplus_lr_ratio"),
        "resize_vocab",
    },
    "llama-factory-mistral-full.yaml": {
        *("deepspeed", "lr_scheduler_type", "lr_scheduler_kwargs", "pure_bf16"),
    },
    "llama-factory-qwen-freeze.yaml": {"dataset", "template", "val_size", "adapter_name_or_path"},
    "llama-factory-phi2-pissa.yaml": {"dataset", "template", "use_dft_loss"},
    "trl-llama-lora.yaml": {"eos_token"},
    "trl-smollm-full.yaml": {"lr_scheduler_type"},
    "trl-phi2-qlora.yaml": {"datasets[0].fraction", "bnb_4bit_quant_type", "dtype"},
}


def test_every_file_has_its_answers() -> None:
    there = {path.name for path in FILES.glob("*.y*ml")}
    assert there == TRAINED.keys() == TOLD.keys()


@pytest.mark.parametrize("name", TRAINED)
def test_the_same_modules_train(name: str) -> None:
    found = imported(name)
    assert trained(found) == TRAINED[name]()
    assert parse_spec(write_spec(found.spec)) == found.spec


@pytest.mark.parametrize("name", TOLD)
def test_what_goes_lost_is_told_with_its_line(name: str) -> None:
    lines = (FILES / name).read_text().splitlines()
    told = {
        note.key
        for note in imported(name).notes
        if note.kind in (Kind.UNKNOWN, Kind.IMPOSSIBLE, Kind.CHANGES)
    }
    assert told == TOLD[name]
    for note in imported(name).notes:
        if note.line is None:
            assert note.kind is Kind.DEFAULT, note
        elif not note.key.endswith("]"):
            assert note.key.rpartition(".")[2] in lines[note.line - 1], note


@pytest.mark.parametrize("name", TOLD)
def test_every_key_of_a_file_is_used_or_told(name: str) -> None:
    """A key without a note is the spec's own, says which modules train, or asks for nothing."""
    values = yaml.safe_load((FILES / name).read_text())
    found = imported(name)
    told = {note.key.partition(".")[0].partition("[")[0] for note in found.notes}
    silent = {key for key, value in values.items() if value not in (None, False, [], 0)} - told
    understood = {
        *FIELDS,
        *(
            "adapter",
            "lora_target_modules",
            "lora_modules_to_save",
            "optimizer",
            "use_peft",
            "stage",
        ),
        *("peft_layers_to_transform", "lora_rank_pattern", "excess_length_strategy", "dataset_dir"),
        *("finetuning_type", "lora_target", "additional_target", "quantization_method"),
        *("freeze_trainable_layers", "freeze_trainable_modules", "freeze_extra_modules"),
        *("eval_strategy", "save_strategy", "pissa_iter", "dataset_text_field"),
    }
    assert silent <= understood


def test_settings_are_the_other_tool_s() -> None:
    found = imported("axolotl-llama3-lora.yml").spec
    assert (found.load_in_8bit, found.load_in_4bit) == (True, False)
    assert (found.lora_r, found.lora_alpha, found.lora_dropout) == (32, 16, 0.05)
    assert (found.per_device_train_batch_size, found.gradient_accumulation_steps) == (2, 4)
    assert (found.max_length, found.packing) == (4096, True)
    assert (found.optim, found.lr_scheduler_type, found.warmup_steps) == (
        "adamw_8bit",
        "cosine",
        0.1,
    )
    assert (found.eval_split, found.eval_steps, found.save_steps) == (0.05, 1 / 16, 0.25)
    assert (found.early_stopping_patience, found.load_best_model_at_end) == (2, False)
    assert found.train_files == (str(DATA / "tickets.jsonl"),)


def test_what_a_file_does_not_say_is_the_other_tool_s_default() -> None:
    found = imported("llama-factory-phi2-pissa.yaml").spec
    assert (found.lora_r, found.lora_alpha, found.lora_dropout) == (8, 16, 0)
    assert (found.learning_rate, found.lr_scheduler_type, found.warmup_steps) == (5e-5, "linear", 0)
    assert (found.max_length, found.gradient_checkpointing, found.eval_split) == (2048, True, 0)
    assert (found.early_stopping_patience, found.load_best_model_at_end) == (0, False)
    assert found.init_lora_weights == "pissa_niter_16"
    assert found.train_files == ("hf://datasets/someone/quiz/test",)
    trl = imported("trl-llama-lora.yaml").spec
    assert (trl.lora_r, trl.dtype, trl.assistant_only_loss) == (32, "bfloat16", False)
    assert trl.eval_files == ("hf://datasets/trl-lib/Capybara/test",)


def test_a_rank_of_its_own_goes_over() -> None:
    found = imported("axolotl-phi35-dora.yml")
    assert found.manifest is not None
    choices = selection_of(found.spec, found.manifest).choices
    assert choices["model.layers.30.self_attn.o_proj"].r == 4
    assert choices["model.layers.30.self_attn.qkv_proj"].r is None
    assert (found.spec.use_dora, found.spec.use_rslora) == (True, True)


def test_a_secret_is_not_repeated() -> None:
    found = imported("trl-llama-lora.yaml")
    assert any(note.key == "hub_token" for note in found.notes)
    assert "hf_abcdef" not in str(found.notes) + write_spec(found.spec)
