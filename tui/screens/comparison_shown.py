"""What is shown of a run's comparisons: which of them, which of its sets, and which rows."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from finetune_tui.core.evidence.comparison import ComparedSet, Comparison, Verdict, Which
from finetune_tui.tui.screens.comparison_store import RowStore

_FIRST = Which.HELD_OUT.value


@dataclass(slots=True)
class Shown:
    """comparisons: the newest first; None until they were read. at: the one in front. tab: a set, or one of
    the others. hits: rows with the words that are looked for; None until they were found. error: why
    there are no rows.
    """

    comparisons: Sequence[Comparison] | None = None
    at: int = 0
    tab: str = _FIRST
    verdict: Verdict | None = None
    looked_for: str = ""
    hits: Sequence[int] | None = None
    error: str = ""
    stores: dict[tuple[str, Which], RowStore] = field(default_factory=dict)

    @property
    def comparison(self) -> Comparison | None:
        known = self.comparisons or ()
        return known[self.at] if self.at < len(known) else None

    @property
    def compared(self) -> ComparedSet | None:
        """The set of the tab in front; the held-out rows beside any other tab."""
        comparison = self.comparison
        if comparison is None:
            return None
        is_other = self.tab == Which.FORGETTING and comparison.forgetting is not None
        return comparison.forgetting if is_other else comparison.held_out

    @property
    def has_rows(self) -> bool:
        """Whether the tab in front is a list of rows."""
        return self.tab in {which.value for which in Which}

    @property
    def tabs(self) -> list[str]:
        sets = self.comparison.sets if self.comparison else ()
        return [*(one.which.value for one in sets), "fields", "about"]

    @property
    def store(self) -> RowStore | None:
        """Of the set in front, once its index was read."""
        comparison, compared = self.comparison, self.compared
        if comparison is None or compared is None:
            return None
        return self.stores.get((comparison.name, compared.which))

    @property
    def is_filtered(self) -> bool:
        return bool(self.looked_for) or self.verdict is not None

    def numbers(self) -> list[int]:
        """The rows to show, as verdict and words have it."""
        if self.store is None or (self.looked_for and self.hits is None):
            return []
        if self.hits is None:
            return self.store.index.only(self.verdict)
        verdicts = self.store.index.verdicts
        return [
            number
            for number in self.hits
            if self.verdict is None or verdicts[number] is self.verdict
        ]

    def show_all(self) -> None:
        """No verdict, no words."""
        self.verdict, self.looked_for, self.hits = None, "", None

    def choose(self, at: int) -> None:
        """Another comparison."""
        self.at, self.error = at, ""
        self.tab = self.tab if self.tab in self.tabs else _FIRST
        self.show_all()

    def choose_tab(self, name: str) -> None:
        self.tab, self.error = name, ""
        self.show_all()

    def first_tab(self) -> bool:
        """Whether it was another one."""
        before, self.tab = self.tab, _FIRST
        return before != _FIRST
