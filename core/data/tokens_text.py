"""Text to token ids: whole pieces at once, exact at the borders of what trains, and never forged.

What people wrote may contain the text of a special token. Such text is marked before a template sees it
(`inert`), and `encode` turns it into ordinary tokens, so that no row can end a turn or open another.
"""

import json
import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

# Around the number of a name that shall stay text. Itself it is marked like a name.
_MARK = "\U0010fffd"
_FIRST_NUMBER = 0xE000  # the private characters of Unicode's first plane: 6400 of them
_MARKED = re.compile(f"{_MARK}([\ue000-\uf8ff]){_MARK}")


def special_tokens(tokenizer: Any) -> tuple[str, ...]:
    """The texts that the tokenizer reads as control tokens, the longest first."""
    return _special(tokenizer, len(tokenizer))


def template_tokens(tokenizer: Any) -> tuple[str, ...]:
    """Special tokens, and the added ones that the chat template writes (some models call none special)."""
    template = tokenizer.chat_template if isinstance(tokenizer.chat_template, str) else ""
    return _in_template(tokenizer, len(tokenizer), template)


def end_ids(tokenizer: Any) -> frozenset[int]:
    """The tokens at which generation stops: the tokenizer's end, and those of generation_config.json."""
    ends = {tokenizer.eos_token_id}
    try:
        path = Path(tokenizer.name_or_path) / "generation_config.json"
        named = json.loads(path.read_bytes()).get("eos_token_id")
    except (OSError, ValueError, TypeError, AttributeError):
        named = None
    more = named if isinstance(named, list) else [named]
    return frozenset(ends | {token for token in more if type(token) is int})


def end_tokens(tokenizer: Any) -> tuple[str, ...]:
    """What may stand at the end of a turn: special tokens, and those at which generation stops."""
    return _ends(tokenizer, len(tokenizer))


def inert(text: str, names: tuple[str, ...], known: tuple[str, ...] | None = None) -> str:
    """`text` with every name in it marked as text. known: the names that `encode` will be given."""
    pattern = _pattern(names)
    if not pattern.search(text):
        return text
    numbers = _numbers(known or names)
    return pattern.sub(lambda found: f"{_MARK}{numbers[found.group()]}{_MARK}", text)


def encode(
    text: str, cuts: Sequence[int], tokenizer: Any, names: tuple[str, ...]
) -> tuple[list[int], list[int]]:
    """Token ids, and for each where it begins in `text`. No token reaches over a cut.

    text: maybe marked. cuts: places in it. names: those `inert` knew. Only where a token would lie
    across a cut is the text taken in two: at the border of prompt and answer generation begins anew too.
    """
    ids: list[int] = []
    begins: list[int] = []
    for begin, piece, is_text in _pieces(text, names):
        if is_text:
            found = _ordinary(piece, tokenizer, begin == 0)
            starts = [begin] * len(found)
        else:
            inside = [cut - begin for cut in cuts if begin < cut < begin + len(piece)]
            found, starts = _encoded(piece, inside, tokenizer, is_first=begin == 0)
            starts = [begin + start for start in starts]
        ids += found
        begins += starts
    return ids, begins


@lru_cache(maxsize=8)
def beginning_ids(tokenizer: Any) -> tuple[int, ...]:
    """What the tokenizer writes before a text, usually one token or none."""
    around = tokenizer("", add_special_tokens=True)["input_ids"]
    # Some tokenizers end every text too; the end is added where it belongs, once.
    if around and around[-1] == tokenizer.eos_token_id != tokenizer.bos_token_id:
        around = around[:-1]
    return tuple(around)


def _pieces(text: str, names: tuple[str, ...]) -> Iterator[tuple[int, str, bool]]:
    """(place, piece, whether it is a name that stays text)."""
    place = 0
    for found in _MARKED.finditer(text):
        if found.start() > place:
            yield place, text[place : found.start()], False
        yield found.start(), _name(found.group(1), names), True
        place = found.end()
    if place < len(text):
        yield place, text[place:], False


