"""Which tokens train: the mask, the end token, the cut."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from finetune_tui.core import demo
from finetune_tui.core.data.formats import row_from
from finetune_tui.core.data.rows import Row
from finetune_tui.core.data.tokens import IGNORED, Masking, TokenRow, load_tokenizer, token_row
from finetune_tui.core.data.tokens_chat import plain_chat
from finetune_tui.core.errors import UserError, WorkFailed

CHATML = (
    "{% for m in messages %}<|{{ m.role }}|>\n{{ m.content }}<|endoftext|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)
CHAT = {
    "messages": [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": "2 lamps"},
        {"role": "assistant", "content": "yes"},
        {"role": "user", "content": "and 3"},
        {"role": "assistant", "content": "no"},
    ]
}


@pytest.fixture
def tokenizer() -> Any:
    return load_tokenizer(str(demo.MODEL_FOLDER), "demo")


def tokens_of(value: dict[str, Any], tokenizer: Any, longest: int = 1000) -> TokenRow:
    row: Row = row_from(value, Path("d.jsonl"), 3)
    return token_row(row, tokenizer, Masking(longest))


def trained_text(tokens: TokenRow, tokenizer: Any) -> str:
    trained: Sequence[int] = [label for label in tokens.labels if label != IGNORED]
    return str(tokenizer.decode(trained))


def test_a_completion_trains_with_its_end_and_the_prompt_does_not(tokenizer: Any) -> None:
    tokens = tokens_of({"prompt": "2 red lamps", "completion": " yes"}, tokenizer)
    assert trained_text(tokens, tokenizer) == " yes<|endoftext|>"
    assert tokenizer.decode(tokens.ids) == "2 red lamps yes<|endoftext|>"
    assert len(tokens.ids) == len(tokens.labels)


def test_a_text_trains_whole(tokenizer: Any) -> None:
    tokens = tokens_of({"text": "2 red lamps"}, tokenizer)
    assert trained_text(tokens, tokenizer) == "2 red lamps<|endoftext|>"


def test_prompts_train_too_when_asked(tokenizer: Any) -> None:
    row = row_from({"prompt": "2 red lamps", "completion": " yes"}, Path("d"), 1)
    tokens = token_row(row, tokenizer, Masking(100, completion_only_loss=False))
    assert IGNORED not in tokens.labels


def test_only_the_assistants_turns_train_with_a_template(tokenizer: Any) -> None:
    tokenizer.chat_template = CHATML
    tokens = tokens_of(CHAT, tokenizer)
    assert trained_text(tokens, tokenizer) == "yes<|endoftext|>no<|endoftext|>"
    rendered = tokenizer.apply_chat_template(CHAT["messages"], tokenize=False)
    assert tokenizer.decode(tokens.ids) == rendered


def test_only_the_assistants_turns_train_without_a_template(tokenizer: Any) -> None:
    tokens = tokens_of(CHAT, tokenizer)
    assert trained_text(tokens, tokenizer) == " yes<|endoftext|> no<|endoftext|>"


def test_the_plain_format_is_as_documented() -> None:
    messages = [{"role": "user", "content": "hello"}]
    assert plain_chat(messages, answer=True) == "Instruct: hello\n\nOutput:"


def test_a_template_that_rewrites_history_names_the_row(tokenizer: Any) -> None:
    tokenizer.chat_template = "{{ messages | length }}{{ messages[-1].content }}"
    with pytest.raises(UserError, match=r"d\.jsonl:3.*rewrites"):
        tokens_of(CHAT, tokenizer)


def test_a_template_that_refuses_names_the_row(tokenizer: Any) -> None:
    tokenizer.chat_template = "{{ raise_exception('no system turn') }}"
    with pytest.raises(UserError, match=r"d\.jsonl:3.*no system turn"):
        tokens_of(CHAT, tokenizer)


def test_a_template_cannot_reach_out_of_its_sandbox(tokenizer: Any) -> None:
    tokenizer.chat_template = "{{ messages.__class__.__mro__[1].__subclasses__() }}"
    with pytest.raises(UserError, match=r"d\.jsonl:3"):
        tokens_of(CHAT, tokenizer)


def test_a_long_row_is_cut_and_says_so(tokenizer: Any) -> None:
    whole = tokens_of({"text": "2 red lamps and 3 blue ones"}, tokenizer)
    cut = tokens_of({"text": "2 red lamps and 3 blue ones"}, tokenizer, longest=4)
    assert cut.ids == whole.ids[:4]
    assert cut.cut == len(whole.ids) - 4


def test_a_folder_without_a_tokenizer_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(WorkFailed, match="tokenizer"):
        load_tokenizer(str(tmp_path), "mine")
