"""A JSON value to a row: which format its fields name, and in plain words why it is none."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from finetune_tui.core.data.chats import conversation_from, kind_of, messages_from, tools_from
from finetune_tui.core.data.rows import Format, NotARowError, Row
from finetune_tui.core.text import nearest, plain

# The most telling format first: published chats often carry a 'prompt' or 'text' beside them, and
# Alpaca's rows a 'text' with the whole of a template.
FIELDS: Mapping[Format, tuple[str, ...]] = {
    Format.MESSAGES: ("messages",),
    Format.CONVERSATIONS: ("conversations",),
    Format.PROMPT_COMPLETION: ("prompt", "completion"),
    Format.INSTRUCTION: ("instruction", "output"),
    Format.TEXT: ("text",),
}
READ_FIELDS = frozenset(name for names in FIELDS.values() for name in names) | {
    *("input", "system", "history", "tools")
}
"""Every field that is read in some format."""

_EXPECTED = (
    "expected 'text', 'prompt' and 'completion', 'messages', 'conversations', "
    "or 'instruction' and 'output'"
)
# What other tools call the same thing; a name that is only misspelt is found by its letters.
_OTHER_NAMES = {
    "content": ("text",),
    "document": ("text",),
    "question": ("prompt", "instruction"),
    "query": ("prompt", "instruction"),
    "input": ("prompt",),
    "source": ("prompt",),
    "answer": ("completion", "output"),
    "response": ("completion", "output"),
    "chosen": ("completion", "output"),
    "output": ("completion",),
    "target": ("completion", "output"),
    "conversation": ("conversations",),
    "dialog": ("messages",),
    "chat": ("messages",),
}
_PAIRS = (("prompt", "completion"), ("completion", "prompt"))
_MORE_PAIRS = (*_PAIRS, ("instruction", "output"))


def row_from(value: Any, path: Path, line: int, wanted: Format | None = None) -> Row:
    """The row that a JSON value holds. `wanted`: the format of the rows before it, if any.

    Raises NotARowError.
    """
    if not isinstance(value, dict):
        raise NotARowError(f"{kind_of(value)}, not an object with fields; {_EXPECTED}")
    fields = {name: field for name, field in value.items() if field is not None}
    kind = _format_of(fields, wanted)
    if kind is Format.TEXT:
        row = Row(path, line, kind, text=_text(fields, "text"))
    elif kind is Format.INSTRUCTION:
        prompt, completion = _instruction(fields), _text(fields, "output")
        row = Row(path, line, kind, prompt=prompt, completion=completion)
    elif kind is Format.PROMPT_COMPLETION and not _is_chat(fields):
        prompt = _text(fields, "prompt", may_be_empty=True)
        row = Row(path, line, kind, prompt=prompt, completion=_text(fields, "completion"))
    else:
        tools = tools_from(fields.get("tools"))
        row = Row(path, line, kind, messages=_turns(fields, kind), tools=tools)
    _refuse_half_characters(row)
    return row


def _format_of(fields: Mapping[str, Any], wanted: Format | None) -> Format:
    if wanted and all(name in fields for name in FIELDS[wanted]):
        return wanted
    for kind, names in FIELDS.items():
        if all(name in fields for name in names):
            if wanted:
                raise NotARowError(f"this row is {kind}, the first row is {wanted}")
            return kind
    raise NotARowError(_missing(fields, wanted))


def _missing(fields: Mapping[str, Any], wanted: Format | None) -> str:
    if not fields:
        return f"the object has no fields; {_EXPECTED}"
    for name, other in _MORE_PAIRS:
        if name in fields and (wanted is None or name in FIELDS[wanted]):
            return f"has '{name}' but no '{other}'{_meant(fields, (other,))}"
    expected = FIELDS[wanted] if wanted else tuple(n for names in FIELDS.values() for n in names)
    words = "expected " + " and ".join(f"'{name}'" for name in expected) if wanted else _EXPECTED
    return f"has {_named(fields)}; {words}{_meant(fields, expected)}"


def _meant(fields: Iterable[str], expected: tuple[str, ...]) -> str:
    """'; is 'promt' the 'prompt'?', or nothing."""
    for name in fields:
        others = _OTHER_NAMES.get(name.lower(), ())
        meant = next((other for other in others if other in expected), None)
        meant = meant or nearest(name, expected)
        if meant and meant != name:
            return f"; is '{plain(name, 40)}' the '{meant}'?"
    return ""


def _named(fields: Mapping[str, Any]) -> str:
    shown = [f"'{plain(name, 40)}'" for name in list(fields)[:6]]
    return ", ".join(shown) + (f" and {len(fields) - 6} more" if len(fields) > 6 else "")


def _text(fields: Mapping[str, Any], name: str, may_be_empty: bool = False) -> str:
    value = fields.get(name, "")
    if not isinstance(value, str):
        hint = "; chats go into 'messages'" if isinstance(value, list) else ""
        raise NotARowError(f"'{name}' is {kind_of(value)}, not text{hint}")
    if not may_be_empty and not value.strip():
        raise NotARowError(f"'{name}' is empty")
    return value


def _instruction(fields: Mapping[str, Any]) -> str:
    """Alpaca's fields as a prompt: system, instruction and input, those there are, a blank line between."""
    if fields.get("history"):
        raise NotARowError("has a 'history': chats of several turns go into 'messages'")
    names = ("system", "instruction", "input")
    parts = [_text(fields, name, may_be_empty=True) for name in names]
    return "\n\n".join(part for part in parts if part.strip())


def _is_chat(fields: Mapping[str, Any]) -> bool:
    return isinstance(fields["prompt"], list) and isinstance(fields["completion"], list)


def _turns(fields: Mapping[str, Any], kind: Format) -> tuple[dict[str, Any], ...]:
    if kind is Format.CONVERSATIONS:
        return conversation_from(fields["conversations"], fields.get("system"))
    if kind is Format.MESSAGES:
        return messages_from(fields["messages"])
    # The mask of a chat trains every answer: an answer in the prompt would train too.
    if any(isinstance(turn, dict) and turn.get("role") == "assistant" for turn in fields["prompt"]):
        raise NotARowError("'prompt' holds an answer: put the whole chat into 'messages'")
    return messages_from([*fields["prompt"], *fields["completion"]], "completion")


def _refuse_half_characters(row: Row) -> None:
    r"""JSON may say "\ud83d" alone: half an emoji, which no tokenizer takes."""
    try:
        for text in (row.text, row.prompt, row.completion):
            (text or "").encode()
        if row.messages is not None:
            json.dumps([row.messages, row.tools], ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise NotARowError("holds half a character (a lone \\ud800–\\udfff escape)") from None
