"""What a Trainer is fed: the rows of a spec as tokens, in batches."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Dataset

from finetune_tui.core.data.reading import read_rows, split_rows
from finetune_tui.core.data.rows import BadRow, Row
from finetune_tui.core.data.tokens import IGNORED, TokenRow, token_row
from finetune_tui.core.errors import UserError
from finetune_tui.core.hardware import read_hardware
from finetune_tui.core.limits import MOST_MEMORY
from finetune_tui.core.training.reporter import Reporter
from finetune_tui.core.tuning.spec import Spec


@dataclass(frozen=True, slots=True)
class Data:
    """Token rows to train on and to hold out, and the held-out rows as text."""

    train: list[TokenRow]
    held_out: list[TokenRow]
    held_out_rows: list[Row]


def read_data(spec: Spec, tokenizer: Any, reporter: Reporter) -> Data:
    """Raises UserError when nothing is left that could be trained on."""
    if not spec.train_files:
        raise UserError("no training data is named", where="train_files")
    found = read_rows([Path(file) for file in spec.train_files], strict=spec.strict)
    _say_bad_rows(found.bad_rows, reporter)
    train_rows: Sequence[Row] = found.rows
    held_out_rows: Sequence[Row] = ()
    if spec.eval_files:
        kept_apart = read_rows([Path(file) for file in spec.eval_files], strict=spec.strict)
        _say_bad_rows(kept_apart.bad_rows, reporter)
        held_out_rows = kept_apart.rows
    elif spec.eval_split:
        train_rows, held_out_rows = split_rows(found.rows, spec.eval_split, spec.seed)
    train = _tokenise(train_rows, spec, tokenizer, reporter)
    if not train:
        raise UserError(
            "no row has a token to train on",
            where=spec.train_files[0],
            hint="raise max_length, or look at the rows with `finetune-tui data`",
        )
    held_out = _tokenise(held_out_rows, spec, tokenizer, reporter)
    return Data(train, held_out, list(held_out_rows))


def spare_memory() -> int:
    """Bytes that rows and templates may take: data may be large, and the machine must go on."""
    available = read_hardware().memory_available
    return MOST_MEMORY if available is None else max(MOST_MEMORY, available * 9 // 10)


def _tokenise(
    rows: Sequence[Row], spec: Spec, tokenizer: Any, reporter: Reporter
) -> list[TokenRow]:
    """The rows that have something to train; the others are named. With `strict` they are an error."""
    tokenised: list[TokenRow] = []
    unusable: list[BadRow] = []
    next_word = time.monotonic()
    for done, row in enumerate(rows):
        if time.monotonic() >= next_word:
            next_word = time.monotonic() + 1
            reporter.phase("tokenising", done, len(rows))
            reporter.check()
        try:
            tokens = token_row(row, tokenizer, spec.max_length, spec.completion_only_loss)
            if not tokens.trained:
                raise UserError("no trained tokens", where=f"{row.path}:{row.line}")
        except UserError as error:
            if spec.strict:
                raise
            unusable.append(BadRow(row.path, row.line, error.message))
        else:
            tokenised.append(tokens)
    _say_bad_rows(unusable, reporter)
    cut = sum(row.cut > 0 for row in tokenised)
    if cut:
        longest = spec.max_length
        message = f"{cut} of {len(rows)} rows are longer than max_length {longest} and were cut"
        reporter.event("warning", message=message, where="max_length")
    return tokenised


def _say_bad_rows(bad_rows: Sequence[BadRow], reporter: Reporter, most: int = 20) -> None:
    for bad in bad_rows[:most]:
        reporter.event("warning", message=f"skipped: {bad.error}", where=f"{bad.path}:{bad.line}")
    if len(bad_rows) > most:
        message = f"{len(bad_rows) - most} more bad rows skipped"
        reporter.event("warning", message=message, where=None)


class TokenRows(Dataset):
    """Token rows as Trainer takes them."""

    def __init__(self, rows: Sequence[TokenRow]) -> None:
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> dict[str, list[int]]:
        row = self._rows[index]
        return {"input_ids": row.ids, "labels": row.labels}


class Padding:
    """Pads a batch on the right to its longest row. Returns int64 tensors of shape (rows, longest).

    Which token fills the gap is nobody's business: it is masked from attention and from the loss.
    """

    def __call__(self, rows: Sequence[dict[str, list[int]]]) -> dict[str, torch.Tensor]:
        longest = max(len(row["input_ids"]) for row in rows)
        return {
            "input_ids": torch.tensor([_pad(row["input_ids"], longest, 0) for row in rows]),
            "labels": torch.tensor([_pad(row["labels"], longest, IGNORED) for row in rows]),
            "attention_mask": torch.tensor(
                [_pad([1] * len(row["input_ids"]), longest, 0) for row in rows]
            ),
        }


def _pad(values: list[int], length: int, filler: int) -> list[int]:
    return values + [filler] * (length - len(values))
