"""Eight chats, and tiny chat models of five families: each with its own template, marks and end token.

The templates are written for these tests; their output has the structure of the published ones.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

from finetune_tui.core import demo

CHATS: list[list[dict[str, str]]] = [
    [
        {"role": "user", "content": f"What is in box {number}?"},
        {"role": "assistant", "content": f"Box {number} holds {thing}."},
        {"role": "user", "content": "And how many?"},
        {"role": "assistant", "content": f"{count} of them, {colour}."},
    ]
    for number, (thing, count, colour) in enumerate(
        [
            ("apples", 12, "red"),
            ("keys", 3, "rusty"),
            ("maps", 40, "old"),
            ("lamps", 7, "green"),
            ("cups", 25, "blue"),
            ("coins", 91, "bright"),
            ("ropes", 2, "long"),
            ("stamps", 64, "yellow"),
        ],
        start=1,
    )
]


@dataclass(frozen=True)
class ChatFamily:
    """config: beside the sizes. marks: the template's own tokens. ends: what generation stops at."""

    config: dict[str, Any]
    template: str
    marks: tuple[str, ...]
    end: str
    ends: tuple[str, ...]
    begin: str | None = None


_CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
_PHI3 = (
    "{% for m in messages %}<|{{ m.role }}|>\n{{ m.content }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% else %}{{ eos_token }}{% endif %}"
)
_LLAMA = (
    "{{ bos_token }}{% for m in messages %}<|start_header_id|>{{ m.role }}<|end_header_id|>\n\n"
    "{{ m.content | trim }}<|eot_id|>{% endfor %}"
    "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)
_GEMMA = (
    "{{ bos_token }}{% for m in messages %}"
    "{% if m.role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "<start_of_turn>{{ 'model' if m.role == 'assistant' else m.role }}\n{{ m.content | trim }}"
    "<end_of_turn>\n{% endfor %}{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)
_GROUPED = {"num_key_value_heads": 2}

CHAT_FAMILIES: dict[str, ChatFamily] = {
    # A base model without a template: the app's documented plain format.
    "phi": ChatFamily({"model_type": "phi"}, "", (), "<|endoftext|>", ("<|endoftext|>",)),
    "phi3": ChatFamily(
        {"model_type": "phi3", **_GROUPED},
        _PHI3,
        ("<|user|>", "<|assistant|>", "<|system|>", "<|end|>"),
        "<|endoftext|>",
        ("<|endoftext|>", "<|end|>", "<|assistant|>"),
    ),
    "qwen2-tied": ChatFamily(
        {"model_type": "qwen2", **_GROUPED, "tie_word_embeddings": True},
        _CHATML,
        ("<|im_start|>",),
        "<|im_end|>",
        ("<|im_end|>", "<|endoftext|>"),
    ),
    "llama": ChatFamily(
        {"model_type": "llama", **_GROUPED},
        _LLAMA,
        ("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
        "<|end_of_text|>",
        ("<|end_of_text|>", "<|eot_id|>"),
        begin="<|begin_of_text|>",
    ),
    "gemma2-tied": ChatFamily(
        {"model_type": "gemma2", **_GROUPED, "head_dim": 16, "sliding_window": 64},
        _GEMMA,
        ("<start_of_turn>", "<end_of_turn>"),
        "<eos>",
        ("<eos>", "<end_of_turn>"),
        begin="<bos>",
    ),
}


def make_chat_folder(family: str, folder: Path) -> Path:
    """A folder with a tiny random model of this family, its tokenizer, template and end tokens."""
    about = CHAT_FAMILIES[family]
    tokenizer = _tokenizer(about)
    ends = tokenizer.convert_tokens_to_ids(list(about.ends))
    torch.manual_seed(1)
    config = AutoConfig.for_model(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=256,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        **about.config,
    )
    model = AutoModelForCausalLM.from_config(config)
    model.generation_config.eos_token_id = ends
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def write_chats(path: Path) -> Path:
    path.write_text("".join(json.dumps({"messages": chat}) + "\n" for chat in CHATS))
    return path


def _tokenizer(about: ChatFamily) -> PreTrainedTokenizerFast:
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(demo.MODEL_FOLDER / "tokenizer.json"))
    tokenizer.add_special_tokens(
        {
            "eos_token": about.end,
            "pad_token": "<|pad|>",
            "additional_special_tokens": [*about.marks, *about.ends],
        }
    )
    if about.begin:
        tokenizer.add_special_tokens({"bos_token": about.begin})
    tokenizer.chat_template = about.template or None
    return tokenizer
