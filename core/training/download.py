"""Have a model's weights on this disk before they are loaded; said in bytes, stoppable, resumed."""

import time
from dataclasses import replace

from finetune_tui.core.models.hub import fetch_model
from finetune_tui.core.models.hub_files import Progress
from finetune_tui.core.models.resolve import ModelReference
from finetune_tui.core.models.weights import require_whole
from finetune_tui.core.training.reporter import Reporter

_EVERY = 1.0  # seconds between two words


def fetch_weights(reference: ModelReference, reporter: Reporter) -> ModelReference:
    """The same model with its weights in `folder`; downloaded in phase `downloading` if need be.

    Raises UserError or WorkFailed as `core.models.hub` says, and StopRequested; what came stays.
    """
    if reference.folder is not None:
        require_whole(reference.folder)
        return reference
    reporter.phase("downloading")
    next_word = 0.0

    def progress(now: Progress) -> None:
        nonlocal next_word
        reporter.check()
        if time.monotonic() >= next_word or now.done >= now.total:
            next_word = time.monotonic() + _EVERY
            reporter.phase("downloading", now.done, now.total, now.words)

    return replace(reference, folder=fetch_model(reference.name, progress))
