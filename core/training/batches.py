"""Rows as tensors: a batch of sequences, each of one row or of several packed together."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from finetune_tui.core.data.tokens import IGNORED


class Example(NamedTuple):
    """A row as tokens. ids: int32, trains: uint8 (1: the model learns to write it); where: "file:line"."""

    ids: Any
    trains: Any
    where: str


class Collator:
    """Sequences of rows → a batch, padded on the right to the longest sequence.

    input_ids and labels are int64 of shape (sequences, tokens). position_ids, which begin again at every
    row and at the padding, are there when any sequence holds several rows. There is no attention mask: no
    token sees what stands to its right, and with a mask packed rows would see each other. rows: where
    each comes from. tokens: how many are no padding.
    """

    def __call__(self, sequences: Sequence[Sequence[Example]]) -> dict[str, Any]:
        lengths = [sum(len(row.ids) for row in sequence) for sequence in sequences]
        shape = len(sequences), max(lengths)
        ids = np.zeros(shape, dtype=np.int64)
        labels = np.full(shape, IGNORED, dtype=np.int64)
        for number, sequence in enumerate(sequences):
            begin = 0
            for row in sequence:
                end = begin + len(row.ids)
                ids[number, begin:end] = row.ids
                labels[number, begin:end] = np.where(row.trains, row.ids, IGNORED)
                labels[number, begin] = IGNORED  # nothing stands before it that could tell it
                begin = end
        batch: dict[str, Any] = {
            "input_ids": torch.from_numpy(ids),
            "labels": torch.from_numpy(labels),
        }
        if any(len(sequence) > 1 for sequence in sequences):
            batch["position_ids"] = torch.from_numpy(_positions(sequences, shape))
        batch["rows"] = [row.where for sequence in sequences for row in sequence]
        batch["tokens"] = sum(lengths)
        return batch


def _positions(sequences: Sequence[Sequence[Example]], shape: tuple[int, int]) -> Any:
    counted = np.arange(shape[1])
    positions = np.empty(shape, dtype=np.int64)
    for number, sequence in enumerate(sequences):
        begin = 0
        for row in sequence:
            end = begin + len(row.ids)
            positions[number, begin:end] = counted[: end - begin]
            begin = end
        positions[number, begin:] = counted[: shape[1] - begin]
    return positions
