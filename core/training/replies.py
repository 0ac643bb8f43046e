"""Let a model answer held-out prompts and count how many answers are exactly right."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from finetune_tui.core.data.rows import Row
from finetune_tui.core.data.tokens import question_of

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
    asked = [_asked(row, tokenizer) for row in rows]
    replies: list[Reply] = []
    model.eval()
    for batch in _batches(asked):
        texts = _generate(model, tokenizer, [prompt for prompt, _ in batch], longest)
        for (prompt, expected), text in zip(batch, texts, strict=True):
            replies.append(Reply(tokenizer.decode(prompt).strip(), expected, text.strip()))
        progress(len(replies), len(rows))
    return replies


def can_be_asked(row: Row) -> bool:
    """Whether a row has a prompt to give and an answer to expect."""
    return row.text is None


def _asked(row: Row, tokenizer: Any) -> tuple[list[int], str]:
    """The ids of the prompt, and the answer to expect without the marks that end a turn."""
    prompt, expected = question_of(row, tokenizer)
    return prompt, str(tokenizer.decode(expected, skip_special_tokens=True)).strip()


def _batches(asked: list[Any]) -> Iterator[list[Any]]:
    for start in range(0, len(asked), BATCH):
        yield asked[start : start + BATCH]


def _generate(model: Any, tokenizer: Any, prompts: list[list[int]], longest: int) -> list[str]:
    width = max(map(len, prompts))
    filler = tokenizer.pad_token_id
    padded = [[filler] * (width - len(prompt)) + prompt for prompt in prompts]
    real = [[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts]
    with torch.no_grad(), _in_its_precision(model):
        generated = model.generate(
            input_ids=torch.tensor(padded, device=model.device),
            attention_mask=torch.tensor(real, device=model.device),
            max_new_tokens=longest,
            do_sample=False,
            use_cache=True,
            pad_token_id=filler,
        )
    answers = generated[:, width:]
    return [str(text) for text in tokenizer.batch_decode(answers, skip_special_tokens=True)]


def _in_its_precision(model: Any) -> torch.autocast:
    """As it trains: what trained is float32 beside a base in 16 bits, and only autocast mixes the two."""
    halves = {p.dtype for p in model.parameters()} & {torch.bfloat16, torch.float16}
    half = halves.pop() if halves else None
    return torch.autocast(model.device.type, dtype=half, enabled=half is not None)
