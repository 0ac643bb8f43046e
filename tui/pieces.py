"""Texts in pieces of which some train: what the Data place and the command line mark."""

from collections.abc import Iterator, Sequence

Piece = tuple[str, bool]
"""A text, and whether it trains."""


def merged(tokens: Sequence[Piece]) -> Iterator[Piece]:
    """Neighbours that are alike, as one."""
    text, trained = "", False
    for token, trains in tokens:
        if token and trains != trained and text:
            yield text, trained
            text = ""
        text, trained = text + token, trains if token else trained
    if text:
        yield text, trained
