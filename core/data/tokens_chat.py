"""Chats to text with the model's own template, and the places in it that train. Starred.

Where the template marks what the assistant says (`{% generation %}`), that trains. Elsewhere the chat is
rendered turn by turn: what an assistant turn adds to the text before it is what the model has to write.
Either way the end-of-turn token behind a turn trains with it, and nothing after that.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jinja2
from transformers.utils.chat_template_utils import render_jinja_template

from finetune_tui.core.data.rows import Row
from finetune_tui.core.data.tokens_text import end_tokens, inert, special_tokens, template_tokens
from finetune_tui.core.errors import UserError
from finetune_tui.core.text import plain

_GENERATION = re.compile(r"\{%-?\s*generation\s*-?%\}")


@dataclass(frozen=True, slots=True)
class Span:
    """Characters from `begin` up to, but not including, `end`."""

    begin: int
    end: int


@dataclass(frozen=True, slots=True)
class ChatText:
    """A chat as the model reads it, marked (see `tokens_text.inert`) with `names`.

    spans: what trains, in order. ends: whether the last one has an end token; the template may lack one.
    """

    text: str
    spans: tuple[Span, ...]
    ends: bool
    names: tuple[str, ...]


def chat_text(row: Row, tokenizer: Any, last_turn_only: bool) -> ChatText:
    """Raises UserError naming file and line when the template refuses the chat, or rewrites earlier turns
    so that what trains cannot be told."""
    if tokenizer.chat_template is None:
        return _without_template(row, tokenizer, last_turn_only)
    names = template_tokens(tokenizer)
    chat = _Chat(row, tokenizer, names)
    if isinstance(tokenizer.chat_template, str) and _GENERATION.search(tokenizer.chat_template):
        text, spans = chat.generated()
    else:
        text = chat.render(len(chat.messages), False)
        spans = chat.turns(text, last_turn_only)
    spans = spans[-1:] if last_turn_only else spans
    ends = bool(spans) and text.endswith(end_tokens(tokenizer), 0, spans[-1].end)
    return ChatText(text, tuple(spans), ends, names)


def asked_text(row: Row, tokenizer: Any) -> tuple[str, tuple[str, ...]]:
    """A chat up to where the assistant is to answer, marked with the names that come with it.

    Raises UserError when the template refuses it.
    """
    if tokenizer.chat_template is not None:
        names = template_tokens(tokenizer)
        return _Chat(row, tokenizer, names).render(len(row.messages or ()), True), names
    names = special_tokens(tokenizer)
    return plain_chat(_inert_turns(row, names), True, str(tokenizer.eos_token)), names


def plain_chat(messages: Sequence[dict[str, Any]], answer: bool, end: str = "") -> str:
    """The documented format for models without a chat template, Phi-2's own habit:

    `Instruct: …`, `Output: …` and the end token, a system turn as it is, each followed by an empty line.
    """
    words = {"user": "Instruct: ", "assistant": "Output: ", "tool": "Result: "}
    lines = [
        f"{words.get(turn['role'], '')}{turn.get('content') or ''}"
        + (end if turn["role"] == "assistant" else "")
        for turn in messages
    ]
    text = "\n\n".join(lines)
    if not answer:
        return text
    # No space after the colon: it belongs to the answer's first token.
    return f"{text}\n\nOutput:" if text else "Output:"


class _Chat:
    """One chat and the template that renders it."""

    def __init__(self, row: Row, tokenizer: Any, names: tuple[str, ...]) -> None:
        self._row = row
        self._tokenizer = tokenizer
        self._special = special_tokens(tokenizer)
        self._names = names
        self._ends = end_tokens(tokenizer)
        self.messages = [self._guarded(message) for message in row.messages or ()]
        self._tools = [self._marked(tool, names) for tool in row.tools or ()] or None

    def render(self, turns: int, answer: bool) -> str:
        """The first so many turns; answer: and the beginning of an assistant's."""
        return str(
            self._said_by(
                lambda: self._tokenizer.apply_chat_template(
                    self.messages[:turns],
                    tools=self._tools,
                    tokenize=False,
                    add_generation_prompt=answer,
                )
            )
        )

    def generated(self) -> tuple[str, list[Span]]:
        """The whole chat, and what its template marks as generated."""
        texts, places = self._said_by(
            lambda: render_jinja_template(
                conversations=[self.messages],
                tools=self._tools,
                chat_template=self._tokenizer.chat_template,
                return_assistant_tokens_mask=True,
                **self._tokenizer.special_tokens_map,
            )
        )
        text = str(texts[0])
        return text, [_with_end(Span(*place), text, self._ends) for place in places[0]]

    def turns(self, whole: str, last_turn_only: bool) -> list[Span]:
        """What each assistant turn adds, found by rendering the turns before it, and it."""
        places = [index for index, turn in enumerate(self.messages) if turn["role"] == "assistant"]
        return [self._turn(index, whole) for index in (places[-1:] if last_turn_only else places)]

    def _turn(self, index: int, whole: str) -> Span:
        before = self.render(index, True)
        after = self.render(index + 1, False)
        # Some templates write one more end token after the last turn, whichever turn that is.
        body = _without_end(after, self._ends)
        if not whole.startswith(before) or not whole.startswith(body):
            said = plain(str((self._row.messages or ())[index].get("content") or ""), 40)
            raise UserError(
                f"the chat template rewrites turn {index + 1} ('{said}') once others follow, "
                "so what trains cannot be told",
                where=f"{self._row.path}:{self._row.line}",
                hint="last_turn_only: true trains the last answer of each chat",
            )
        said_to_the_end = _with_end(Span(len(body), len(body)), after, self._ends).end
        is_ended = whole.startswith(after[:said_to_the_end])
        return Span(len(before), max(said_to_the_end if is_ended else len(body), len(before)))

    def _guarded(self, message: dict[str, Any]) -> dict[str, Any]:
        """No message can forge a turn. The assistant may use the added tokens that are not special
        (Qwen's <think>): its template reads them."""
        names = self._special if message["role"] == "assistant" else self._names
        return {
            key: value if key == "role" else self._marked(value, names)
            for key, value in message.items()
        }

    def _marked(self, value: Any, names: tuple[str, ...]) -> Any:
        if isinstance(value, str):
            return inert(value, names, self._names)
        if isinstance(value, dict):
            return {key: self._marked(item, names) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self._marked(item, names) for item in value]
        return value

    def _said_by(self, rendering: Any) -> Any:
        where = f"{self._row.path}:{self._row.line}"
        try:
            return rendering()
        except (jinja2.TemplateError, ValueError, TypeError, KeyError, AttributeError) as error:
            reason = plain(str(error), 120)
            hint = None
            if "system" in reason.lower():
                hint = "put the system turn's words into the first user turn"
            raise UserError(
                f"the chat template refuses this row ({reason})", where=where, hint=hint
            ) from error


