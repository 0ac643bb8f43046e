"""What a Trainer is fed: the rows of a spec as tokens, and what is to be said about them."""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from finetune_tui.core.data.rows import BadRow, NotARowError, Row
from finetune_tui.core.data.source import Rows, open_rows, split
from finetune_tui.core.data.tokens import Masking, TokenRow, token_row
from finetune_tui.core.errors import UserError
from finetune_tui.core.hardware import read_hardware
from finetune_tui.core.limits import MOST_MEMORY, bounded_memory
from finetune_tui.core.training.reporter import Reporter
from finetune_tui.core.training.token_rows import (
    LazyRows,
    StoredRows,
    TrainRows,
    bad_row,
)
from finetune_tui.core.tuning.spec import Spec

_MOST_NAMED = 20  # bad rows of one kind that are named
_LOOKED_AT = 200  # rows of a large file whose tokens are counted


@dataclass(frozen=True, slots=True)
class Feed:
    """train: what Trainer trains on. held_out: what it evaluates on, or None; held_out_rows: as text.

    longest: tokens of the longest sequence there can be. longest_answer: most trained tokens of a
    held-out row. peaks_first: whether the first step has the longest sequences there are.
    """

    train: TrainRows
    held_out: TrainRows | None
    held_out_rows: Sequence[Row]
    longest: int
    longest_answer: int
    peaks_first: bool


@dataclass(slots=True)
class _Counts:
    """Of usable rows, as the event `data` tells them; of a large file those of some rows only."""

    tokens: int = 0
    trained_tokens: int = 0
    cut: int = 0
    longest: int = 0
    counted: int = 0
    skipped: int = 0

    def add(self, row: TokenRow) -> None:
        self.counted += 1
        self.tokens += len(row)
        self.trained_tokens += row.trained
        self.cut += row.cut > 0
        self.longest = max(self.longest, len(row))


def read_feed(spec: Spec, tokenizer: Any, reporter: Reporter, context: int | None = None) -> Feed:
    """Open the files, tokenise what is small, say what was found.

    context: how many tokens the model can take; rows are cut there. Raises UserError when nothing is
    left that could be trained on, StopRequested when somebody asks for that meanwhile.
    """
    if not spec.train_files:
        raise UserError("no training data is named", where="train_files")
    most = min(spec.max_length, context or spec.max_length)
    train_rows, held_out_rows = _open(spec, reporter)
    return _Reading(spec, tokenizer, reporter, most).feed(train_rows, held_out_rows)


