"""Have a model's weights on this disk before they are loaded; said in bytes, stoppable, resumed."""

import time
from dataclasses import replace
from typing import Protocol

from finetune_tui.core.models.hub import fetch_model
from finetune_tui.core.models.hub_files import Progress
from finetune_tui.core.models.resolve import ModelReference
from finetune_tui.core.models.weights import require_whole

_EVERY = 1.0  # seconds between two words


class Say(Protocol):
    """Told how far something long is: its phase, `done` of `total` in that phase's unit, words for people.

    Whatever it raises ends that work: `Reporter.say` raises StopRequested.
    """

    def __call__(
        self,
        phase: str,
        done: int | None = None,
        total: int | None = None,
        words: str | None = None,
    ) -> None: ...


def quiet(
    phase: str, done: int | None = None, total: int | None = None, words: str | None = None
) -> None:
    """Nobody listens."""


def fetch_weights(reference: ModelReference, say: Say) -> ModelReference:
    """The same model with its weights in `folder`; downloaded in phase `downloading` if need be.

    Raises UserError or WorkFailed as `core.models.hub` says, and what `say` raises; what came stays.
    """
    if reference.folder is not None:
        require_whole(reference.folder)
        return reference
    say("downloading")
    next_word = 0.0

    def progress(now: Progress) -> None:
        nonlocal next_word
        if time.monotonic() >= next_word or now.done >= now.total:
            next_word = time.monotonic() + _EVERY
            say("downloading", now.done, now.total, now.words)

    return replace(reference, folder=fetch_model(reference.name, progress))
