"""How many rows repeat an earlier one, in bounded memory."""

import hashlib
from collections.abc import Iterable

MOST = 200_000
"""Different rows that are remembered: about 30 MB."""
_ALL = 2**64


def count_duplicates(contents: Iterable[bytes], most: int | None = None) -> tuple[int, bool]:
    """(how many repeat an earlier one, whether that is exact).

    When there are more different contents than can be remembered, only a share of them is followed, told
    by a hash, so that of those every repetition is seen; the count is then scaled up.
    """
    most = MOST if most is None else most
    bound = _ALL  # contents whose hash is below are followed
    repeats: dict[int, int] = {}
    for content in contents:
        rank = int.from_bytes(hashlib.blake2b(content, digest_size=8).digest())
        if rank < bound:
            repeats[rank] = repeats.get(rank, -1) + 1
            while len(repeats) > most:
                bound //= 2
                repeats = {rank: number for rank, number in repeats.items() if rank < bound}
    return round(sum(repeats.values()) * (_ALL / bound)), bound == _ALL
