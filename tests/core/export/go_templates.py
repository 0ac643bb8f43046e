"""Go's text/template, as far as the Modelfile needs it: if, else if, else, end, range and fields."""

import re
from collections.abc import Sequence
from typing import Any

_ACTION = re.compile(r"\{\{ (.*?) \}\}", re.DOTALL)


def run_template(template: str, messages: Sequence[dict[str, str]]) -> str:
    """What Ollama would send: its System is the words of the system turns, beside the turns themselves."""
    system = "\n\n".join(turn["content"] for turn in messages if turn["role"] == "system")
    text, rest = _block(_ACTION.split(template), {"System": system, "Messages": messages}, True)
    assert not rest
    return text


def _block(parts: list[str], dot: dict[str, Any], runs: bool) -> tuple[str, list[str]]:
    """Text and actions by turns, up to an `else` or `end` of an action before; what is left begins there."""
    said = ""
    while parts:
        said += parts[0] if runs else ""
        if len(parts) == 1:
            return said, []
        action = parts[1]
        if action == "end" or action.startswith("else"):
            return said, parts[1:]
        parts = parts[2:]
        if action.startswith("if "):
            text, parts = _choice(action[3:], parts, dot, runs)
        elif action.startswith("range "):
            text, parts = _range(action[6:], parts, dot, runs)
        else:
            text = str(_value(action, dot)) if runs else ""
        said += text
    return said, parts


def _choice(
    condition: str, parts: list[str], dot: dict[str, Any], runs: bool
) -> tuple[str, list[str]]:
    said, open_ = "", runs
    while True:
        takes = open_ and (condition == "" or bool(_value(condition, dot)))
        text, parts = _block(parts, dot, takes)
        said, open_ = said + text, open_ and not takes
        action, parts = parts[0], parts[1:]
        if action == "end":
            return said, parts
        condition = action.removeprefix("else").strip().removeprefix("if ")


def _range(name: str, parts: list[str], dot: dict[str, Any], runs: bool) -> tuple[str, list[str]]:
    said, after = "", parts
    for turn in _value(name, dot) if runs else []:
        fields = {"Role": turn["role"], "Content": turn["content"]}
        text, after = _block(parts, fields, True)
        said += text
    _, after = _block(parts, dot, False)
    assert after[0] == "end"
    return said, after[1:]


def _value(words: str, dot: dict[str, Any]) -> Any:
    if words.startswith("not "):
        return not _value(words[4:], dot)
    if words.startswith("eq "):
        left, right = words[3:].split(" ")
        return _value(left, dot) == _value(right, dot)
    if words.startswith('"'):
        return words[1:-1]
    return dot[words.removeprefix(".")]
