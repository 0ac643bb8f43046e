"""The module tree on the screen: aligned columns, one line a row, drawn only where it is seen."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import zip_longest
from typing import ClassVar

from rich.segment import Segment
from textual import events
from textual.geometry import Region, Size
from textual.message import Message
from textual.strip import Strip

from finetune_tui.core.models.manifest import Module
from finetune_tui.core.models.roles import Role
from finetune_tui.core.text import count, plain
from finetune_tui.tui.widgets.lines import Line, Lines, Span, dim, fit, line
from finetune_tui.tui.widgets.status import NARROW
from finetune_tui.tui.widgets.tree_figures import Figures, ModeWord
from finetune_tui.tui.widgets.tree_rows import Rows
from finetune_tui.tui.widgets.tree_shape import Row

WIDE = 66  # from here on ROLE, RANK and SHAPE fit

_SHORT_ROLES = {Role.ATTENTION_OUTPUT: "attn out"}
_SHORTEST_NAME, _LONGEST_NAME = 12, 48


@dataclass(frozen=True, slots=True)
class Columns:
    """Where things stand in a row of this width: cells from the left."""

    name: int
    wide: bool
    art: bool

    @property
    def mode_at(self) -> int:
        """First cell of the MODE column."""
        return self.name + (8 if self.wide else 7)

    @property
    def mode_ends(self) -> int:
        return self.mode_at + (5 if self.wide else 7)


def columns_for(width: int, art: bool = True) -> Columns:
    """art: with fold marks and full indent; without where the terminal is one column narrow."""
    wide = width >= WIDE
    name = min(max(width - (49 if wide else 20), _SHORTEST_NAME), _LONGEST_NAME)
    return Columns(name, wide, art)


def header(columns: Columns) -> Line:
    """The names of the columns."""
    words = " MODULE".ljust(columns.name)
    if columns.wide:
        words += f"{'PARAMS':>7} {'MODE':<5}{'RANK':>4}{'+TRAIN':>8}  {'ROLE':<10} {'SHAPE':<11}"
    else:
        words += f"{'PARAMS':>6} {'MODE':<7}{'+TRAIN':>6}"
    return line(Span(words, "dim"))


def row_line(row: Row, rows: Rows, figures: Figures, columns: Columns, found: str = "") -> Line:
    """One row without its first cell, which belongs to the cursor. found: text to point out."""
    mode, trained = figures.mode(row), figures.trained(row)
    owner = rows.shape.alias_of(row)
    params = "tied" if owner else count(figures.parameters(row))
    train = count(trained) if trained else ""
    name = _name(row, rows, columns, found)
    if not columns.wide:
        style = _mode_style(mode)
        return line(
            *name,
            Span(" " if owner else f"{params:>6} ", "dim"),
            Span(f"{mode.short:<7}", style),
            Span(f"{train:>6}"),
        )
    module = rows.shape.module(row)
    word, rank = (mode.short, "") if mode.rank is None else (mode.mode.value, str(mode.rank))
    if mode.short == "lora~":
        word, rank = "lora", "~"
    return line(
        *name,
        Span(f"{params:>7} ", "dim"),
        Span(f"{word:<5}{rank:>4}", _mode_style(mode)),
        Span(f"{train:>8}  "),
        Span(_role_and_shape(row, rows, module), "dim"),
    )


def _name(row: Row, rows: Rows, columns: Columns, found: str) -> list[Span]:
    mark = ("▾" if row.key in rows.open else "▸") if row.opens else " "
    indent = " " * (row.depth * (2 if columns.art else 1))
    room = columns.name - 1
    owner = rows.shape.alias_of(row)
    label = row.label
    if owner and not columns.wide:  # over the column of counts, which a shared matrix leaves empty
        room += 6
        label = f"{label} = {owner.rpartition('.')[2]}"
    text = fit(line(f"{indent}{mark}", plain(label)), room)
    if not found or found not in row.label.lower():
        return list(text)
    start = len(indent) + 1 + row.label.lower().index(found)
    whole = "".join(span.text for span in text)
    end = start + len(found)
    return [Span(whole[:start]), Span(whole[start:end], "under"), Span(whole[end:])]


def _mode_style(mode: ModeWord) -> str:
    if mode.mixed:
        return "warn"
    return "dim" if mode.short == "·" else "good"


def _role_and_shape(row: Row, rows: Rows, module: Module) -> str:
    owner = rows.shape.alias_of(row)
    if owner:
        return f"= {plain(owner.rpartition('.')[2])}".ljust(22)
    return f"{_role(row, module, rows.shape.manifest.guessed):<10} {_shape(row, module):<11}"


def _role(row: Row, module: Module, guessed: bool) -> str:
    """A role that comes from the structure alone carries a question mark."""
    if row.kind == "group" and row.label == "norms":
        return Role.NORM.value
    if row.kind == "group":
        return "key, value"
    if module.role is None:
        return "packed" if module.is_packed else ""
    words = _SHORT_ROLES.get(module.role, module.role.value)
    return f"{words}?" if guessed else words


def _shape(row: Row, module: Module) -> str:
    if module.features:
        return f"{module.features[0]}→{module.features[1]}"
    if module.shape:
        return "×".join(map(str, module.shape))
    return f"×{len(row.names)}" if len(row.names) > 1 else ""


_NOTHING = "no model open: 1 chooses one"


class ModuleTree(Lines, can_focus=True):
    """Rows under a fixed header. The place moves and changes; this draws and tells of the mouse.

    entry: while set, it is given every key first and says whether it took it (a mode being typed). found:
    what is looked for, pointed out in the names.
    """

    DEFAULT_CSS = """
    ModuleTree { overflow-y: auto; }
    ModuleTree .tree--cursor { background: $cursor; text-style: $cursor-style; }
    ModuleTree .tree--marked { background: $mark; text-style: $mark-style; }
    """
    COMPONENT_CLASSES: ClassVar[set[str]] = {"tree--cursor", "tree--marked"}

    class Pressed(Message):
        """A row was clicked; part: `fold`, `mode` or `row`. extends: with shift or ctrl held."""

        def __init__(self, index: int, part: str, extends: bool) -> None:
            super().__init__()
            self.index = index
            self.part = part
            self.extends = extends

    def __init__(self, id: str | None = None) -> None:
        super().__init__(id=id)
        self.can_focus = True
        self.rows: Rows | None = None
        self.found = ""
        self.entry: Callable[[str], bool] | None = None
        self._figures: Figures | None = None
        self._shown: list[tuple[Line, str]] = []
        self._seen: tuple[int, int, int] | None = None  # cursor, rows and height when last shown

    def show(self, rows: Rows | None, figures: Figures | None) -> None:
        """Draw these rows with these figures; a cursor that moved is scrolled into view.

        Only lines that changed are sent to the terminal: a key then costs two lines, not the tree.
        """
        self.rows, self._figures = rows, figures
        self.virtual_size = Size(self._width, len(rows.rows) + 1 if rows else 0)
        if rows is not None:
            where = (rows.cursor, len(rows.rows), self.size.height)
            if where != self._seen:
                self._follow_cursor(rows.cursor)
            self._seen = where
        old, self._shown = self._shown, [self._drawn(y) for y in range(self.size.height)]
        for y, (before, now) in enumerate(zip_longest(old, self._shown)):
            if before != now:
                self.refresh(Region(0, y, self.size.width, 1))

    @property
    def page(self) -> int:
        """Rows that are seen at once."""
        return max(self.size.height - 1, 1)

    def _follow_cursor(self, cursor: int) -> None:
        top = self.scroll_offset.y
        target = max(min(top, cursor), cursor - self.page + 1)
        if target != top:
            self.scroll_to(y=target, animate=False, force=True, immediate=True)

    def on_resize(self) -> None:
        self.show(self.rows, self._figures)
        self.refresh()

    def watch_has_focus(self, has_focus: bool) -> None:
        super().watch_has_focus(has_focus)
        self.show(self.rows, self._figures)

    def on_key(self, event: events.Key) -> None:
        if self.entry is not None and self.entry(event.character or event.key):
            event.stop()
            event.prevent_default()

    async def on_click(self, event: events.Click) -> None:
        index = self.scroll_offset.y + event.y - 1
        if event.y < 1 or self.rows is None or index >= len(self.rows.rows):
            return
        row, columns = self.rows.rows[index], self._columns()
        mark_at = 1 + row.depth * (2 if columns.art else 1)
        if row.opens and event.x == mark_at:
            part = "fold"
        elif columns.mode_at <= event.x < columns.mode_ends:
            part = "mode"
        else:
            part = "row"
        self.post_message(self.Pressed(index, part, event.shift or event.ctrl))

    @property
    def _width(self) -> int:
        """Cells left of the scrollbar, when there is one."""
        return self.scrollable_content_region.width

    def _columns(self) -> Columns:
        return columns_for(self._width, self.app.size.width >= NARROW)

    def render_line(self, y: int) -> Strip:
        spans, under = self._drawn(y)
        base = self.rich_style
        if under:
            base += self.get_component_rich_style(under, partial=True)
        width = self._width
        segments = [Segment(span.text, base + self._style(span)) for span in fit(spans, width)]
        return Strip(segments).simplify().adjust_cell_length(width, base)

    def _drawn(self, y: int) -> tuple[Line, str]:
        """What stands in this line of the widget, and the style that lies under it."""
        index = self.scroll_offset.y + y - 1
        if self.rows is None or self._figures is None:
            return (line(" ", dim(_NOTHING)) if y == 1 else ()), ""
        if y == 0:
            return header(self._columns()), ""
        if index >= len(self.rows.rows):
            return (), ""
        row = self.rows.rows[index]
        drawn = row_line(row, self.rows, self._figures, self._columns(), self.found)
        is_cursor = index == self.rows.cursor
        is_marked = self.rows.is_marked(index)
        edge = Span("▌" if is_cursor else " ", "accent" if self.has_focus else "dim")
        return line(
            edge, drawn
        ), "tree--cursor" if is_cursor else "tree--marked" if is_marked else ""
