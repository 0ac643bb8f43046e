"""Rows as people store them, brought to one of three shapes."""

import json
from pathlib import Path
from typing import Any

import pytest

from finetune_tui.core.data.formats import row_from
from finetune_tui.core.data.rows import Format, NotARowError, Row

CALL = {"type": "function", "function": {"name": "clock", "arguments": {"zone": "UTC"}}}
TOOLS = [{"type": "function", "function": {"name": "clock"}}]


def read(value: Any, wanted: Format | None = None) -> Row:
    return row_from(value, Path("a"), 1, wanted)


def why_not(value: Any) -> str:
    with pytest.raises(NotARowError) as caught:
        read(value)
    return str(caught.value)


def said_by(*turns: tuple[str, str]) -> tuple[dict[str, str], ...]:
    return tuple({"role": role, "content": content} for role, content in turns)


# ShareGPT


def test_conversations_become_messages() -> None:
    turns = [
        {"from": "system", "value": "be short"},
        {"from": "human", "value": "hi", "weight": None},
        {"from": "gpt", "value": "hello"},
        {"from": "User", "value": "bye"},
        {"from": "chatgpt", "value": "so long"},
    ]
    row = read({"id": "x", "conversations": turns})
    assert row.kind is Format.CONVERSATIONS
    assert row.messages == said_by(
        ("system", "be short"),
        ("user", "hi"),
        ("assistant", "hello"),
        ("user", "bye"),
        ("assistant", "so long"),
    )


def test_a_system_column_goes_first_unless_there_is_such_a_turn() -> None:
    turns = [{"from": "human", "value": "hi"}, {"from": "gpt", "value": "hello"}]
    row = read({"conversations": turns, "system": "be short"})
    assert row.messages == said_by(("system", "be short"), ("user", "hi"), ("assistant", "hello"))
    own = [{"from": "system", "value": "be long"}, *turns]
    assert (read({"conversations": own, "system": "x"}).messages or ())[0]["content"] == "be long"
    assert read({"conversations": turns, "system": ""}).messages == row.messages[1:]
    assert "'system' is a number" in why_not({"conversations": turns, "system": 3})


def test_tool_turns_become_calls_and_results() -> None:
    turns = [
        {"from": "human", "value": "time?"},
        {"from": "function_call", "value": '{"name": "clock", "arguments": {"zone": "UTC"}}'},
        {"from": "observation", "value": "noon"},
        {"from": "gpt", "value": "it is noon"},
    ]
    row = read({"conversations": turns, "tools": json.dumps(TOOLS)})
    assert row.messages is not None
    assert row.messages[1] == {"role": "assistant", "content": "", "tool_calls": [CALL]}
    assert row.messages[2] == {"role": "tool", "content": "noon"}
    assert row.tools == tuple(TOOLS)
    turns[1]["value"] = "clock(zone=UTC)"
    assert "message 2 is a tool call without 'name' and 'arguments'" in why_not(
        {"conversations": turns}
    )


def test_conversations_with_roles_are_read_too() -> None:
    turns = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]
    assert read({"conversations": turns}).messages == tuple(turns)


@pytest.mark.parametrize(
    ("turns", "words"),
    [
        ([], "'conversations' is empty"),
        ("hi", "'conversations' is text, and not JSON"),
        ("[{'from': 'gpt'}]", "single quotes are Python's"),
        ("[" * 20_000, "nested too deeply"),
        ([1], "message 1 is a number"),
        ([{"from": "human", "value": "hi"}], "nothing to learn"),
        ([{"from": "gpt", "value": 3}], "'content' is a number"),
        ([{"from": "gpt"}], "message 1 has no 'content'"),
        ([{"from": "narrator", "value": "x"}], "the role 'narrator'"),
        ([{"from": 3, "value": "x"}], "the role a number, not text"),
        ([{"value": "x"}], "message 1 has 'value' where 'content' is expected"),
    ],
)
def test_why_a_conversation_is_no_row(turns: Any, words: str) -> None:
    assert words in why_not({"conversations": turns})


