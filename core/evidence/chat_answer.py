"""One answer, token by token: a cache of its own, and a model that is lent for a token at a time. Starred."""

import inspect
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from transformers import DynamicCache
from transformers.generation.logits_process import (
    LogitsProcessorList,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from finetune_tui.core.evidence.conversation import Answer, Ended, Side
from finetune_tui.core.evidence.sampling import Sampling
from finetune_tui.core.evidence.text_stream import TextStream
from finetune_tui.core.training.tuned import Tuned

_AT_ONCE = 512  # tokens of a prompt that go through the model together: a cancel waits for no more


class Writer:
    """Writes one side's answer to a prompt of token ids.

    ends: tokens that end it. context: tokens that the model takes in all. Each `step` goes on with the
    prompt, or writes one token, and gives the text that can be shown now. Tokens are chosen as
    Transformers' `generate` chooses them.
    """

    def __init__(
        self,
        tuned: Tuned,
        side: Side,
        ids: Sequence[int],
        ends: frozenset[int],
        sampling: Sampling,
        context: int | None,
    ) -> None:
        self.side = side
        self.ended: Ended | None = None
        self._tuned = tuned
        self._device = tuned.device.torch_device
        self._ids = list(ids)
        self._to_read = len(ids)
        self._read = 0
        self._ends = ends
        self._sampling = sampling
        self._context = context
        self._cache = DynamicCache(config=tuned.model.config.get_text_config(decoder=True))
        self._stream = TextStream(tuned.tokenizer)
        self._processors = _processors(sampling)
        self._generator = torch.Generator(self._device).manual_seed(sampling.seed)
        self._keep_last = _keep_last(tuned.model)
        self._seconds = 0.0

    def step(self) -> str:
        """Text that can be shown now, maybe none; the rest of it with the step that ends the answer."""
        begun, was_reading = time.perf_counter(), self.is_reading
        with self._lent(), torch.no_grad(), self._tuned.precision():
            logits = self._forward()
        if logits is None:
            return ""
        text = self._take(self._choose(logits))
        self._seconds += 0.0 if was_reading else time.perf_counter() - begun
        return text

    def stop(self) -> str:
        """End it here; what was held back of the text."""
        if self.ended is None:
            self.ended = Ended.STOPPED
        return self._stream.end()

    @property
    def is_reading(self) -> bool:
        """Whether the prompt has not gone through yet."""
        return self._read < self._to_read

    @property
    def token_ids(self) -> list[int]:
        """What was written, without the token that ended it."""
        return self._ids[self._to_read :]

    @property
    def answer(self) -> Answer:
        """All there is now."""
        return replace(self.progress, text=self._stream.text)

    @property
    def progress(self) -> Answer:
        """How far it is, without the text."""
        return Answer(
            tokens=len(self._ids) - self._to_read,
            seconds=self._seconds,
            ended=self.ended,
            read=min(self._read, self._to_read),
            to_read=self._to_read,
        )

    @contextmanager
    def _lent(self) -> Iterator[None]:
        lent = self._tuned.as_base() if self.side is Side.BASE else self._tuned.as_tuned()
        with lent:
            yield

    def _forward(self) -> torch.Tensor | None:
        """The next tokens go through the model; the logits behind the last of them, None in mid-prompt."""
        piece = self._ids[self._read : self._read + _AT_ONCE]
        out = self._tuned.model(
            input_ids=torch.tensor([piece], device=self._device),
            past_key_values=self._cache,
            use_cache=True,
            **self._keep_last,
        )
        self._read += len(piece)
        if self._read < len(self._ids):
            return None
        return out.logits[:, -1, :].to(copy=True, dtype=torch.float32)

    def _choose(self, logits: torch.Tensor) -> int:
        seen = torch.tensor([self._ids], device=self._device)
        scores = self._processors(seen, logits)
        if self._sampling.is_greedy:
            return int(scores.argmax(dim=-1))
        shares = torch.softmax(scores, dim=-1)
        return int(torch.multinomial(shares, 1, generator=self._generator))

    def _take(self, token: int) -> str:
        self._ids.append(token)
        written = len(self._ids) - self._to_read
        if token in self._ends:
            self._ids.pop()
            self.ended = Ended.END
            return self._stream.end()
        text = self._stream.add(token)
        if written >= self._sampling.max_new_tokens:
            self.ended = Ended.LENGTH
        elif self._context is not None and len(self._ids) >= self._context:
            self.ended = Ended.CONTEXT
        return text + (self._stream.end() if self.ended else "")


def _processors(sampling: Sampling) -> LogitsProcessorList:
    """In the order in which `generate` has them."""
    found = LogitsProcessorList()
    if sampling.repetition_penalty != 1:
        found.append(RepetitionPenaltyLogitsProcessor(sampling.repetition_penalty))
    if not sampling.is_greedy:
        found.append(TemperatureLogitsWarper(sampling.temperature))
        if sampling.top_k:
            found.append(TopKLogitsWarper(sampling.top_k))
        if sampling.top_p < 1:
            found.append(TopPLogitsWarper(sampling.top_p))
    return found


def _keep_last(model: Any) -> dict[str, int]:
    """A prompt's other logits are never made: a long one would take gigabytes."""
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    known = inspect.signature(inner.forward).parameters
    return {"logits_to_keep": 1} if "logits_to_keep" in known else {}
