"""ROUGE-L of two texts: how much of one stands in the other, in the same order.

Lin (2004), "ROUGE: A Package for Automatic Evaluation of Summaries", section 3.1, with beta = 1: with L the
length of the longest common subsequence of words, precision L / words of the answer, recall L / words of the
expected text, and their harmonic mean. A word is a run of letters and digits of any script, small
letters, no stemming; where a script writes no spaces (Chinese, Japanese, Thai…), every sign is a word.
"""

import re
from collections.abc import Sequence

MOST_WORDS = 20_000
"""Words of a text that are looked at; beyond it the rest is left out, so that no answer costs minutes."""
_MOST_CHARACTERS = 20 * MOST_WORDS

_WORD = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
    "\U00020000-\U0003ffff]|(?:[^\\W_](?<![\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff"
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]))+"
)


def rouge_l(expected: str, answer: str) -> float:
    """From 0 to 1. Two texts without a word are alike when they are equal."""
    wanted, said = words(expected), words(answer)
    if not wanted and not said:
        return float(expected.strip() == answer.strip())
    # 2PR / (P + R) with P = L / said and R = L / wanted.
    return 2 * longest_common(wanted, said) / (len(wanted) + len(said))


def words(text: str) -> list[str]:
    """The first MOST_WORDS words, in small letters."""
    return _WORD.findall(text[:_MOST_CHARACTERS].lower())[:MOST_WORDS]


def longest_common(a: Sequence[str], b: Sequence[str]) -> int:
    """The length of the longest common subsequence.

    One bit for each word of `a` (Crochemore and others, 2001): a row of the usual table is one addition of
    whole numbers, so that 20 000 words against as many take a fifth of a second.
    """
    places: dict[str, int] = {}
    for number, word in enumerate(a):
        places[word] = places.get(word, 0) | 1 << number
    every = (1 << len(a)) - 1
    row = every
    for word in b:
        if matches := places.get(word, 0) & row:
            row = (row + matches | row & ~matches) & every
    return len(a) - row.bit_count()
