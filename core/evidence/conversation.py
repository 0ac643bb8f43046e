"""What is said and answered, by both sides: the base answers its own history, the tuned model its own."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from finetune_tui.core.data.rows import Format, Messages, Row, said


class Side(StrEnum):
    """The model before tuning, and after it."""

    BASE = "base"
    TUNED = "tuned"


BOTH: tuple[Side, ...] = (Side.BASE, Side.TUNED)


class Style(StrEnum):
    """How a prompt is put: as a turn of a chat, or as it stands."""

    CHAT = "chat"
    PROMPT = "prompt"


class Ended(StrEnum):
    """Why an answer ended."""

    END = "end token"
    LENGTH = "max_new_tokens"
    CONTEXT = "context full"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class Answer:
    """One side's answer, as far as it is. exact: as expected, None where unknown.

    seconds: of its own writing, without the prompt. read, to_read: tokens of the prompt that went through
    the model, and all of them.
    """

    text: str = ""
    tokens: int = 0
    seconds: float = 0.0
    ended: Ended | None = None
    exact: bool | None = None
    read: int = 0
    to_read: int = 0

    @property
    def tokens_per_second(self) -> float | None:
        return self.tokens / self.seconds if self.tokens and self.seconds else None

    def to_json(self) -> dict[str, Any]:
        rate = self.tokens_per_second
        return {
            "text": self.text,
            "tokens": self.tokens,
            "seconds": round(self.seconds, 4),
            "tokens_per_second": round(rate, 2) if rate else None,
            "ended": self.ended.value if self.ended else None,
            "exact": self.exact,
            "prompt_tokens": self.to_read,
        }

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> "Answer":
        ended, length = value["ended"], value["prompt_tokens"]
        return Answer(
            text=value["text"],
            tokens=value["tokens"],
            seconds=value["seconds"],
            ended=Ended(ended) if ended else None,
            exact=value["exact"],
            read=length,
            to_read=length,
        )


@dataclass(slots=True)
class Turn:
    """A prompt and its answers. row: the held-out row it came from. before: messages that come before it.

    expected: what a held-out row has as its answer.
    """

    said: str
    row: Row | None = None
    before: Messages = ()
    expected: str | None = None
    answers: dict[Side, Answer] = field(default_factory=dict)

    @property
    def messages(self) -> Messages:
        """What it adds to a chat before its answer. A row may ask by a tool's result: then nobody says."""
        if not self.said and self.row is not None:
            return self.before
        return (*self.before, {"role": "user", "content": self.said})


@dataclass(slots=True)
class Conversation:
    """Turns in order. system: what the model is told before the first of them, in a chat."""

    style: Style = Style.CHAT
    system: str | None = None
    turns: list[Turn] = field(default_factory=list)

    def say(self, text: str) -> Turn:
        """The person's next turn."""
        turn = Turn(text)
        self.turns.append(turn)
        return turn

    def ask_row(self, row: Row) -> Turn:
        """Begin anew with a held-out row, put as training put it."""
        turn = _turn_of(row)
        self.style = style_of(row.kind)
        self.turns = [turn]
        return turn

    def asked(self, side: Side) -> dict[str, Any]:
        """The last turn with all that this side has seen, as the call takes it.

        A turn that this side has no answer to is left out: no template takes two turns of one speaker.
        """
        *earlier, turn = self.turns
        if turn.row is not None:
            return _json_of(turn.row)
        if self.style is Style.PROMPT:
            return {"prompt": turn.said}
        messages: list[dict[str, Any]] = []
        if self.system and not any(one.before for one in self.turns):
            messages.append({"role": "system", "content": self.system})
        tools = next((one.row.tools for one in earlier if one.row and one.row.tools), None)
        for one in earlier:
            answer = one.answers.get(side)
            if answer is not None and answer.text:
                messages += one.messages
                messages.append({"role": "assistant", "content": answer.text})
        messages += turn.messages
        return {"messages": messages} | ({"tools": list(tools)} if tools else {})

    def example(self, side: Side) -> dict[str, Any] | None:
        """The conversation with this side's last answer as a row to train on; None without an answer."""
        turn = self.turns[-1] if self.turns else None
        answer = turn.answers.get(side) if turn else None
        if turn is None or answer is None or not answer.text.strip():
            return None
        if self.style is Style.PROMPT:
            return {"prompt": turn.said, "completion": answer.text}
        asked = self.asked(side)
        messages = asked["messages"] if turn.row is None else turn.messages
        kept = {"messages": [*messages, {"role": "assistant", "content": answer.text}]}
        tools = asked.get("tools")
        return kept | ({"tools": tools} if tools else {})


def style_of(kind: Format) -> Style:
    """How rows of this format are put to a model."""
    return Style.CHAT if kind in (Format.MESSAGES, Format.CONVERSATIONS) else Style.PROMPT


def row_of(asked: Mapping[str, Any]) -> Row:
    """The row that `Conversation.asked` describes, with its answer or without."""
    messages, tools = asked.get("messages"), asked.get("tools")
    return Row(
        Path("prompt"),
        1,
        Format.MESSAGES if messages is not None else Format.PROMPT_COMPLETION,
        prompt=asked.get("prompt"),
        completion=asked.get("completion"),
        messages=None if messages is None else tuple(messages),
        tools=tuple(tools) if tools else None,
    )


def has_answer(row: Row) -> bool:
    """Whether a row brings the answer that is expected."""
    if row.messages is None:
        return row.completion is not None
    return any(turn.get("role") == "assistant" for turn in row.messages)


def _turn_of(row: Row) -> Turn:
    """What a held-out row asks last, and what it expects."""
    if row.messages is None:
        return Turn(row.prompt or row.text or "", row, (), row.completion)
    places = [index for index, turn in enumerate(row.messages) if turn["role"] == "assistant"]
    end = places[-1] if places else len(row.messages)
    asked: Sequence[dict[str, Any]] = row.messages[:end]
    expected = said(row.messages[end]) if places else None
    if not asked or asked[-1]["role"] != "user":
        return Turn("", row, tuple(asked), expected)
    return Turn(said(asked[-1]), row, tuple(asked[:-1]), expected)


def _json_of(row: Row) -> dict[str, Any]:
    if row.messages is None:
        return {"prompt": row.prompt or "", "completion": row.completion}
    return {"messages": list(row.messages)} | ({"tools": list(row.tools)} if row.tools else {})
