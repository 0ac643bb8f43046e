"""Base and tuned model asked: greedy answers in batches, and the loss on what was expected. Starred."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch.nn import functional

from finetune_tui.core.errors import WorkFailed
from finetune_tui.core.training.out_of_memory import forget_memory, is_out_of_memory
from finetune_tui.core.training.replies import BATCH, Question, generate, in_its_precision
from finetune_tui.core.training.tuned import Tuned

_TOKENS = 2**15  # of a batch: bounds its key-value cache
_LOGITS = 2**26  # numbers of a batch's logits, 256 MiB in float32


class Asking:
    """One pair of models and how it is asked. context: tokens it takes at most, where that is known.

    safe_point: called with every token; raises when the work shall stop.
    """

    def __init__(self, tuned: Tuned, safe_point: Callable[[], None]) -> None:
        self._tuned = tuned
        self._safe_point = safe_point
        self._rows = BATCH
        self.tokenizer = tuned.tokenizer
        self.context: int | None = tuned.manifest.config.context

    def fits(self, question: Question) -> bool:
        """Whether the model can read the prompt and write the expected answer."""
        length = len(question.prompt) + len(question.answer)
        return self.context is None or length <= self.context

    def text_of(self, prompt: Sequence[int]) -> str:
        """What the model read, its control tokens included."""
        return str(self.tokenizer.decode(list(prompt))).strip()

    def answers(
        self,
        who: str,
        questions: Sequence[Question],
        numbers: Sequence[int],
        longest: int,
        ends: frozenset[int],
    ) -> Iterator[tuple[list[int], list[str]]]:
        """Some of those numbers and the answers to the questions at them, until all are answered.

        Questions of like length are asked together; fewer at once when memory runs out. longest: most new
        tokens. Raises WorkFailed, and what `safe_point` raises.
        """
        left = sorted(numbers, key=lambda number: (-len(questions[number].prompt), number))
        while left:
            batch = left[: self._most(len(questions[left[0]].prompt), longest)]
            prompts = [questions[number].prompt for number in batch]
            texts = self._generate(who, prompts, longest, ends)
            if texts is None:
                self._halve(len(batch))
                continue
            yield batch, texts
            left = left[len(batch) :]

    def loss(self, who: str, questions: Sequence[Question]) -> float | None:
        """The mean over the tokens of the expected answers; None when there is too little memory for it."""
        total, tokens = 0.0, 0
        try:
            with self._as(who) as model, torch.no_grad(), in_its_precision(model):
                for batch in self._loss_batches(model, questions):
                    self._safe_point()
                    found, counted = _loss_of(model, self.tokenizer.pad_token_id, batch)
                    total, tokens = total + found, tokens + counted
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            return None
        return total / tokens if tokens else None

    def _as(self, who: str) -> AbstractContextManager[Any]:
        return self._tuned.as_base() if who == "base" else self._tuned.as_tuned()

    def _most(self, prompt: int, longest: int) -> int:
        if self.context is not None and prompt + longest > self.context:
            return 1  # each has the room that its own prompt leaves
        return max(min(self._rows, _TOKENS // (prompt + longest)), 1)

    def _generate(
        self, who: str, prompts: Sequence[Sequence[int]], longest: int, ends: frozenset[int]
    ) -> list[str] | None:
        """None: out of memory."""
        room = longest
        if self.context is not None:
            room = max(min(longest, self.context - max(map(len, prompts))), 1)
        try:
            with self._as(who) as model:
                return generate(model, self.tokenizer, prompts, room, ends, self._safe_point)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
        return None

    def _halve(self, rows: int) -> None:
        forget_memory()
        if rows == 1:
            raise WorkFailed(
                "out of memory with one row at a time",
                where="rows",
                hint="lower max_new_tokens, or compare on the CPU with --cpu",
            )
        self._rows = rows // 2

    def _loss_batches(self, model: Any, questions: Sequence[Question]) -> Iterator[list[Question]]:
        """Those of like length together, the longest first."""
        left = sorted(questions, key=lambda one: -len(one.prompt) - len(one.answer))
        words = model.get_input_embeddings().weight.shape[0]
        while left:
            width = len(left[0].prompt) + len(left[0].answer)
            rows, longest = 1, len(left[0].answer) + 1
            while rows < min(BATCH, len(left), _TOKENS // width):
                longest = max(longest, len(left[rows].answer) + 1)
                if (rows + 1) * longest * words > _LOGITS:
                    break
                rows += 1
            yield left[:rows]
            left = left[rows:]


def _loss_of(model: Any, filler: int, batch: Sequence[Question]) -> tuple[float, int]:
    """The sum over the tokens of the answers, and how many those are. Answers end flush right."""
    device = model.device
    wholes = [[*one.prompt, *one.answer] for one in batch]
    width = max(map(len, wholes))
    ids = torch.tensor([[filler] * (width - len(one)) + one for one in wholes], device=device)
    real = torch.tensor(
        [[0] * (width - len(one)) + [1] * len(one) for one in wholes], device=device
    )
    keep = max(len(one.answer) for one in batch) + 1
    logits = model(
        input_ids=ids,
        attention_mask=real,
        position_ids=(real.cumsum(1) - 1).clamp(min=0),
        use_cache=False,
        logits_to_keep=keep,
    ).logits
    total, tokens = 0.0, 0
    for row, one in enumerate(batch):
        said = len(one.answer)
        found = logits[row, -said - 1 : -1].float()
        wanted = torch.tensor(list(one.answer), device=device)
        total += float(functional.cross_entropy(found, wanted, reduction="sum"))
        tokens += said
    return total, tokens
