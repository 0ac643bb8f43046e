"""What one row of training data is, and in plain words why an object is not one."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from finetune_tui.core.text import nearest, plain


class Format(StrEnum):
    """How a row says what to learn, told by the names of its fields."""

    TEXT = "text"
    PROMPT_COMPLETION = "prompt/completion"
    MESSAGES = "messages"


@dataclass(frozen=True, slots=True)
class Row:
    """One usable row. Only the fields of its format are set; `line` counts from 1."""

    path: Path
    line: int
    kind: Format
    text: str | None = None
    prompt: str | None = None
    completion: str | None = None
    messages: tuple[dict[str, Any], ...] | None = None
    tools: tuple[dict[str, Any], ...] | None = None

    @property
    def content(self) -> str:
        """Everything the row holds, as one text: equal contents are duplicates."""
        if self.kind is Format.TEXT:
            return self.text or ""
        if self.kind is Format.PROMPT_COMPLETION:
            return json.dumps([self.prompt, self.completion])
        return json.dumps([self.messages, self.tools], sort_keys=True)

    @property
    def characters(self) -> int:
        """Characters that a model will read, without what a chat template adds."""
        parts = (self.text, self.prompt, self.completion)
        turns = (_said(message) for message in self.messages or ())
        return sum(len(part or "") for part in parts) + sum(map(len, turns))


@dataclass(frozen=True, slots=True)
class BadRow:
    """A line that cannot be trained on, and why. `line` counts from 1."""

    path: Path
    line: int
    error: str


class NotARowError(Exception):
    """Why a value is not a row, in words for a person."""


FIELDS: Mapping[Format, tuple[str, ...]] = {
    Format.TEXT: ("text",),
    Format.PROMPT_COMPLETION: ("prompt", "completion"),
    Format.MESSAGES: ("messages",),
}
MAX_NESTING = 50
"""How deep messages and tools may nest: templates and everything after walk them recursively."""
ROLES = ("system", "developer", "user", "assistant", "tool")

_EXPECTED = "expected 'text', 'prompt' and 'completion', or 'messages'"
# What other tools call the same thing; a name that is only misspelt is found by its letters.
_OTHER_NAMES = {
    "content": "text",
    "document": "text",
    "question": "prompt",
    "query": "prompt",
    "instruction": "prompt",
    "input": "prompt",
    "source": "prompt",
    "answer": "completion",
    "response": "completion",
    "output": "completion",
    "target": "completion",
    "conversations": "messages",
    "conversation": "messages",
    "dialog": "messages",
    "chat": "messages",
}
_OTHER_ROLES = {
    "human": "user",
    "gpt": "assistant",
    "bot": "assistant",
    "model": "assistant",
    "ai": "assistant",
    "function": "tool",
}
_KINDS = {str: "text", bool: "true or false", int: "a number", float: "a number"}
_MORE_KINDS = {list: "a list", dict: "an object", type(None): "null"}


def row_from(value: Any, path: Path, line: int, wanted: Format | None = None) -> Row:
    """The row that a JSON value holds. `wanted`: the format of the rows before it, if any.

    Raises NotARowError.
    """
    if not isinstance(value, dict):
        raise NotARowError(f"{_kind(value)}, not an object with fields; {_EXPECTED}")
    fields = {name: field for name, field in value.items() if field is not None}
    kind = _format_of(fields, wanted)
    if kind is Format.TEXT:
        row = Row(path, line, kind, text=_text(fields, "text"))
    elif kind is Format.PROMPT_COMPLETION:
        prompt = _text(fields, "prompt", may_be_empty=True)
        row = Row(path, line, kind, prompt=prompt, completion=_text(fields, "completion"))
    else:
        row = Row(path, line, kind, messages=_messages(fields["messages"]), tools=_tools(fields))
        if _nested_deeper(row.messages, MAX_NESTING) or _nested_deeper(row.tools, MAX_NESTING):
            raise NotARowError("brackets are nested too deeply")
    _refuse_half_characters(row)
    return row


def _format_of(fields: Mapping[str, Any], wanted: Format | None) -> Format:
    if wanted and all(name in fields for name in FIELDS[wanted]):
        return wanted
    # The most telling format first: published chats often carry a 'prompt' or 'text' beside them.
    for kind in (Format.MESSAGES, Format.PROMPT_COMPLETION, Format.TEXT):
        if all(name in fields for name in FIELDS[kind]):
            if wanted:
                raise NotARowError(f"this row is {kind}, the first row is {wanted}")
            return kind
    raise NotARowError(_missing(fields, wanted))


def _missing(fields: Mapping[str, Any], wanted: Format | None) -> str:
    if not fields:
        return f"the object has no fields; {_EXPECTED}"
    for name, other in (("prompt", "completion"), ("completion", "prompt")):
        if name in fields and wanted in (None, Format.PROMPT_COMPLETION):
            return f"has '{name}' but no '{other}'{_meant(fields, (other,))}"
    expected = FIELDS[wanted] if wanted else tuple(n for names in FIELDS.values() for n in names)
    words = "expected " + " and ".join(f"'{name}'" for name in expected) if wanted else _EXPECTED
    return f"has {_named(fields)}; {words}{_meant(fields, expected)}"


def _meant(fields: Iterable[str], expected: tuple[str, ...]) -> str:
    """'; is 'promt' the 'prompt'?', or nothing."""
    for name in fields:
        meant = _OTHER_NAMES.get(name.lower()) or nearest(name, expected)
        if meant in expected and meant != name:
            return f"; is '{plain(name, 40)}' the '{meant}'?"
    return ""


def _named(fields: Mapping[str, Any]) -> str:
    shown = [f"'{plain(name, 40)}'" for name in list(fields)[:6]]
    return ", ".join(shown) + (f" and {len(fields) - 6} more" if len(fields) > 6 else "")


def _text(fields: Mapping[str, Any], name: str, may_be_empty: bool = False) -> str:
    value = fields[name]
    if not isinstance(value, str):
        hint = "; chats go into 'messages'" if isinstance(value, list) else ""
        raise NotARowError(f"'{name}' is {_kind(value)}, not text{hint}")
    if not may_be_empty and not value.strip():
        raise NotARowError(f"'{name}' is empty")
    return value


def _messages(value: Any) -> tuple[dict[str, Any], ...]:
    if not isinstance(value, list):
        raise NotARowError(f"'messages' is {_kind(value)}, not a list")
    if not value:
        raise NotARowError("'messages' is empty")
    for number, message in enumerate(value, 1):
        _check_message(number, message)
    if not any(message["role"] == "assistant" for message in value):
        raise NotARowError("no message is from the assistant, so there is nothing to learn")
    return tuple(value)


def _check_message(number: int, message: Any) -> None:
    if not isinstance(message, dict):
        raise NotARowError(f"message {number} is {_kind(message)}, not an object")
    for name, other in (("role", "from"), ("content", "value")):
        if name not in message and other in message:
            raise NotARowError(f"message {number} has '{other}' where '{name}' is expected")
    if "role" not in message:
        raise NotARowError(f"message {number} has no 'role'")
    role, content = message["role"], message.get("content")
    if role not in ROLES:
        raise NotARowError(f"message {number} has the role {_unknown_role(role)}")
    if content is not None and not isinstance(content, str):
        raise NotARowError(f"message {number}: 'content' is {_kind(content)}, not text")
    calls = message.get("tool_calls") or []
    if not isinstance(calls, list) or not all(isinstance(call, dict) for call in calls):
        raise NotARowError(f"message {number}: 'tool_calls' is not a list of objects")
    calls_a_tool = role == "assistant" and bool(calls)
    if content is None and not calls_a_tool:
        raise NotARowError(f"message {number} has no 'content'")
    if role == "assistant" and not calls_a_tool and not _said(message).strip():
        raise NotARowError(f"message {number}: the assistant's answer is empty")


def _unknown_role(role: Any) -> str:
    if not isinstance(role, str):
        return f"{_kind(role)}, not text"
    meant = _OTHER_ROLES.get(role.lower()) or nearest(role, ROLES)
    return f"'{plain(role, 40)}'; " + (f"did you mean '{meant}'?" if meant else _known_roles())


def _known_roles() -> str:
    return "known are " + ", ".join(ROLES)


def _tools(fields: Mapping[str, Any]) -> tuple[dict[str, Any], ...] | None:
    value = fields.get("tools")
    if value is None:
        return None
    if not isinstance(value, list) or not all(isinstance(tool, dict) for tool in value):
        raise NotARowError("'tools' is not a list of objects")
    return tuple(value)


def _said(message: Mapping[str, Any]) -> str:
    content = message.get("content")
    calls = message.get("tool_calls")
    return (content if isinstance(content, str) else "") + (json.dumps(calls) if calls else "")


def _nested_deeper(value: Any, limit: int) -> bool:
    if not isinstance(value, list | tuple | dict):
        return False
    inner = value.values() if isinstance(value, dict) else value
    return limit == 0 or any(_nested_deeper(item, limit - 1) for item in inner)


def _refuse_half_characters(row: Row) -> None:
    r"""JSON may say "\ud83d" alone: half an emoji, which no tokenizer takes."""
    used = [row.text, row.prompt, row.completion, row.messages, row.tools]
    try:
        json.dumps(used, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise NotARowError("holds half a character (a lone \\ud800–\\udfff escape)") from None


def _kind(value: Any) -> str:
    return (_KINDS | _MORE_KINDS)[type(value)]
