"""Chat templates with the structure of the published ones, and small real tokenizers to go with them.

Written for these tests: what they print has the marks, the line breaks and the habits of the originals.
"""

import json
from dataclasses import dataclass
from functools import cache
from typing import Any

from tokenizers import Tokenizer, decoders, models, normalizers, trainers
from transformers import PreTrainedTokenizerFast

from finetune_tui.core import demo

_CORPUS = [
    "What is in box 1? Box 1 holds apples. And how many? Twelve of them, red.",
    "You are terse. Use a tool when you must. The weather in Oslo is 4 degrees and it rains.",
    '{"name": "weather", "arguments": {"city": "Oslo"}}',
]

QWEN25 = (
    "{%- if tools %}<|im_start|>system\n"
    "{{ messages[0].content if messages[0].role == 'system' else 'You are a helper.' }}\n# Tools\n"
    "{%- for tool in tools %}\n{{ tool | tojson }}{%- endfor %}<|im_end|>\n"
    "{%- elif messages[0].role != 'system' %}<|im_start|>system\nYou are a helper.<|im_end|>\n{%- endif %}"
    "{%- for m in messages %}"
    "{%- if m.role == 'user' or (m.role == 'system' and not (loop.first and tools)) "
    "or (m.role == 'assistant' and not m.tool_calls) %}"
    "<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n"
    "{%- elif m.role == 'assistant' %}<|im_start|>assistant"
    "{%- if m.content %}{{ '\n' + m.content }}{%- endif %}"
    "{%- for call in m.tool_calls %}{{ '\n<tool_call>\n' }}{{ call.function | tojson }}"
    "\n</tool_call>{%- endfor %}"
    "<|im_end|>\n"
    "{%- elif m.role == 'tool' %}<|im_start|>user\n<tool_response>\n{{ m.content }}\n</tool_response>"
    "<|im_end|>\n{%- endif %}{%- endfor %}"
    "{%- if add_generation_prompt %}<|im_start|>assistant\n{%- endif %}"
).replace("{%- ", "{% ")
QWEN3 = (
    "{% set ns = namespace(last=0) %}"
    "{% for m in messages %}{% if m.role == 'user' %}{% set ns.last = loop.index0 %}{% endif %}{% endfor %}"
    "{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{% if m.role == 'assistant' %}"
    "{% set parts = m.content.split('</think>') %}"
    "{% if loop.index0 > ns.last %}<think>\n"
    "{{ parts[0].replace('<think>', '').strip() if parts | length > 1 else '' }}\n</think>\n\n{% endif %}"
    "{{ parts[-1].lstrip('\n') }}{% else %}{{ m.content }}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
LLAMA31 = (
    "{{ bos_token }}{% if messages[0].role == 'system' %}"
    "{% set system = messages[0].content | trim %}{% set rest = messages[1:] %}"
    "{% else %}{% set system = '' %}{% set rest = messages %}{% endif %}"
    "<|start_header_id|>system<|end_header_id|>\n\nToday Date: 26 Jul 2024\n\n{{ system }}<|eot_id|>"
    "{% for m in rest %}{% if m.tool_calls %}"
    "{% if m.tool_calls | length != 1 %}{{ raise_exception('one tool call at a time') }}{% endif %}"
    "<|start_header_id|>assistant<|end_header_id|>\n\n"
    '{"name": "{{ m.tool_calls[0].function.name }}", '
    '"parameters": {{ m.tool_calls[0].function.arguments | tojson }}}<|eot_id|>'
    "{% elif m.role == 'tool' %}<|start_header_id|>ipython<|end_header_id|>\n\n{{ m.content }}<|eot_id|>"
    "{% else %}<|start_header_id|>{{ m.role }}<|end_header_id|>\n\n{{ m.content | trim }}<|eot_id|>"
    "{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)
PHI35 = (
    "{% for m in messages %}<|{{ m.role }}|>\n{{ m.content }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% else %}{{ eos_token }}{% endif %}"
)
PHI4_MINI = (
    "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% else %}{{ eos_token }}{% endif %}"
)
GEMMA2 = (
    "{{ bos_token }}{% if messages[0].role == 'system' %}"
    "{{ raise_exception('System role not supported') }}{% endif %}{% for m in messages %}"
    "<start_of_turn>{{ 'model' if m.role == 'assistant' else m.role }}\n"
    "{{ m.content | trim }}<end_of_turn>\n{% endfor %}"
    "{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)
GEMMA3 = (
    "{{ bos_token }}{% if messages[0].role == 'system' %}"
    "{% set first = messages[0].content + '\n\n' %}{% set rest = messages[1:] %}"
    "{% else %}{% set first = '' %}{% set rest = messages %}{% endif %}"
    "{% for m in rest %}<start_of_turn>{{ 'model' if m.role == 'assistant' else m.role }}\n"
    "{{ first if loop.first }}{{ m.content | trim }}<end_of_turn>\n{% endfor %}"
    "{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)
MISTRAL = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}[INST] {{ m.content }}[/INST]"
    "{% elif m.role == 'assistant' %} {{ m.content | trim }}{{ eos_token }}"
    "{% else %}{{ raise_exception('Only user and assistant roles are supported') }}{% endif %}{% endfor %}"
)
ZEPHYR = (
    "{% for m in messages %}<|{{ m.role }}|>\n{{ m.content + eos_token }}\n"
    "{% if loop.last and add_generation_prompt %}<|assistant|>\n{% endif %}{% endfor %}"
)
GENERATION = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{% if m.role == 'assistant' %}{% generation %}{{ m.content }}{% endgeneration %}"
    "{% else %}{{ m.content }}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@dataclass(frozen=True)
class Style:
    """A template with its tokens. ends: what each answer ends with. takes_system, takes_tools: as published.

    added: tokens the tokenizer knows whole but does not call special. spaced: it writes `▁` before a text.
    """

    template: str
    special: tuple[str, ...]
    end: str
    eos: str
    bos: str | None = None
    added: tuple[str, ...] = ()
    takes_system: bool = True
    takes_tools: bool = False
    spaced: bool = False


STYLES: dict[str, Style] = {
    "qwen2.5": Style(
        QWEN25,
        ("<|im_start|>", "<|im_end|>"),
        "<|im_end|>",
        "<|im_end|>",
        added=("<tool_call>", "</tool_call>"),
        takes_tools=True,
    ),
    "llama-3.1": Style(
        LLAMA31,
        ("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
        "<|eot_id|>",
        "<|end_of_text|>",
        bos="<|begin_of_text|>",
        takes_tools=True,
    ),
    "phi-3.5": Style(
        PHI35,
        ("<|system|>", "<|user|>", "<|assistant|>", "<|end|>"),
        "<|end|>",
        "<|endoftext|>",
        bos="<s>",
        spaced=True,
    ),
    "phi-4-mini": Style(
        PHI4_MINI,
        ("<|system|>", "<|user|>", "<|assistant|>", "<|end|>"),
        "<|end|>",
        "<|endoftext|>",
    ),
    "gemma-2": Style(
        GEMMA2,
        ("<start_of_turn>", "<end_of_turn>"),
        "<end_of_turn>",
        "<eos>",
        bos="<bos>",
        takes_system=False,
    ),
    "gemma-3": Style(
        GEMMA3, ("<start_of_turn>", "<end_of_turn>"), "<end_of_turn>", "<eos>", bos="<bos>"
    ),
    "mistral": Style(
        MISTRAL, ("[INST]", "[/INST]"), "</s>", "</s>", bos="<s>", takes_system=False, spaced=True
    ),
    "zephyr": Style(ZEPHYR, (), "</s>", "</s>", bos="<s>", spaced=True),
    "generation": Style(GENERATION, ("<|im_start|>", "<|im_end|>"), "<|im_end|>", "<|im_end|>"),
}
QWEN3_STYLE = Style(
    QWEN3,
    ("<|im_start|>", "<|im_end|>"),
    "<|im_end|>",
    "<|im_end|>",
    added=("<think>", "</think>"),
)


def make_tokenizer(style: Style) -> Any:
    """A byte-level tokenizer (the demo's) or one that writes `▁` first, with the tokens of the style."""
    if style.spaced:
        tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(_spaced()))
    else:
        tokenizer = PreTrainedTokenizerFast(
            tokenizer_file=str(demo.MODEL_FOLDER / "tokenizer.json")
        )
    named = {"eos_token": style.eos, "pad_token": "<|pad|>"}
    tokenizer.add_special_tokens({**named, "bos_token": style.bos} if style.bos else named)
    tokenizer.add_special_tokens({"additional_special_tokens": list(style.special)})
    tokenizer.add_tokens(list(style.added))
    tokenizer.chat_template = style.template
    return tokenizer


@cache
def _spaced() -> str:
    """Byte fallback and `▁` as Llama 2's has them, with a small vocabulary."""
    trained = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>"))
    trained.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    of_bytes = [f"<0x{number:02X}>" for number in range(256)]
    trainer = trainers.BpeTrainer(
        vocab_size=600, special_tokens=["<unk>", *of_bytes], show_progress=False
    )
    trained.train_from_iterator(_CORPUS, trainer)
    trained.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    # The trainer calls the bytes special tokens; in the published ones only `<unk>` is.
    whole = json.loads(trained.to_str())
    whole["added_tokens"] = [one for one in whole["added_tokens"] if one["content"] == "<unk>"]
    return json.dumps(whole)
