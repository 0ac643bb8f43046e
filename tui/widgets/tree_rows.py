"""The visible rows: what is open, where the cursor is, what is marked. Nothing here knows Textual."""

import time
from collections.abc import Iterator

from finetune_tui.core.tuning.modes import Mode
from finetune_tui.tui.widgets.tree_figures import Figures
from finetune_tui.tui.widgets.tree_find import find_places
from finetune_tui.tui.widgets.tree_shape import Place, Row, TreeShape


class Rows:
    """The rows that are visible, the cursor among them, and a marked range."""

    def __init__(self, shape: TreeShape) -> None:
        self.shape = shape
        self.open: set[str] = set()
        self.rows: list[Row] = shape.top()
        self.cursor = 0
        self.anchor: int | None = None
        self.picked: tuple[Row, ...] = ()
        runs = [row for row in self.rows if row.kind == "run"]
        for row in runs[:1]:
            self.unfold(self.rows.index(row))
            for below in shape.below(row):
                if below.opens and below.kind == "module":
                    self.unfold(self.rows.index(below))

    @property
    def row(self) -> Row:
        return self.rows[self.cursor]

    # Moving

    def move(self, by: int) -> None:
        self.go(self.cursor + by)

    def go(self, to: int) -> None:
        """To this row, or to the nearest end."""
        self.cursor = min(max(to, 0), len(self.rows) - 1)

    def parent(self, index: int) -> int | None:
        depth = self.rows[index].depth
        above = (at for at in range(index - 1, -1, -1) if self.rows[at].depth < depth)
        return next(above, None)

    # Folding

    def unfold(self, index: int) -> None:
        row = self.rows[index]
        if row.opens and row.key not in self.open:
            self.open.add(row.key)
            opened = list(self._opened(row))
            self.rows[index + 1 : index + 1] = opened
            self._shift(index, len(opened))

    def fold(self, index: int) -> None:
        row = self.rows[index]
        if row.key in self.open:
            self.open.discard(row.key)
            end = index + 1
            while end < len(self.rows) and self.rows[end].depth > row.depth:
                end += 1
            del self.rows[index + 1 : end]
            self._shift(index, index + 1 - end)

    def toggle_fold(self, index: int) -> None:
        if self.rows[index].key in self.open:
            self.fold(index)
        else:
            self.unfold(index)

    def inward(self) -> None:
        """Open the row; when it is open, go to what stands first under it."""
        if self.row.key in self.open:
            self.move(1)
        else:
            self.unfold(self.cursor)

    def outward(self) -> None:
        """Fold the row; when it is folded, go to the one it stands under."""
        if self.row.key in self.open:
            self.fold(self.cursor)
        else:
            above = self.parent(self.cursor)
            if above is not None:
                self.go(above)

    def unfold_below(self, key: str, seconds: float) -> bool:
        """Open everything under the row with this key, for so long; whether that was all.

        Blocks are opened one by one only below a row that lists them so.
        """
        until = time.perf_counter() + seconds
        start = next((at for at, row in enumerate(self.rows) if row.key == key), None)
        if start is None:  # folded away meanwhile
            return True
        depth, is_inside = self.rows[start].depth, False
        index = start
        while index < len(self.rows) and (not is_inside or self.rows[index].depth > depth):
            row = self.rows[index]
            if row.opens and row.key not in self.open and (row.kind != "singles" or not is_inside):
                self.unfold(index)
                if time.perf_counter() > until:
                    return False
            is_inside = True
            index += 1
        return True

    def fold_all(self) -> None:
        """Only the outermost rows; the cursor goes to the one it was under."""
        while self.parent(self.cursor) is not None:
            self.cursor = self.parent(self.cursor) or 0
        for index in range(len(self.rows) - 1, -1, -1):
            if self.rows[index].depth == 0:
                self.fold(index)
        self.open.clear()

    # What is marked

    def mark(self) -> None:
        """Start a range at the cursor, or drop the one there is."""
        self.anchor = self.cursor if self.anchor is None else None
        self.picked = ()

    def pick(self, places: list[Place]) -> None:
        """Mark these rows instead of a range, whether or not they are in view."""
        self.anchor = None
        self.picked = tuple(place.row for place in places)

    def unmark(self) -> None:
        self.anchor = None
        self.picked = ()

    @property
    def is_marking(self) -> bool:
        return self.anchor is not None or bool(self.picked)

    @property
    def span(self) -> range:
        """Indices of the marked range; just the cursor's when nothing is marked."""
        if self.anchor is None:
            return range(self.cursor, self.cursor + 1)
        first, last = sorted((self.anchor, self.cursor))
        return range(first, last + 1)

    def marked(self) -> list[Row]:
        return list(self.picked) or [self.rows[index] for index in self.span]

    def is_marked(self, index: int) -> bool:
        if self.picked:
            return self.rows[index] in self.picked
        return self.anchor is not None and index in self.span

    def marked_targets(self, mode: Mode = Mode.LORA) -> tuple[str, ...]:
        """What setting this mode acts on, each module once."""
        rows = self.marked()
        if len(rows) == 1:
            return self.shape.targets(rows[0], mode)
        names = (name for row in rows for name in self.shape.targets(row, mode))
        return tuple(dict.fromkeys(names))

    def marked_modules(self) -> tuple[str, ...]:
        """Everything marked that has parameters of its own, each once."""
        strands = (strand for row in self.marked() for strand in self.shape.strands(row))
        return tuple(dict.fromkeys(name for strand in strands for name in strand.names))

    # Finding

    def reveal(self, above: tuple[Row, ...], row: Row) -> None:
        """Open everything above the row and put the cursor on it."""
        for parent in above:
            self.unfold(self._index(parent.key))
        self.go(self._index(row.key))

    def find(self, words: str, step: int = 1, figures: Figures | None = None) -> int:
        """Go to the next match (step 1), the one before (-1), or stay on one (0). How many there are."""
        found = find_places(self.shape, words, figures)
        if not found:
            return 0
        order = self.shape.order
        here = order[self.row.key]
        places = [order[place.row.key] for place in found]
        if step < 0:
            before = [number for number, place in enumerate(places) if place < here]
            chosen = before[-1] if before else len(found) - 1
        else:
            first = here + step
            chosen = next((number for number, place in enumerate(places) if place >= first), 0)
        self.reveal(found[chosen].above, found[chosen].row)
        return len(found)

    def _index(self, key: str) -> int:
        return next(index for index, row in enumerate(self.rows) if row.key == key)

    def _opened(self, row: Row) -> Iterator[Row]:
        for below in self.shape.below(row):
            yield below
            if below.key in self.open:
                yield from self._opened(below)

    def _shift(self, index: int, by: int) -> None:
        """Keep cursor and anchor on their rows when rows after `index` come or go."""
        if self.cursor > index:
            self.cursor = max(self.cursor + by, index)
        if self.anchor is not None and self.anchor > index:
            self.anchor = max(self.anchor + by, index)
