"""The Modelfile writes a chat as the model's own template does, or says that it cannot."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune_tui.core.data.tokens_chat import plain_chat
from finetune_tui.core.export.chat_format import ChatFormat, Message, chat_format
from finetune_tui.core.export.ollama import go_template, write_modelfile
from tests.core.data.templates import STYLES, make_tokenizer

from .go_templates import run_template

CHAT: list[Message] = [
    {"role": "user", "content": "first?"},
    {"role": "assistant", "content": "one {{ .Prompt }}"},
    {"role": "user", "content": "second?"},
]
SYSTEM: Message = {"role": "system", "content": "be brief"}

texts = st.text(st.sampled_from('<|>{}[]/\n "#.ab'), max_size=12)
around = st.tuples(texts, texts)


@pytest.mark.parametrize("name", STYLES)
def test_the_same_text_as_the_template(name: str) -> None:
    style = STYLES[name]
    tokenizer = make_tokenizer(style)

    def render(messages: Sequence[Message], answer: bool) -> str:
        try:
            return str(
                tokenizer.apply_chat_template(
                    list(messages), tokenize=False, add_generation_prompt=answer
                )
            )
        except Exception as error:  # a template says so in its own way
            raise ValueError from error

    found = chat_format(render)
    assert found is not None
    beginning = tokenizer.bos_token or ""
    template = go_template(found, beginning)
    for chat in (CHAT[:1], CHAT, *([[SYSTEM, *CHAT]] if found.system else [])):
        said = run_template(template, chat)
        assert said == render(chat, True).removeprefix(beginning)
    # Gemma's system turn becomes a part of the user's; of the others it is one of its own.
    assert (found.system is not None) == (style.takes_system and name != "gemma-3")


def test_marks_are_not_cut_in_two() -> None:
    """Phi-3 writes another end behind the last turn, which begins with the same two letters."""
    template = make_tokenizer(STYLES["phi-3.5"]).apply_chat_template
    found = chat_format(
        lambda messages, answer: str(
            template(list(messages), tokenize=False, add_generation_prompt=answer)
        )
    )
    assert found == ChatFormat(
        begin="",
        user=("<|user|>\n", "<|end|>\n"),
        assistant=("<|assistant|>\n", "<|end|>\n"),
        system=("<|system|>\n", "<|end|>\n"),
        answer="<|assistant|>\n",
    )


def test_the_plain_format_of_models_without_a_template() -> None:
    found = chat_format(lambda messages, answer: plain_chat(messages, answer, "<end>"))
    assert found is not None
    template = go_template(found)
    for chat in (CHAT[:1], CHAT, [SYSTEM, *CHAT]):
        assert run_template(template, chat) == plain_chat(chat, True, "<end>")


@given(begin=texts, user=around, assistant=around, system=st.none() | around, answer=texts)
def test_any_words_around_turns_come_out_as_they_are(
    begin: str,
    user: tuple[str, str],
    assistant: tuple[str, str],
    system: tuple[str, str] | None,
    answer: str,
) -> None:
    chat = ChatFormat(begin, user, assistant, system, answer)
    template = go_template(chat)
    for messages in (CHAT, [SYSTEM, *CHAT]) if system else (CHAT,):
        assert run_template(template, messages) == chat.write(messages)


@given(begin=texts, user=around, assistant=around, answer=texts)
def test_what_is_taken_apart_can_be_put_together(
    begin: str, user: tuple[str, str], assistant: tuple[str, str], answer: str
) -> None:
    made = ChatFormat(begin, user, assistant, None, answer)

    def render(messages: Sequence[Message], answers: bool) -> str:
        if messages[0]["role"] == "system":
            raise ValueError
        text = made.write(messages)
        return text if answers else text.removesuffix(answer)

    found = chat_format(render)
    assert found is not None
    assert found.write(CHAT) == made.write(CHAT)


def test_a_template_that_changes_earlier_turns_is_not_guessed() -> None:
    def render(messages: Sequence[Message], answer: bool) -> str:
        return f"{len(messages)} " + " ".join(message["content"] for message in messages)

    assert chat_format(render) is None
    text = _modelfile("LlamaForCausalLM", chat=None)
    assert "TEMPLATE" not in text
    assert "cannot be put into Ollama's language" in text


def test_what_the_file_says() -> None:
    chat = ChatFormat("", ("<u>", "</u>"), ("<a>", "</a>"), None, "<a>")
    text = _modelfile("LlamaForCausalLM", chat=chat)
    assert text.startswith("# For Ollama")
    assert "FROM .\n" in text
    assert 'PARAMETER stop "</a>"\n' in text
    assert "does not name" not in text
    # Neither an unknown architecture nor a stop that would break the file is passed over in silence.
    other = _modelfile("Qwen2ForCausalLM", chat=chat, stops=["</a>", 'a"b', "\n"])
    assert "does not name Qwen2ForCausalLM" in other
    assert other.count("PARAMETER") == 1
    assert 'TEMPLATE """{{ .Prompt }}"""' in _modelfile("LlamaForCausalLM", asks_in_turns=False)
    adapter = _modelfile("LlamaForCausalLM", merged=False, chat=chat)
    assert "FROM BASE\nADAPTER .\n" in adapter
    assert "the folder of owner/base" in adapter
    quotes = ChatFormat('"""', ("<u>", "</u>"), ("<a>", "</a>"), None, "<a>")
    assert 'TEMPLATE """' not in _modelfile("LlamaForCausalLM", chat=quotes)


def _modelfile(
    architecture: str,
    merged: bool = True,
    chat: ChatFormat | None = None,
    asks_in_turns: bool = True,
    stops: Sequence[str] = ("</a>",),
) -> str:
    return write_modelfile(
        architecture,
        merged=merged,
        base="owner/base",
        chat=chat,
        asks_in_turns=asks_in_turns,
        beginning="<s>",
        stops=stops,
    )