# Alpaca


@pytest.mark.parametrize(
    ("fields", "prompt"),
    [
        ({"instruction": "Add."}, "Add."),
        ({"instruction": "Add.", "input": ""}, "Add."),
        ({"instruction": "Add.", "input": "1 2"}, "Add.\n\n1 2"),
        (
            {"instruction": "Add.", "input": "1 2", "system": "Be short."},
            "Be short.\n\nAdd.\n\n1 2",
        ),
        ({"instruction": "", "input": "1 2", "history": []}, "1 2"),
    ],
)
def test_instruction_and_input_are_the_prompt(fields: dict[str, Any], prompt: str) -> None:
    row = read({**fields, "output": "3", "text": "a whole template"})
    assert row.kind is Format.INSTRUCTION
    assert (row.prompt, row.completion) == (prompt, "3")


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"instruction": "a", "response": "b"}, "no 'output'; is 'response' the 'output'?"),
        ({"instruction": "a", "output": " "}, "'output' is empty"),
        ({"instruction": "a", "output": "b", "input": [1]}, "'input' is a list, not text"),
        ({"instruction": "a", "output": "b", "history": [["c", "d"]]}, "go into 'messages'"),
    ],
)
def test_why_an_instruction_is_no_row(fields: dict[str, Any], words: str) -> None:
    assert words in why_not(fields)


# Messages


def test_what_a_message_does_not_have_is_left_out() -> None:
    turns = [
        {"role": "user", "content": "hi", "tool_calls": None, "name": None},
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
    ]
    row = read({"messages": turns})
    assert row.messages == (
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
    )


def test_content_in_text_parts_is_joined_and_other_parts_are_refused() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    turns = [{"role": "user", "content": parts}, {"role": "assistant", "content": "c"}]
    assert (read({"messages": turns}).messages or ())[0]["content"] == "ab"
    parts[1] = {"type": "image", "text": ""}
    assert "'content' is a list, not text" in why_not({"messages": turns})


def test_messages_and_tools_as_json_text() -> None:
    turns = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]
    row = read({"messages": json.dumps(turns), "tools": ""})
    assert (row.kind, row.messages, row.tools) == (Format.MESSAGES, tuple(turns), None)
    assert "'tools' is text, and not JSON" in why_not({"messages": turns, "tools": "clock"})


def test_prompt_and_completion_as_messages() -> None:
    prompt = [{"role": "user", "content": "hi"}]
    completion = [{"role": "assistant", "content": "hello"}]
    row = read({"prompt": prompt, "completion": completion})
    assert row.kind is Format.PROMPT_COMPLETION
    assert row.messages == (*prompt, *completion)
    assert "'prompt' holds an answer" in why_not(
        {"prompt": [*completion, *prompt], "completion": completion}
    )
    assert "chats go into 'messages'" in why_not({"prompt": prompt, "completion": "hello"})


# Which format


@pytest.mark.parametrize(
    ("names", "kind"),
    [
        (("messages", "conversations", "prompt", "text"), Format.MESSAGES),
        (("conversations", "instruction", "output", "text"), Format.CONVERSATIONS),
        (("prompt", "completion", "instruction", "output"), Format.PROMPT_COMPLETION),
        (("instruction", "output", "text", "prompt"), Format.INSTRUCTION),
        (("text", "prompt", "output"), Format.TEXT),
    ],
)
def test_the_most_telling_format_wins(names: tuple[str, ...], kind: Format) -> None:
    turns = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]
    chats = ("messages", "conversations")
    value = {name: turns if name in chats else "words" for name in names}
    assert read(value).kind is kind


def test_equal_rows_have_equal_content_whatever_their_order_of_keys() -> None:
    one = read({"messages": [{"role": "assistant", "content": "a"}]})
    other = read({"messages": [{"content": "a", "role": "assistant"}]})
    assert one.content == other.content
    assert one.content != read({"messages": [{"role": "assistant", "content": "b"}]}).content
    assert read({"prompt": "a", "completion": "b"}).content != read({"text": "ab"}).content
