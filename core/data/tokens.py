"""Rows to token ids and the loss mask. Starred: works on a Transformers tokenizer.

What trains: every token of a `text` row; the completion of a `prompt`/`completion` row; the assistant's
turns of a `messages` row. The end token always trains: a model that never sees it never stops.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jinja2
from transformers import AutoTokenizer

from finetune_tui.core.data.reading import read_rows
from finetune_tui.core.data.report import lengths_of, report_on
from finetune_tui.core.data.rows import BadRow, Row
from finetune_tui.core.errors import UserError, WorkFailed
from finetune_tui.core.limits import bounded_memory, clock

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


def load_tokenizer(weights: str, name: str) -> Any:
    """The model's own tokenizer, with a padding token to batch with (its end token if it has none).

    weights: folder or Hub id. Raises WorkFailed or UserError under the model's `name`.
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(weights, trust_remote_code=False)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, MemoryError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise WorkFailed(
            f"the tokenizer cannot be loaded ({reason})",
            where=name,
            hint="give a folder with the weights, tokenizer.json and tokenizer_config.json",
        ) from error
    if tokenizer.eos_token_id is None:
        raise UserError("the tokenizer has no end token", where=name)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def tokens_call(params: dict[str, Any], progress: Any) -> dict[str, Any]:
    """The call `tokens`: {"files", "weights", "name", "max_length", "strict"} → the data report as JSON,
    counted in tokens: how many, how many train, how long rows are, whether the end token trains.
    """
    with bounded_memory():
        return _counted(params, progress)


def _counted(params: dict[str, Any], progress: Any) -> dict[str, Any]:
    progress({"words": "loading the tokenizer"})
    tokenizer = load_tokenizer(params["weights"], params["name"])
    found = read_rows([Path(file) for file in params["files"]], strict=params["strict"])
    lengths: list[int] = []
    trained = 0
    ends = True
    refused: list[BadRow] = []
    for done, row in enumerate(found.rows):
        if done % 1000 == 0:
            progress({"words": "tokenising", "done": done, "total": len(found.rows)})
        try:
            tokens = token_row(row, tokenizer, params["max_length"])
        except UserError as error:
            if params["strict"]:
                raise
            refused.append(BadRow(row.path, row.line, error.message))
            continue
        lengths.append(len(tokens.ids) + tokens.cut)
        trained += tokens.trained
        ends = ends and (tokens.cut > 0 or _end_trains(tokens, tokenizer))
    if not lengths:
        raise UserError(refused[0].error, where=f"{refused[0].path}:{refused[0].line}")
    report = report_on(found)
    return replace(
        report,
        rows=len(lengths),
        bad_rows=(*report.bad_rows, *refused),
        lengths=lengths_of(lengths, "tokens"),
        tokens=sum(lengths),
        trained_tokens=trained,
        ends_trained=ends,
    ).to_json()


def _end_trains(row: TokenRow, tokenizer: Any) -> bool:
    """Whether an end token is among the last trained tokens; a template may write a line break after it."""
    ends = {tokenizer.eos_token_id, *tokenizer.all_special_ids}
    trained = [label for label in row.labels if label != IGNORED]
    return bool(ends & set(trained[-2:]))


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


def token_row(row: Row, tokenizer: Any, max_length: int, completion_only: bool = True) -> TokenRow:
    """Token ids and labels of a row, cut at `max_length`.

    Raises UserError naming file and line when a chat template refuses the row or fills the memory.
    A tokenizer or template that does not end ends this process: see `core.limits`.
    """
    try:
        with clock():
            return _token_row(row, tokenizer, max_length, completion_only)
    except MemoryError as error:
        raise UserError(
            "too much memory for one row: its text or the chat template",
            where=f"{row.path}:{row.line}",
        ) from error
    except BaseException as error:
        if type(error).__name__ != "PanicException":  # Rust's, and no Exception
            raise
        raise UserError(
            f"the tokenizer gives up on this row ({error})", where=f"{row.path}:{row.line}"
        ) from error


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
