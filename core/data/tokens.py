"""Rows to token ids and the loss mask. Starred: works on a Transformers tokenizer.

What trains: every token of a `text` row; the completion of a `prompt`/`completion` row; the assistant's
turns of a chat. The end token always trains: a model that never sees it never stops.
"""

from array import array
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer

from finetune_tui.core.data.rows import Format, Row
from finetune_tui.core.data.tokens_chat import Span, asked_text, chat_text
from finetune_tui.core.data.tokens_text import (
    beginning_ids,
    encode,
    end_ids,
    inert,
    special_tokens,
)
from finetune_tui.core.errors import UserError, WorkFailed
from finetune_tui.core.limits import clock

IGNORED = -100
"""The label torch's cross-entropy leaves out."""


@dataclass(frozen=True, slots=True)
class Masking:
    """How long rows may be, in tokens, and which of their tokens train."""

    max_length: int
    completion_only_loss: bool = True
    assistant_only_loss: bool = True
    last_turn_only: bool = False


@dataclass(frozen=True, slots=True)
class TokenRow:
    """The ids of one row; trained_mask has a 1 for each that trains, else 0.

    cut: tokens that `max_length` took off the end.
    """

    ids: "array[int]"
    trained_mask: bytes
    cut: int

    @property
    def labels(self) -> list[int]:
        return [
            token if trains else IGNORED
            for token, trains in zip(self.ids, self.trained_mask, strict=True)
        ]

    @property
    def trained(self) -> int:
        """How many tokens train."""
        return self.trained_mask.count(1)

    def __len__(self) -> int:
        return len(self.ids)


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


def token_row(row: Row, tokenizer: Any, masking: Masking) -> TokenRow:
    """Token ids and loss mask of a row, cut at `max_length`.

    Raises UserError naming file and line when a chat template refuses the row or fills the memory.
    A tokenizer or template that does not end ends this process: see `core.limits`.
    """
    with _bounded(row):
        ids, mask = _whole(row, tokenizer, masking)
    longest = masking.max_length
    return TokenRow(array("i", ids[:longest]), mask[:longest], max(len(ids) - longest, 0))


@contextmanager
def _bounded(row: Row) -> Iterator[None]:
    """What a foreign tokenizer or template does to this row is bounded, and said with its place."""
    try:
        with clock():
            yield
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


def question_of(row: Row, tokenizer: Any) -> tuple[list[int], list[int]]:
    """The ids before a row's last answer, as a person would give them, and the answer's own."""
    tokens = token_row(row, tokenizer, Masking(max_length=2**31 - 1))
    mask = tokens.trained_mask
    end = mask.rfind(1) + 1
    begin = mask.rfind(0, 0, end) + 1
    if not end:
        raise UserError("no answer to expect in this row", where=f"{row.path}:{row.line}")
    return list(tokens.ids[:begin]), list(tokens.ids[begin:end])


def asked_ids(row: Row, tokenizer: Any) -> list[int]:
    """The ids of a prompt, or of a chat, whose answer is still to be written; as `question_of` gives them.

    Raises UserError as `token_row` does.
    """
    with _bounded(row):
        if row.messages is None:
            names = special_tokens(tokenizer)
            ids, _ = encode(inert(row.prompt or "", names), [], tokenizer, names)
        else:
            text, names = asked_text(row, tokenizer)
            ids, _ = encode(text, [], tokenizer, names)
    has_template = row.messages is not None and tokenizer.chat_template is not None
    return [*([] if has_template else beginning_ids(tokenizer)), *ids]


def answer_ends(is_chat: bool, tokenizer: Any) -> frozenset[int]:
    """The tokens that end an answer: those at which generation stops, and in a chat the one that the
    template puts behind a turn (a base model's own settings may not know it)."""
    ends = end_ids(tokenizer)
    if not is_chat or tokenizer.chat_template is None:
        return ends
    turns = ({"role": "user", "content": "a"}, {"role": "assistant", "content": "b"})
    row = Row(Path("chat"), 1, Format.MESSAGES, messages=turns)
    try:
        tokens = token_row(row, tokenizer, Masking(max_length=2**31 - 1))
    except UserError:  # the template wants more than that, and says so when it is asked
        return ends
    last = tokens.ids[tokens.trained_mask.rfind(1)]
    added = tokenizer.added_tokens_decoder
    return ends | ({last} if last in added else set())


def _whole(row: Row, tokenizer: Any, masking: Masking) -> tuple[Sequence[int], bytes]:
    """All ids of a row and the mask."""
    if row.messages is not None:
        ids, mask = _chat(row, tokenizer, masking)
        has_template = tokenizer.chat_template is not None
    else:
        ids, mask = _plain(row, tokenizer, masking)
        has_template = False
    # A chat template writes its own beginning; elsewhere it is the tokenizer's.
    first = [] if has_template else beginning_ids(tokenizer)
    learns_all = masking.completion_only_loss is False and row.prompt is not None
    return [*first, *ids], (b"\x01" if learns_all else b"\0") * len(first) + mask


def _plain(row: Row, tokenizer: Any, masking: Masking) -> tuple[list[int], bytes]:
    names = special_tokens(tokenizer)
    prompt = inert(row.prompt or "", names)
    text = prompt + inert(row.text or row.completion or "", names)
    begin = len(prompt) if masking.completion_only_loss else 0
    ids, mask = _masked(text, [Span(begin, len(text))], tokenizer, names)
    return [*ids, tokenizer.eos_token_id], mask + b"\x01"


def _chat(row: Row, tokenizer: Any, masking: Masking) -> tuple[list[int], bytes]:
    chat = chat_text(row, tokenizer, masking.last_turn_only)
    ids, mask = _masked(chat.text, chat.spans, tokenizer, chat.names)
    if not masking.assistant_only_loss:
        mask = b"\x01" * len(ids)
    if not chat.ends:
        return [*ids, tokenizer.eos_token_id], mask + b"\x01"
    return ids, mask


def _masked(
    text: str, spans: Sequence[Span], tokenizer: Any, names: tuple[str, ...]
) -> tuple[list[int], bytes]:
    cuts = [place for span in spans for place in (span.begin, span.end)]
    ids, begins = encode(text, cuts, tokenizer, names)
    mask = bytearray(len(ids))
    for span in spans:
        first, last = bisect_left(begins, span.begin), bisect_left(begins, span.end)
        mask[first:last] = b"\x01" * (last - first)
    return ids, bytes(mask)