def spare_memory() -> int:
    """Bytes that rows and templates may take: data may be large, and the machine must go on."""
    available = read_hardware().memory_available
    return MOST_MEMORY if available is None else max(MOST_MEMORY, available * 9 // 10)


def _open(spec: Spec, reporter: Reporter) -> tuple[Rows, Rows]:
    """Rows to train on, and rows held out."""
    pulse = _Pulse(reporter)
    found = open_rows(spec.train_files, spec.strict, pulse.of("reading"))
    _name(found.bad_rows, reporter)
    if spec.eval_files:
        held_out = open_rows(spec.eval_files, spec.strict, pulse.of("reading"))
        _name(held_out.bad_rows, reporter)
        return found, held_out
    train, held_out = split(found, spec.eval_split, spec.seed, pulse.of("splitting"))
    for note in held_out.notes:
        reporter.event("warning", message=note, where="eval_split")
    return train, held_out


class _Reading:
    """One reading of rows to tokens, with what is remembered on the way."""

    def __init__(self, spec: Spec, tokenizer: Any, reporter: Reporter, most: int) -> None:
        self._spec = spec
        self._tokenizer = tokenizer
        self._reporter = reporter
        self._most = most
        self._masking = Masking(
            max_length=most,
            completion_only_loss=spec.completion_only_loss,
            assistant_only_loss=spec.assistant_only_loss,
            last_turn_only=spec.last_turn_only,
        )
        self._named = 0

    def feed(self, train_rows: Rows, held_out_rows: Rows) -> Feed:
        counts = _Counts()
        if train_rows.is_large:
            train, duplicates = self._large(train_rows, counts), None
        else:
            train, duplicates = self._small(train_rows, counts)
        held_out = self._stored(held_out_rows, _Counts())
        self._say(counts, train_rows, len(held_out), duplicates)
        is_known = train.lengths is not None
        return Feed(
            train=train,
            held_out=TrainRows(held_out) if len(held_out) else None,
            held_out_rows=held_out_rows,
            longest=int(max(train.lengths)) if is_known else self._most,
            longest_answer=held_out.most_trained,
            peaks_first=is_known and self._spec.train_sampling_strategy != "sequential",
        )

    def _small(self, rows: Rows, counts: _Counts) -> tuple[TrainRows, int]:
        """Everything tokenised, and how many usable rows repeat an earlier one."""
        seen: set[int] = set()
        stored = self._stored(rows, counts, lambda row: seen.add(hash(row.content)))
        self._require(len(stored))
        return self._train_rows(stored, stored.lengths), counts.counted - len(seen)

    def _stored(
        self, rows: Rows, counts: _Counts, look: Callable[[Row], None] = lambda _row: None
    ) -> StoredRows:
        stored = StoredRows(rows)
        pulse = _Pulse(self._reporter).of("tokenising")
        unusable: list[BadRow] = []
        for place in range(len(rows)):
            pulse(place, len(rows))
            try:
                row = rows[place]
                tokens = self._tokenise(row)
            except (UserError, NotARowError) as error:
                if self._spec.strict:
                    raise
                unusable.append(bad_row(rows, place, error))
            else:
                look(row)
                counts.add(tokens)
                stored.add(place, tokens)
        counts.skipped = len(unusable)
        _name(unusable, self._reporter)
        return stored

    def _large(self, rows: Rows, counts: _Counts) -> TrainRows:
        """Tokens when they are asked for. Some are counted now: a file without any is refused here."""
        spec = self._spec
        lazy = LazyRows(rows, self._guarded, self._name_one, spec.strict)
        for place in rows.sample(_LOOKED_AT):
            tokens = lazy.tokens(place)
            if tokens is None:
                counts.skipped += 1
            else:
                counts.add(tokens)
        self._require(counts.counted)
        if not spec.packing and spec.train_sampling_strategy != "group_by_length":
            return self._train_rows(lazy, None)
        lengths = self._all_lengths(lazy)
        usable = np.flatnonzero(lengths).astype(np.uint32)
        if len(usable) == len(lengths):
            return self._train_rows(lazy, lengths)
        return self._train_rows(lazy, lengths[usable], usable)

    def _all_lengths(self, lazy: LazyRows) -> Any:
        """Tokens of every row, 0 for an unusable one: a whole pass, 4 bytes a row."""
        pulse = _Pulse(self._reporter).of("tokenising")
        lengths = np.zeros(len(lazy), dtype=np.int32)
        for place in range(len(lazy)):
            pulse(place, len(lazy))
            tokens = lazy.tokens(place)
            lengths[place] = 0 if tokens is None else len(tokens)
        return lengths

    def _train_rows(
        self, rows: StoredRows | LazyRows, lengths: Any, usable: Any = None
    ) -> TrainRows:
        spec = self._spec
        pack_to = self._most if spec.packing else None
        return TrainRows(rows, spec.seed, spec.train_sampling_strategy, lengths, usable, pack_to)

    def _tokenise(self, row: Row) -> TokenRow:
        """Raises UserError for a row that cannot be tokenised or has nothing to train."""
        tokens = token_row(row, self._tokenizer, self._masking)
        # The first token stands after nothing: it is never learnt.
        if not tokens.trained_mask.count(1, 1):
            raise UserError("no trained tokens", where=f"{row.path}:{row.line}")
        return tokens

    def _guarded(self, row: Row) -> TokenRow:
        """In the midst of training: a hostile row must not take the machine's memory."""
        with bounded_memory():
            return self._tokenise(row)

    def _require(self, usable: int) -> None:
        if not usable:
            raise UserError(
                "no row has a token to train on",
                where=self._spec.train_files[0],
                hint="raise max_length, or look at the rows with `finetune-tui data`",
            )

    def _name_one(self, bad: BadRow) -> None:
        self._named += 1
        if self._named <= _MOST_NAMED:
            _name([bad], self._reporter)

    def _say(self, counts: _Counts, rows: Rows, held_out: int, duplicates: int | None) -> None:
        """The event `data`; of a large file tokens are those of `counted` rows drawn evenly."""
        if counts.cut:
            of = f"{counts.counted} rows" + (" looked at" if rows.is_large else "")
            message = f"{counts.cut} of {of} are longer than {self._most} tokens and were cut"
            self._reporter.event("warning", message=message, where="max_length")
        self._reporter.event(
            "data",
            rows=len(rows) + held_out,
            train_rows=len(rows) if rows.is_large else counts.counted,
            held_out=held_out,
            bad=len(rows.bad_rows),
            duplicates=duplicates,
            share_trained=round(counts.trained_tokens / max(counts.tokens, 1), 4),
            **asdict(counts),
        )


class _Pulse:
    """Says now and then how far something is, and takes up what was asked."""

    def __init__(self, reporter: Reporter) -> None:
        self._reporter = reporter
        self._next = time.monotonic()

    def of(self, phase: str) -> Callable[[int, int], None]:
        def say(done: int, total: int) -> None:
            if time.monotonic() >= self._next:
                self._next = time.monotonic() + 1
                self._reporter.phase(phase, done, total)
                self._reporter.check()

        return say


def _name(bad_rows: Sequence[BadRow], reporter: Reporter) -> None:
    for bad in bad_rows[:_MOST_NAMED]:
        reporter.event("warning", message=f"skipped: {bad.error}", where=f"{bad.path}:{bad.line}")
    if len(bad_rows) > _MOST_NAMED:
        message = f"{len(bad_rows) - _MOST_NAMED} more bad rows skipped"
        reporter.event("warning", message=message, where=None)
