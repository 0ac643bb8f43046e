"""Which models of the catalog are listed: what fits here, licence, base or instruct, size, words."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from finetune_tui.core.models.catalog import CatalogEntry
from finetune_tui.core.text import plain
from finetune_tui.tui.widgets.lines import Line, Span, dim, line

_B = 10**9
SIZES = {
    "below 1B": range(_B),
    "1–3B": range(_B, 3 * _B),
    "3–5B": range(3 * _B, 5 * _B),
    "from 5B": range(5 * _B, 10**6 * _B),
}
_KINDS = ("base", "instruct")
_KEYS = {"fits": "m", "kind": "b", "size": "z", "licence": "i"}


@dataclass(frozen=True, slots=True)
class Filters:
    """None: any. words: all of them in the name, in any order."""

    fits: bool = False
    kind: str | None = None
    size: str | None = None
    licence: str | None = None
    words: str = ""

    @property
    def are_set(self) -> bool:
        return self != Filters()

    def cycled(self, name: str, entries: Sequence[CatalogEntry]) -> "Filters":
        """The next value of one filter; after the last, any."""
        if name == "fits":
            return replace(self, fits=not self.fits)
        if name == "kind":
            return replace(self, kind=_next(_KINDS, self.kind))
        if name == "size":
            return replace(self, size=_next(tuple(SIZES), self.size))
        licences = tuple(sorted({licence_family(entry) for entry in entries}))
        return replace(self, licence=_next(licences, self.licence))

    def keep(self, entry: CatalogEntry, fits: Callable[[CatalogEntry], bool | None]) -> bool:
        """fits: whether a model trains here; only a plain no puts one out."""
        name = f"{entry.id} {entry.title}".lower()
        return (
            (self.kind is None or entry.kind == self.kind)
            and (self.size is None or entry.parameters in SIZES[self.size])
            and (self.licence is None or licence_family(entry) == self.licence)
            and all(word in name for word in self.words.lower().split())
            and (not self.fits or fits(entry) is not False)
        )


def licence_family(entry: CatalogEntry) -> str:
    """'Llama 3.1 Community' → 'Llama': what a person asks for."""
    return plain(entry.licence.partition(" ")[0], 12)


def filter_line(filters: Filters) -> Line:
    """`m fits  b base/instruct  z size  i licence  / name`: what is set stands in brackets."""
    spans: list[Span] = []
    for name, unset in (
        ("fits", "fits here"),
        ("kind", "base/instruct"),
        ("size", "size"),
        ("licence", "licence"),
    ):
        value = getattr(filters, name)
        words = f"[{value if isinstance(value, str) else unset}]" if value else unset
        click = f"filter({name})"
        spans.append(Span(f" {_KEYS[name]} ", "key", click))
        spans.append(Span(f"{words} ", "accent" if value else "dim", click))
    words = f"[{plain(filters.words, 20)}]" if filters.words else "name"
    spans.append(Span(" / ", "key", "filter(words)"))
    spans.append(Span(words, "accent" if filters.words else "dim", "filter(words)"))
    return line(*spans, dim("  esc all") if filters.are_set else "")


def _next(values: tuple[str, ...], now: str | None) -> str | None:
    at = values.index(now) + 1 if now in values else 0
    return values[at] if at < len(values) else None
