"""What one row of training data is."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

Messages = tuple[dict[str, Any], ...]
"""Turns of a chat in order, each with "role" and "content" and what else a template may know."""


class Format(StrEnum):
    """How rows are stored, told by the names of their fields."""

    TEXT = "text"
    PROMPT_COMPLETION = "prompt/completion"
    MESSAGES = "messages"
    CONVERSATIONS = "conversations"
    INSTRUCTION = "instruction/output"


@dataclass(frozen=True, slots=True)
class Row:
    """One usable row. `line` counts from 1. kind: how it is stored.

    Set is one of: `text`; `prompt` and `completion`; `messages`, with `tools` when it offers some.
    """

    path: Path
    line: int
    kind: Format
    text: str | None = None
    prompt: str | None = None
    completion: str | None = None
    messages: Messages | None = None
    tools: Messages | None = None

    @property
    def content(self) -> str:
        """Everything the row holds, as one text: equal contents are duplicates."""
        if self.text is not None:
            return self.text
        if self.messages is None:
            return json.dumps([self.prompt, self.completion])
        return json.dumps([self.messages, self.tools], sort_keys=True)

    @property
    def characters(self) -> int:
        """Characters that a model will read, without what a chat template adds."""
        parts = (self.text, self.prompt, self.completion)
        turns = (said(message) for message in self.messages or ())
        return sum(len(part or "") for part in parts) + sum(map(len, turns))


@dataclass(frozen=True, slots=True)
class BadRow:
    """A line that cannot be trained on, and why. `line` counts from 1."""

    path: Path
    line: int
    error: str


class NotARowError(Exception):
    """Why a value is not a row, in words for a person."""


class BadRowError(NotARowError):
    """A line that was taken for a row and is none. bad: which one, and why."""

    def __init__(self, bad: BadRow) -> None:
        super().__init__(bad.error)
        self.bad = bad


def said(message: Mapping[str, Any]) -> str:
    """What a message adds to the text that a model reads, without what a template adds."""
    content, calls = message.get("content"), message.get("tool_calls")
    return (content if isinstance(content, str) else "") + (json.dumps(calls) if calls else "")
