"""A file of training data larger than most memories, written in seconds."""

import random
from pathlib import Path

SIZE = 5 * 10**9
"""Bytes: about ten million rows of 500."""
_BLOCK = 1000  # rows that share a body, so that writing is a matter of the disk


def write_large(path: Path, size: int = SIZE) -> int:
    """Write rows of prompt and completion, each of about 500 bytes and no two equal; how many."""
    rng = random.Random(1)
    words = [f"w{rng.randrange(10**6)}" for _ in range(5000)]
    number = 0
    with path.open("wb", buffering=2**22) as file:
        while file.tell() < size:
            body = (" ".join(rng.choices(words, k=60)))[:410]
            lines = (
                f'{{"prompt": "question {number + n} {body[:24]}", "completion": "{body}"}}\n'
                for n in range(_BLOCK)
            )
            file.write("".join(lines).encode())
            number += _BLOCK
    return number
