"""Chats as people store them, to one shape: a list of messages with role and content.

Read are messages (role, content), ShareGPT's turns (from, value), and either as JSON text, which is how
CSV and Parquet files often hold them.
"""

import json
from collections.abc import Mapping
from typing import Any

from finetune_tui.core.data.rows import Messages, NotARowError, said
from finetune_tui.core.text import nearest, plain

ROLES = ("system", "developer", "user", "assistant", "tool")
MAX_NESTING = 50
"""How deep messages and tools may nest: templates and everything after walk them recursively."""

# In ShareGPT's turns these are read as what they mean. Beside 'role' they are an error: a template's own
# names are wanted there, and it may know others.
_OTHER_ROLES = {
    "human": "user",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "bing": "assistant",
    "bard": "assistant",
    "bot": "assistant",
    "model": "assistant",
    "ai": "assistant",
    "function": "tool",
    "function_response": "tool",
    "tool_response": "tool",
    "observation": "tool",
}
_KINDS: Mapping[type, str] = {
    str: "text",
    bool: "true or false",
    int: "a number",
    float: "a number",
    list: "a list",
    dict: "an object",
    type(None): "null",
}
_CALLS = ("function_call", "tool_call")


def messages_from(value: Any, name: str = "messages") -> Messages:
    """Messages of the field `name`, checked. Raises NotARowError."""
    messages = tuple(_tidy(turn) for turn in _listed(value, name))
    _check(messages, name)
    return messages


def conversation_from(value: Any, system: Any = None) -> Messages:
    """ShareGPT's turns as messages, after the text of a `system` column if there is one.

    Raises NotARowError.
    """
    turns = _listed(value, "conversations")
    messages = tuple(_message(number, turn) for number, turn in enumerate(turns, 1))
    if system is not None and not isinstance(system, str):
        raise NotARowError(f"'system' is {kind_of(system)}, not text")
    if system and messages[0].get("role") != "system":
        messages = ({"role": "system", "content": system}, *messages)
    _check(messages, "conversations")
    return messages


def tools_from(value: Any) -> Messages | None:
    """The tools that a chat offers: a list of objects, or JSON text of one. Raises NotARowError."""
    if isinstance(value, str):
        value = _parsed(value, "tools") if value.strip() else None
    if value is None:
        return None
    if not isinstance(value, list) or not all(isinstance(tool, dict) for tool in value):
        raise NotARowError("'tools' is not a list of objects")
    if _nested_deeper(value, MAX_NESTING):
        raise NotARowError("brackets are nested too deeply")
    return tuple(value) or None


def kind_of(value: Any) -> str:
    """What a JSON value is, for a person: 'a list'."""
    return _KINDS[type(value)]


def _listed(value: Any, name: str) -> list[Any]:
    if isinstance(value, str):
        value = _parsed(value, name)
    if not isinstance(value, list):
        raise NotARowError(f"'{name}' is {kind_of(value)}, not a list")
    if not value:
        raise NotARowError(f"'{name}' is empty")
    if _nested_deeper(value, MAX_NESTING):
        raise NotARowError("brackets are nested too deeply")
    return value


def _parsed(text: str, name: str) -> Any:
    try:
        return json.loads(text)
    except RecursionError:
        raise NotARowError("brackets are nested too deeply") from None
    except ValueError:
        hint = "; single quotes are Python's, not JSON's" if text.lstrip()[:2] == "[{" else ""
        raise NotARowError(f"'{name}' is text, and not JSON{hint}") from None


def _tidy(turn: Any) -> Any:
    """A message without fields that are null, and with content of several text parts as one text."""
    if not isinstance(turn, dict):
        return turn
    kept = {name: value for name, value in turn.items() if value is not None or name == "content"}
    content = kept.get("content")
    if isinstance(content, list) and content and all(map(_is_text_part, content)):
        kept["content"] = "".join(part["text"] for part in content)
    return kept


def _is_text_part(part: Any) -> bool:
    return (
        isinstance(part, dict) and part.get("type") == "text" and isinstance(part.get("text"), str)
    )


def _message(number: int, turn: Any) -> Any:
    """A turn of ShareGPT's as a message; what is no such turn comes back as it is."""
    turn = _tidy(turn)
    if not isinstance(turn, dict) or "from" not in turn or "role" in turn:
        return turn
    said_by, value = turn["from"], turn.get("value")
    role = said_by.lower() if isinstance(said_by, str) else said_by
    if role in _CALLS:
        return {"role": "assistant", "content": "", "tool_calls": _calls(number, value)}
    if isinstance(role, str):
        role = _OTHER_ROLES.get(role, role)
    others = {key: field for key, field in turn.items() if key not in ("from", "value", "content")}
    return {"role": role, "content": turn.get("content") if value is None else value, **others}


def _calls(number: int, value: Any) -> list[dict[str, Any]]:
    """A 'function_call' turn: {"name", "arguments"} or several of them, as JSON or JSON text."""
    try:
        calls = json.loads(value) if isinstance(value, str) else value
    except (ValueError, RecursionError):
        calls = None
    calls = [calls] if isinstance(calls, dict) else calls
    if not isinstance(calls, list) or not calls or not all(map(_is_call, calls)):
        raise NotARowError(
            f"message {number} is a tool call without 'name' and 'arguments' in JSON"
        )
    return [
        {
            "type": "function",
            "function": {"name": call["name"], "arguments": call.get("arguments", {})},
        }
        for call in calls
    ]


def _is_call(call: Any) -> bool:
    return isinstance(call, dict) and isinstance(call.get("name"), str)


def _check(messages: tuple[Any, ...], name: str) -> None:
    for number, message in enumerate(messages, 1):
        _check_message(number, message)
    if not any(message["role"] == "assistant" for message in messages):
        raise NotARowError(f"no turn of '{name}' is the assistant's, so there is nothing to learn")


def _check_message(number: int, message: Any) -> None:
    if not isinstance(message, dict):
        raise NotARowError(f"message {number} is {kind_of(message)}, not an object")
    for name, other in (("role", "from"), ("content", "value")):
        if name not in message and other in message:
            raise NotARowError(f"message {number} has '{other}' where '{name}' is expected")
    if "role" not in message:
        raise NotARowError(f"message {number} has no 'role'")
    role, content = message["role"], message.get("content")
    if role not in ROLES:
        raise NotARowError(f"message {number} has the role {_unknown_role(role)}")
    if content is not None and not isinstance(content, str):
        raise NotARowError(f"message {number}: 'content' is {kind_of(content)}, not text")
    calls = message.get("tool_calls") or []
    if not isinstance(calls, list) or not all(isinstance(call, dict) for call in calls):
        raise NotARowError(f"message {number}: 'tool_calls' is not a list of objects")
    calls_a_tool = role == "assistant" and bool(calls)
    if content is None and not calls_a_tool:
        raise NotARowError(f"message {number} has no 'content'")
    if role == "assistant" and not calls_a_tool and not said(message).strip():
        raise NotARowError(f"message {number}: the assistant's answer is empty")


def _unknown_role(role: Any) -> str:
    if not isinstance(role, str):
        return f"{kind_of(role)}, not text"
    meant = _OTHER_ROLES.get(role.lower()) or nearest(role, ROLES)
    known = f"known are {', '.join(ROLES)}"
    return f"'{plain(role, 40)}'; " + (f"did you mean '{meant}'?" if meant else known)


def _nested_deeper(value: Any, limit: int) -> bool:
    if not isinstance(value, list | tuple | dict):
        return False
    inner = value.values() if isinstance(value, dict) else value
    return limit == 0 or any(_nested_deeper(item, limit - 1) for item in inner)
