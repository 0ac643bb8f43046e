"""What the model says to a few held-out prompts: before, at every evaluation, and in the end."""

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any

from finetune_tui.core.data.rows import NotARowError, Row
from finetune_tui.core.training.replies import Reply, answer, can_be_asked
from finetune_tui.core.training.reporter import Reporter
from finetune_tui.core.tuning.spec import Spec

_SHOWN = 3  # samples told of a measurement over many rows
_LONGEST = 256  # new tokens of a sample at an evaluation: a look, not a measurement


class Samples:
    """Asks the first held-out rows that have a prompt, the same ones each time.

    longest: tokens of the longest trained part, so that an answer has room. safe_point: called between
    batches of answers; raises when the run shall stop.
    """

    def __init__(
        self,
        tokenizer: Any,
        held_out: Sequence[Row],
        longest: int,
        spec: Spec,
        reporter: Reporter,
        safe_point: Callable[[], None],
    ) -> None:
        self._tokenizer = tokenizer
        self._longest = longest + 8
        self._reporter = reporter
        self._safe_point = safe_point
        self._rows = list(islice(_askable(held_out), max(spec.eval_replies, spec.eval_samples)))
        self._measured = self._rows[: spec.eval_replies]
        self._sampled = self._rows[: spec.eval_samples]

    def measure(self, when: str, model: Any) -> None:
        """ "before" or "after": count exact answers over `eval_replies` rows, and tell a few."""
        rows = self._measured or self._sampled
        if not rows:
            return
        self._reporter.phase("measuring", 0, len(rows))
        replies = self._answer(model, rows, self._longest)
        self._tell(when, replies[: max(_SHOWN, len(self._sampled))])
        if self._measured:
            exact = sum(reply.is_exact for reply in replies)
            self._reporter.event("measured", when=when, exact=exact, total=len(replies))

    def after_eval(self, model: Any) -> None:
        """A few answers at an evaluation. Every random generator stays as it was."""
        if self._sampled:
            longest = min(self._longest, _LONGEST)
            self._tell("eval", self._answer(model, self._sampled, longest))

    def _answer(self, model: Any, rows: Sequence[Row], longest: int) -> list[Reply]:
        def progress(done: int, total: int) -> None:
            self._reporter.phase("measuring", done, total)
            self._safe_point()

        return answer(model, self._tokenizer, rows, longest, progress)

    def _tell(self, when: str, replies: Sequence[Reply]) -> None:
        for reply in replies:
            self._reporter.event(
                "sample",
                step=self._reporter.state.step or 0,
                when=when,
                prompt=reply.prompt,
                expected=reply.expected,
                reply=reply.reply,
                correct=reply.is_exact,
            )


def _askable(rows: Sequence[Row]) -> Iterator[Row]:
    for index in range(len(rows)):
        try:
            row = rows[index]
        except NotARowError:  # of a file too large to be read before
            continue
        if can_be_asked(row):
            yield row
