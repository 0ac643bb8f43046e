"""Rows with a cursor: only those in view are made and drawn, so that thousands cost nothing."""

from collections.abc import Callable

from textual.geometry import Region, Size

from finetune_tui.tui.widgets.lines import Line, Lines, difference, fit

_SIGNED = 2  # cells from the left edge in which the sign may stand

RowLine = Callable[[int, int], Line]
"""Makes the row of an index for a width in cells."""


class Rows(Lines):
    """A cursor over `count` rows; whoever shows them says what each says."""

    def __init__(self, row: RowLine, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.count = 0
        self.cursor = 0
        self._row = row
        self._drawn: dict[int, Line] = {}

    @property
    def in_view(self) -> range:
        top = self.scroll_offset.y
        return range(min(top, self.count), min(top + self.size.height, self.count))

    def show(self, count: int, cursor: int | None = None) -> None:
        """There are so many rows now; the cursor is where it was, or on that one."""
        self.count = count
        self.point(self.cursor if cursor is None else cursor)

    def point(self, index: int) -> None:
        """Put the cursor on the row nearest to `index`, and show it."""
        self.cursor = min(max(index, 0), max(self.count - 1, 0))
        self._follow_count()
        self.reveal(self.cursor)
        self.update()

    def remake(self) -> None:
        """Only the rows in view are made."""
        self._follow_count()
        top = self.scroll_offset.y
        regions, drawn = [], {}
        for row in range(self.size.height):
            now = drawn[top + row] = self.line_at(top + row)
            changed = difference(self._drawn.get(top + row, ()), now)
            if changed:
                regions.append(Region(changed[0], row, changed[1] - changed[0], 1))
        self._drawn = drawn
        if regions:
            self.refresh(*regions)

    def line_at(self, index: int) -> Line:
        if not 0 <= index < self.count:
            return ()
        shown = fit(self._row(index, self.size.width), self.size.width)
        if index != self.cursor:
            return shown
        return tuple(span._replace(style="cursor") for span in _pointed_at(shown))

    def _follow_count(self) -> None:
        wanted = Size(self.size.width, self.count)
        if self.virtual_size != wanted:
            self.virtual_size = wanted


def _pointed_at(row: Line) -> Line:
    """With a sign where it begins blank, so that the cursor is seen without colours, too."""
    seen = 0
    for index, span in enumerate(row):
        at = span.text[: max(_SIGNED - seen, 0)].find(" ")
        if at >= 0:
            signed = span._replace(text=f"{span.text[:at]}▌{span.text[at + 1 :]}")
            return (*row[:index], signed, *row[index + 1 :])
        seen += len(span.text)
    return row
