"""Let a model answer held-out prompts and count how many answers are exactly right."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import StoppingCriteria

from finetune_tui.core.data.rows import Row
from finetune_tui.core.data.tokens import answer_ends, question_of

BATCH = 32

# A model may come with habits of its own (Qwen's penalty on repeating breaks JSON that repeats names):
# base and tuned are asked for what they find most likely, nothing else.
_GREEDY: dict[str, Any] = {
    "do_sample": False,
    "num_beams": 1,
    "num_return_sequences": 1,
    "repetition_penalty": 1.0,
    "no_repeat_ngram_size": 0,
}


@dataclass(frozen=True, slots=True)
class Reply:
    """One held-out prompt, what was expected and what the model said; stripped text."""

    prompt: str
    expected: str
    reply: str

    @property
    def is_exact(self) -> bool:
        return self.reply == self.expected


@dataclass(frozen=True, slots=True)
class Question:
    """A row as a model is asked. prompt, answer: token ids; expected: the answer's text."""

    prompt: Sequence[int]
    answer: Sequence[int]
    expected: str


def question(row: Row, tokenizer: Any) -> Question:
    """Raises UserError when the row cannot be asked."""
    prompt, expected = question_of(row, tokenizer)
    text = str(tokenizer.decode(expected, skip_special_tokens=True)).strip()
    return Question(prompt, expected, text)


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
    asked = [question(row, tokenizer) for row in rows]
    ends = answer_ends(any(row.messages is not None for row in rows), tokenizer)
    replies: list[Reply] = []
    model.eval()
    for start in range(0, len(asked), BATCH):
        batch = asked[start : start + BATCH]
        texts = generate(model, tokenizer, [one.prompt for one in batch], longest, ends)
        for one, text in zip(batch, texts, strict=True):
            replies.append(Reply(tokenizer.decode(one.prompt).strip(), one.expected, text))
        progress(len(replies), len(rows))
    return replies


def can_be_asked(row: Row) -> bool:
    """Whether a row has a prompt to give and an answer to expect."""
    return row.text is None


def generate(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[Sequence[int]],
    longest: int,
    ends: Iterable[int],
    safe_point: Callable[[], None] = lambda: None,
) -> list[str]:
    """The greedy answers to prompts, asked at once; stripped text.

    ends: tokens at which an answer ends. safe_point: called with every token; what it raises ends the work.
    """
    width = max(map(len, prompts))
    filler = tokenizer.pad_token_id
    padded = [[filler] * (width - len(prompt)) + list(prompt) for prompt in prompts]
    real = [[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts]
    with torch.no_grad(), in_its_precision(model):
        generated = model.generate(
            input_ids=torch.tensor(padded, device=model.device),
            attention_mask=torch.tensor(real, device=model.device),
            max_new_tokens=longest,
            **_GREEDY,
            use_cache=True,
            pad_token_id=filler,
            eos_token_id=sorted(ends),
            stopping_criteria=[_SafePoint(safe_point)],
        )
    answers = generated[:, width:]
    texts = tokenizer.batch_decode(answers, skip_special_tokens=True)
    return [str(text).strip() for text in texts]


class _SafePoint(StoppingCriteria):
    """Never says that an answer ends."""

    def __init__(self, call: Callable[[], None]) -> None:
        self._call = call

    def __call__(self, input_ids: torch.Tensor, *_: Any, **__: Any) -> torch.Tensor:
        self._call()
        return torch.zeros(len(input_ids), dtype=torch.bool, device=input_ids.device)


def in_its_precision(model: Any) -> torch.autocast:
    """As it trains: what trained is float32 beside a base in 16 bits, and only autocast mixes the two."""
    halves = {p.dtype for p in model.parameters()} & {torch.bfloat16, torch.float16}
    half = halves.pop() if halves else None
    return torch.autocast(model.device.type, dtype=half, enabled=half is not None)
