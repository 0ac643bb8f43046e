"""Words and numbers for people, and the wall between foreign text and the terminal."""

import difflib
import re
from collections.abc import Iterable

# A terminal acts on these instead of showing them: C0 and C1 controls, and the Unicode marks that
# reorder or hide what follows (bidi overrides, isolates, zero-width and tag characters).
_ESCAPE_SEQUENCE = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?|\x1b[PX^_][^\x1b]*(?:\x1b\\)?|\x1b."
)
_HIDDEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\u00ad\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff"
    "\ud800-\udfff\U000e0000-\U000e007f]"
)
_LINE_BREAK = re.compile(r"\r\n|[\n\r\u2028\u2029\x85\x0b\x0c]")


def plain(text: str, limit: int | None = None) -> str:
    """One line that a terminal shows and never obeys; `limit` is its longest length in characters."""
    if limit is not None:
        text = text[: limit * 4]  # foreign text may be huge: look only at what can be shown
    if not text.isprintable():
        text = _shown(text)
    if limit is not None and len(text) > limit:
        return text[: max(limit - 1, 0)] + "…"
    return text


def _shown(text: str) -> str:
    text = _LINE_BREAK.sub("⏎", _ESCAPE_SEQUENCE.sub("", text)).replace("\t", " ")
    return _HIDDEN.sub("", text)


def plain_lines(text: str) -> str:
    """The same for text of several lines: line breaks stay, everything else that acts is gone."""
    return "\n".join(plain(line) for line in _LINE_BREAK.split(text.replace("\t", "    ")))


def visible(text: str) -> str:
    """Every character that would act, or not be seen, as a sign of its own: `␛[31m`, `‹200B›`. Line breaks
    stay; to show a text exactly as it is, where `plain` shows what it says.
    """
    return _HIDDEN.sub(_sign, text)


def _sign(found: re.Match[str]) -> str:
    code = ord(found.group())
    if found.group() == "\n":
        return "\n"
    if code < 0x20:
        return chr(0x2400 + code)
    return "␡" if code == 0x7F else f"‹{code:04X}›"


def nearest(word: str, candidates: Iterable[str]) -> str | None:
    """The candidate a person most likely meant, or None when nothing is close."""
    by_folded = {candidate.lower(): candidate for candidate in candidates}
    found = difflib.get_close_matches(word.lower()[:200], by_folded, n=1, cutoff=0.6)
    return by_folded[found[0]] if found else None


def did_you_mean(word: str, candidates: Iterable[str]) -> str | None:
    """`did you mean 'X'?` for a hint, or None."""
    found = nearest(word, candidates)
    return f"did you mean '{found}'?" if found else None


def count(number: float) -> str:
    """1234567 → '1.23M': at most four characters of digits, as the tables need."""
    for divisor, unit in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "K")):
        if abs(number) >= divisor * 0.9995:
            return _three_digits(number / divisor) + unit
    return f"{number:.0f}"


def size(number: float) -> str:
    """Bytes in powers of 1024, as GPU memory is counted: 9556302234 → '8.9G'."""
    for divisor, unit in ((2**40, "T"), (2**30, "G"), (2**20, "M"), (2**10, "K")):
        if abs(number) >= divisor * 0.9995:
            value = number / divisor
            return f"{value:.1f}{unit}" if abs(value) < 99.95 else f"{value:.0f}{unit}"
    return f"{number:.0f}B"


def duration(seconds: float) -> str:
    """'12s', '4m10', '2h51', '3d04h'."""
    whole = max(int(seconds), 0)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02}"
    if whole < 86400:
        return f"{whole // 3600}h{whole % 3600 // 60:02}"
    return f"{whole // 86400}d{whole % 86400 // 3600:02}h"


def percent(part: float, whole: float) -> str:
    """A share: '.43%' below one, '4.3%', '43%'; never rounded up to all or down to nothing."""
    if not whole or not part:
        return "0%"
    share = 100 * part / whole
    if 99.5 <= share < 100:
        return f"{min(share, 99.9):.1f}%"
    if 0 < share < 0.995:
        return f"{share:.2f}%".removeprefix("0")
    return f"{share:.1f}%" if share < 9.95 else f"{share:.0f}%"


def _three_digits(value: float) -> str:
    if abs(value) >= 99.95:
        return f"{value:.0f}"
    return f"{value:.1f}" if abs(value) >= 9.995 else f"{value:.2f}"
