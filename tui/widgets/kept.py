"""Lines that cost a few milliseconds, made again only when what they show is another."""

from collections.abc import Callable, Iterable

from finetune_tui.tui.widgets.lines import Line


class Kept:
    """Of each name the lines made last, and of what."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[object, tuple[Line, ...]]] = {}

    def lines(
        self, name: str, of: tuple[object, ...], make: Callable[[], Iterable[Line]]
    ) -> tuple[Line, ...]:
        """of: all that they depend on; as long as it is equal, they are the very same object."""
        known = self._known.get(name)
        if known is None or known[0] != of:
            known = self._known[name] = of, tuple(make())
        return known[1]
