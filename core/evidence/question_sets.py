"""The rows of a comparison as questions to one model: tokens, and what cannot be asked left out. Starred."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from finetune_tui.core.data.rows import Row
from finetune_tui.core.data.tokens import answer_ends
from finetune_tui.core.errors import UserError
from finetune_tui.core.evidence.asking import RowsToAsk
from finetune_tui.core.evidence.comparison import Which
from finetune_tui.core.evidence.judge import Judge
from finetune_tui.core.evidence.metrics import Metric
from finetune_tui.core.evidence.questions import Asking
from finetune_tui.core.evidence.scoring import AnsweredRow, says_something
from finetune_tui.core.text import count
from finetune_tui.core.training.replies import Question, question
from finetune_tui.core.training.reporter import Reporter

_ROOM = 8
"""Tokens that an answer may be longer than the longest expected one."""
_EVERY = 1.0  # seconds between two words about how far something is


@dataclass(frozen=True, slots=True)
class QuestionSet:
    """One set of rows that can be asked; rows, questions and prompts (as the model reads them) go together.

    longest: most new tokens of an answer. ends: tokens at which one ends. left_out: rows drawn that cannot
    be asked; notes say why.
    """

    which: Which
    files: tuple[str, ...]
    rows: tuple[Row, ...]
    questions: tuple[Question, ...]
    prompts: tuple[str, ...]
    longest: int
    ends: frozenset[int]
    left_out: int
    notes: tuple[str, ...]

    @staticmethod
    def of(
        asked: RowsToAsk,
        judging: Metric,
        longest: int,
        asking: Asking,
        judge: Judge,
        reporter: Reporter,
    ) -> "QuestionSet":
        """longest: 0: room for the longest expected answer. Raises UserError when nothing is left to ask."""
        left_out = _LeftOut(judging, asking.context)
        pulse = pulse_of("tokenising", reporter)
        found: list[tuple[Row, Question]] = []
        for number, row in enumerate(asked.rows):
            pulse(number, len(asked.rows))
            try:
                one = question(row, asking.tokenizer)
            except UserError as error:
                left_out.refused.append(error)
                continue
            if not asking.fits(one):
                left_out.too_long += 1
            elif not says_something(judging, one.expected, judge):
                left_out.untold += 1
            else:
                found.append((row, one))
        if not found:
            words = f"no row can be asked ({'; '.join(left_out.notes)})"
            raise UserError(words, where=asked.files[0])
        questions = tuple(one for _, one in found)
        return QuestionSet(
            which=asked.which,
            files=asked.files,
            rows=tuple(row for row, _ in found),
            questions=questions,
            prompts=tuple(asking.text_of(one.prompt) for one in questions),
            longest=longest or max(len(one.answer) for one in questions) + _ROOM,
            ends=answer_ends(asked.are_chats, asking.tokenizer),
            left_out=len(asked.rows) - len(found),
            notes=(*asked.notes, *left_out.notes),
        )

    def answered(self, number: int, base: str, tuned: str) -> AnsweredRow:
        """A row with both answers to it."""
        row = self.rows[number]
        return AnsweredRow(
            number=number,
            where=f"{row.path}:{row.line}",
            prompt=self.prompts[number],
            expected=self.questions[number].expected,
            base=base,
            tuned=tuned,
        )


class _LeftOut:
    """Rows that cannot be asked, and why."""

    def __init__(self, judging: Metric, context: int | None) -> None:
        self.refused: list[UserError] = []
        self.too_long = 0
        self.untold = 0
        self._judging = judging
        self._context = context

    @property
    def notes(self) -> tuple[str, ...]:
        found = []
        if self.refused:
            found.append(f"{count(len(self.refused))} left out, the first: {self.refused[0]}")
        if self.too_long:
            longer = f"longer than the model's {self._context} tokens"
            found.append(f"{count(self.too_long)} left out: {longer}")
        if self.untold:
            words = f"'{self._judging.id}' says nothing of what they expect"
            found.append(f"{count(self.untold)} left out: {words}")
        return tuple(found)


def pulse_of(phase: str, reporter: Reporter) -> Callable[[int, int], None]:
    """Says now and then how far something is, and takes up what was asked."""
    next_word = time.monotonic() + _EVERY

    def say(done: int, total: int) -> None:
        nonlocal next_word
        reporter.check()
        if time.monotonic() >= next_word:
            next_word = time.monotonic() + _EVERY
            reporter.phase(phase, done, total)

    return say
