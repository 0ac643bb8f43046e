"""Rows of random tokens, as the collator takes them."""

import numpy as np

from finetune_tui.core.training.batches import Example


def examples(*lengths: int, seed: int = 1) -> list[Example]:
    """Rows of these lengths, about half of whose tokens train."""
    numbers = np.random.default_rng(seed)
    return [
        Example(
            numbers.integers(3, 700, length).astype(np.int32),
            (numbers.random(length) < 0.5).astype(np.uint8),
            f"rows.jsonl:{line}",
        )
        for line, length in enumerate(lengths, 1)
    ]
