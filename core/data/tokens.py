"""Rows to token ids and the loss mask. Starred: works on a Transformers tokenizer.

What trains: every token of a `text` row; the completion of a `prompt`/`completion` row; the assistant's
turns of a `messages` row. The end token always trains: a model that never sees it never stops.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import jinja2

from finetune_tui.core.data.rows import Row
from finetune_tui.core.errors import UserError

IGNORED = -100
"""The label torch's cross-entropy leaves out."""


@dataclass(frozen=True, slots=True)
class TokenRow:
    """ids and labels of one row, equally long. cut: tokens that `max_length` took off the end."""

    ids: list[int]
    labels: list[int]
    cut: int

    @property
    def trained(self) -> int:
        return sum(label != IGNORED for label in self.labels)


@dataclass(frozen=True, slots=True)
class Segment:
    """A piece of a row's text; whether the model learns to write it; whether the end token follows."""

    text: str
    trained: bool
    ends: bool


def tokenise(
    rows: Iterable[Row], tokenizer: Any, max_length: int, completion_only: bool = True
) -> Iterator[tuple[Row, TokenRow]]:
    """Token ids and labels of every row, cut at `max_length`.

    Raises UserError naming file and line when a chat template refuses a row.
    """
    for row in rows:
        yield row, _token_row(row, tokenizer, max_length, completion_only)


def segments(row: Row, tokenizer: Any) -> list[Segment]:
    """A row as the model reads it, in pieces."""
    if row.text is not None:
        return [Segment(row.text, trained=True, ends=True)]
    if row.messages is not None:
        return _chat_segments(row, tokenizer)
    return [
        Segment(row.prompt or "", trained=False, ends=False),
        Segment(row.completion or "", trained=True, ends=True),
    ]


def _token_row(row: Row, tokenizer: Any, max_length: int, completion_only: bool) -> TokenRow:
    ids: list[int] = []
    labels: list[int] = []
    end = tokenizer.eos_token_id
    for index, piece in enumerate(segments(row, tokenizer)):
        # A chat template writes its own beginning; elsewhere the tokenizer's goes before the first.
        first = index == 0 and row.messages is None
        piece_ids = tokenizer(piece.text, add_special_tokens=first)["input_ids"]
        if first and piece_ids and piece_ids[-1] == end:
            piece_ids = piece_ids[:-1]  # some tokenizers end every text; the end comes below, once
        if piece.ends:
            piece_ids = [*piece_ids, end]
        ids += piece_ids
        trained = piece.trained or not completion_only
        labels += piece_ids if trained else [IGNORED] * len(piece_ids)
    return TokenRow(ids[:max_length], labels[:max_length], max(len(ids) - max_length, 0))


def _chat_segments(row: Row, tokenizer: Any) -> list[Segment]:
    """Render turn by turn: what an assistant turn adds to the text before it is what trains."""
    messages = [dict(message) for message in row.messages or ()]
    found: list[Segment] = []
    written = ""
    for index, message in enumerate(messages):
        if message["role"] != "assistant":
            continue
        before = _render(row, tokenizer, messages[:index], True)
        after = _render(row, tokenizer, messages[: index + 1], False)
        if not before.startswith(written) or not after.startswith(before):
            raise UserError(
                "the chat template rewrites earlier turns, so the trained part cannot be told apart",
                where=f"{row.path}:{row.line}",
                hint="keep one assistant turn a row",
            )
        ends = tokenizer.chat_template is None  # a template writes its own end of turn
        found.append(Segment(before[len(written) :], trained=False, ends=False))
        found.append(Segment(after[len(before) :], trained=True, ends=ends))
        written = after
    return found


def _render(row: Row, tokenizer: Any, messages: list[dict[str, Any]], answer: bool) -> str:
    if tokenizer.chat_template is None:
        return plain_chat(messages, answer)
    try:
        rendered = tokenizer.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=answer
        )
    except (jinja2.TemplateError, ValueError, TypeError, KeyError) as error:
        raise UserError(
            f"the chat template refuses this row ({error})", where=f"{row.path}:{row.line}"
        ) from error
    return str(rendered)


def plain_chat(messages: list[dict[str, Any]], answer: bool) -> str:
    """The documented format for models without a chat template, Phi-2's own habit:

    `Instruct: …`, `Output: …`, a system turn as it is, each followed by an empty line.
    """
    words = {"user": "Instruct: ", "assistant": "Output: ", "tool": "Result: "}
    lines = [f"{words.get(turn['role'], '')}{turn.get('content') or ''}" for turn in messages]
    text = "\n\n".join(lines)
    if not answer:
        return text
    # No space after the colon: it belongs to the answer's first token.
    return f"{text}\n\nOutput:" if text else "Output:"