def _encoded(
    text: str, cuts: list[int], tokenizer: Any, is_first: bool
) -> tuple[list[int], list[int]]:
    ids, spans = _tokens(text, tokenizer, is_first)
    across = [cut for cut in cuts if any(begin < cut < end for begin, end in _near(spans, cut))]
    if not across:
        return ids, [begin for begin, _ in spans]
    ids, begins, place = [], [], 0
    for cut in sorted({*across, len(text)}):
        found, spans = _tokens(text[place:cut], tokenizer, is_first and place == 0)
        ids += found
        begins += [place + begin for begin, _ in spans]
        place = cut
    return ids, begins


def _near(spans: Sequence[tuple[int, int]], cut: int) -> Iterator[tuple[int, int]]:
    """Spans that might lie across a cut: they are in order, so few must be looked at."""
    low, high = 0, len(spans)
    while low < high:
        middle = (low + high) // 2
        if spans[middle][1] <= cut:
            low = middle + 1
        else:
            high = middle
    yield from spans[low : low + 1]


def _tokens(
    text: str, tokenizer: Any, is_first: bool, is_text: bool = False
) -> tuple[list[int], list[tuple[int, int]]]:
    """Ids and their places. Some tokenizers put a space before what they take for the first word: a
    piece from the middle of a text is encoded behind a line break, which is then taken away."""
    if is_first:
        return _called(text, tokenizer, is_text)
    ids, spans = _called("\n" + text, tokenizer, is_text)
    behind = next((index for index, (begin, _) in enumerate(spans) if begin >= 1), len(spans))
    if behind and spans[behind - 1][1] > 1:  # one token holds the line break and more
        return _called(text, tokenizer, is_text)
    return ids[behind:], [(begin - 1, end - 1) for begin, end in spans[behind:]]


def _called(text: str, tokenizer: Any, is_text: bool) -> tuple[list[int], list[tuple[int, int]]]:
    """is_text: special tokens in it are not meant."""
    if not tokenizer.is_fast:
        ids = tokenizer(text, add_special_tokens=False, split_special_tokens=is_text)["input_ids"]
        return ids, [(0, len(text))] * len(ids)
    encoding = tokenizer(
        text,
        add_special_tokens=False,
        return_offsets_mapping=True,
        split_special_tokens=is_text,
    )
    return encoding["input_ids"], encoding["offset_mapping"]


def _ordinary(name: str, tokenizer: Any, is_first: bool) -> list[int]:
    """The text of a special token in ordinary tokens."""
    ids, _ = _tokens(name, tokenizer, is_first, is_text=True)
    if tokenizer.convert_tokens_to_ids(name) not in ids:
        return ids
    # An added token that is not called special is found all the same, unless it is never whole.
    start, _ = _tokens(name[:1], tokenizer, is_first, is_text=True)
    rest, _ = _tokens(name[1:], tokenizer, False, is_text=True)
    return [*start, *rest]


@lru_cache(maxsize=8)
def _special(tokenizer: Any, _size: int) -> tuple[str, ...]:
    added = tokenizer.added_tokens_decoder.values()
    names = {token.content for token in added if token.special} | set(tokenizer.all_special_tokens)
    return _longest_first(names)


@lru_cache(maxsize=8)
def _in_template(tokenizer: Any, size: int, template: str) -> tuple[str, ...]:
    added = {token.content for token in tokenizer.added_tokens_decoder.values()}
    return _longest_first({*_special(tokenizer, size), *(n for n in added if n in template)})


@lru_cache(maxsize=8)
def _ends(tokenizer: Any, size: int) -> tuple[str, ...]:
    named = tokenizer.convert_ids_to_tokens(sorted(end_ids(tokenizer)))
    return _longest_first({*_special(tokenizer, size), *(name for name in named if name)})


def _longest_first(names: set[str]) -> tuple[str, ...]:
    return tuple(sorted(names - {""}, key=lambda name: (-len(name), name)))


@lru_cache(maxsize=32)
def _pattern(names: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile("|".join(re.escape(name) for name in (*names, _MARK)))


@lru_cache(maxsize=32)
def _numbers(names: tuple[str, ...]) -> dict[str, str]:
    return {name: chr(_FIRST_NUMBER + number) for number, name in enumerate((*names, _MARK))}


def _name(number: str, names: tuple[str, ...]) -> str:
    return (*names, _MARK)[ord(number) - _FIRST_NUMBER]