def _without_template(row: Row, tokenizer: Any, last_turn_only: bool) -> ChatText:
    names = special_tokens(tokenizer)
    end = str(tokenizer.eos_token)
    messages = _inert_turns(row, names)
    text = plain_chat(messages, False, end)
    spans = [
        Span(
            len(plain_chat(messages[:index], True, end)),
            len(plain_chat(messages[: index + 1], False, end)),
        )
        for index, turn in enumerate(messages)
        if turn["role"] == "assistant"
    ]
    return ChatText(text, tuple(spans[-1:] if last_turn_only else spans), True, names)


def _inert_turns(row: Row, names: tuple[str, ...]) -> list[dict[str, Any]]:
    return [
        {**turn, "content": inert(turn.get("content") or "", names)} for turn in row.messages or ()
    ]


def _without_end(text: str, ends: tuple[str, ...]) -> str:
    """Without the end tokens and white space at its end."""
    while True:
        shorter = text.rstrip()
        shorter = next(
            (shorter.removesuffix(end) for end in ends if shorter.endswith(end)), shorter
        )
        if shorter == text:
            return text
        text = shorter


def _with_end(span: Span, text: str, ends: tuple[str, ...]) -> Span:
    """Up to the end-of-turn token that follows, if one does."""
    body = span.begin + len(_without_end(text[span.begin : span.end], ends))
    rest = text[body:]
    blank = len(rest) - len(rest.lstrip())
    end = next((end for end in ends if rest.startswith(end, blank)), None)
    return Span(span.begin, body + blank + len(end)) if end else Span(span.begin, body)
