"""Counting data in a model's tokens, for the command line and the Data place: one question, one call."""

import threading
from collections.abc import Callable
from typing import Any

from finetune_tui.core.calls.client import CallProcess
from finetune_tui.core.data.token_report import EXAMPLES, TokenQuestion
from finetune_tui.core.models.manifest import Manifest
from finetune_tui.core.models.resolve import find_model, tokenizer_folder
from finetune_tui.core.tuning.spec import Spec

_LONGEST = 3600.0  # seconds: files may be large, and esc cancels


def question_of(spec: Spec, manifest: Manifest) -> TokenQuestion:
    """What a run of this spec would read, cut where the run would cut it."""
    context = manifest.config.context or spec.max_length
    return TokenQuestion(
        sources=spec.train_files,
        model=spec.model_name_or_path,
        max_length=min(spec.max_length, context),
        completion_only_loss=spec.completion_only_loss,
        assistant_only_loss=spec.assistant_only_loss,
        last_turn_only=spec.last_turn_only,
        strict=spec.strict,
    )


def ask_tokens(
    question: TokenQuestion,
    progress: Callable[[str], None],
    cancelled: threading.Event | None = None,
    examples: int = EXAMPLES,
) -> dict[str, Any]:
    """The call's answer as JSON. Fetches the tokenizer when it is not on this disk.

    progress: gets words. Raises UserError and WorkFailed as the call does, also when it is `cancelled`.
    """
    reference = find_model(question.model)
    params = question.params(str(tokenizer_folder(reference)), reference.name, examples)
    with CallProcess() as process:
        answer: dict[str, Any] = process.call(
            "tokens", params, lambda told: progress(_words(told)), _LONGEST, cancelled
        )
    return answer


def _words(told: dict[str, Any]) -> str:
    words, done, total = str(told["words"]), told.get("done"), told.get("total")
    if not total:
        return words
    return f"{words} {100 * (done or 0) // total}%"
