"""Let a model answer held-out prompts and count how many answers are exactly right."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from finetune_tui.core.data.rows import Row
from finetune_tui.core.data.tokens import Segment, segments
from finetune_tui.core.errors import UserError

BATCH = 32


@dataclass(frozen=True, slots=True)
class Reply:
    """One held-out prompt, what was expected and what the model said; stripped text."""

    prompt: str
    expected: str
    reply: str

    @property
    def is_exact(self) -> bool:
        return self.reply == self.expected


def answer(
    model: Any,
    tokenizer: Any,
    rows: Sequence[Row],
    longest: int,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> list[Reply]:
    """Greedy answers to rows that have a prompt and an expected completion.

    longest: most new tokens. Leaves the model in evaluation mode and every random generator as it was.
    """
    asked = [(row, *_prompt_and_expected(row, tokenizer)) for row in rows]
    replies: list[Reply] = []
    model.eval()
    for batch in _batches(asked):
        prompts = [prompt for _, prompt, _ in batch]
        first = batch[0][0].messages is None
        texts = _generate(model, tokenizer, prompts, longest, add_special_tokens=first)
        for (_, prompt, expected), text in zip(batch, texts, strict=True):
            replies.append(Reply(prompt.strip(), expected.strip(), text.strip()))
        progress(len(replies), len(rows))
    return replies


def can_be_asked(row: Row) -> bool:
    """Whether a row has a prompt to give and an answer to expect."""
    return row.text is None


def _prompt_and_expected(row: Row, tokenizer: Any) -> tuple[str, str]:
    """Everything before the last trained piece, and that piece without the marks that end a turn."""
    pieces = segments(row, tokenizer)
    last = _last_trained(pieces, row)
    prompt = "".join(piece.text for piece in pieces[:last])
    ids = tokenizer(pieces[last].text, add_special_tokens=False)["input_ids"]
    return prompt, tokenizer.decode(ids, skip_special_tokens=True)


def _last_trained(pieces: list[Segment], row: Row) -> int:
    for index in range(len(pieces) - 1, -1, -1):
        if pieces[index].trained:
            return index
    raise UserError("no answer to expect in this row", where=f"{row.path}:{row.line}")


def _batches(asked: list[Any]) -> Iterator[list[Any]]:
    for start in range(0, len(asked), BATCH):
        yield asked[start : start + BATCH]


def _generate(
    model: Any, tokenizer: Any, prompts: list[str], longest: int, add_special_tokens: bool
) -> list[str]:
    batch = tokenizer(
        prompts,
        return_tensors="pt",
        padding=True,
        padding_side="left",
        add_special_tokens=add_special_tokens,
    ).to(model.device)
    with torch.no_grad(), _in_its_precision(model):
        generated = model.generate(
            input_ids=batch["input_ids"],
            attention_mask=batch["attention_mask"],
            max_new_tokens=longest,
            do_sample=False,
            use_cache=True,
            pad_token_id=tokenizer.pad_token_id,
        )
    answers = generated[:, batch["input_ids"].shape[1] :]
    return [str(text) for text in tokenizer.batch_decode(answers, skip_special_tokens=True)]


def _in_its_precision(model: Any) -> torch.autocast:
    """As it trains: what trained is float32 beside a base in 16 bits, and only autocast mixes the two."""
    halves = {p.dtype for p in model.parameters()} & {torch.bfloat16, torch.float16}
    half = halves.pop() if halves else None
    return torch.autocast(model.device.type, dtype=half, enabled=half is not None)
