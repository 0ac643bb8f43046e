"""Lines of styled text as plain data, and the one widget that shows them.

What a screen says is built by plain functions that return lines; a style is a name, so that tests
read the words and never a colour. Only cells that changed are sent to the terminal.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import ClassVar, NamedTuple

from rich.cells import cell_len, chop_cells, set_cell_size
from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.geometry import Region, Size
from textual.message import Message
from textual.reactive import Reactive
from textual.scroll_view import ScrollView
from textual.strip import Strip


class Span(NamedTuple):
    """text: one line, already plain. style: a name of STYLES. click: an action run by the mouse."""

    text: str
    style: str = ""
    click: str = ""


Line = tuple[Span, ...]
Build = Callable[[int, int], Sequence[Line]]
"""Makes the lines for a width and a height in cells."""

STYLES = ("dim", "strong", "good", "warn", "bad", "accent", "under", "rule", "cursor", "key")


def line(*parts: "str | Span | Line") -> Line:
    """A line of the parts that hold text."""
    spans: list[Span] = []
    for part in parts:
        if isinstance(part, str):
            part = Span(part)
        spans += [part] if isinstance(part, Span) else part
    return tuple(span for span in spans if span.text)


def dim(text: str) -> Span:
    return Span(text, "dim")


def strong(text: str) -> Span:
    return Span(text, "strong")


def key(name: str, words: str, click: str = "") -> Line:
    """A key and what it does: the key stands out by weight."""
    return (Span(name, "key", click), Span(f" {words}", "dim", click))


def cells(of: Line) -> int:
    return sum(cell_len(span.text) for span in of)


def text_of(of: Line) -> str:
    return "".join(span.text for span in of)


def fit(of: Line, width: int) -> Line:
    """Exactly `width` cells: cut with `…`, or filled with spaces."""
    total = cells(of)
    if total <= width:
        return (*of, Span(" " * (width - total))) if total < width else of
    kept: list[Span] = []
    room = max(width - 1, 0)
    for span in of:
        taken = set_cell_size(span.text, min(cell_len(span.text), room))
        kept.append(span._replace(text=taken))
        room -= cell_len(taken)
        if room <= 0:
            break
    last = kept[-1] if kept else Span("")
    return (*kept, last._replace(text="…" if width > 0 else ""))


def spread(left: Line, right: Line, width: int) -> Line:
    """`left`, then `right` at the right edge; when both do not fit, the left one is cut."""
    room = width - cells(right)
    return (*fit(left, max(room - 1, 0)), Span(" "), *right) if room > 1 else fit(left, width)


def clip_left(text: str, width: int) -> str:
    """A path keeps its end: '…/data/train.jsonl'."""
    if cell_len(text) <= width:
        return text
    return "…" + text[-(width - 1) :] if width > 1 else "…"[:width]


def wrap(text: str, width: int) -> list[str]:
    """Text broken at spaces into lines of at most `width` cells; a longer word is cut."""
    lines: list[str] = []
    current = ""
    for word in text.split(" "):
        joined = f"{current} {word}" if current else word
        if cell_len(joined) <= width:
            current = joined
            continue
        if current:
            lines.append(current)
        *full, current = chop_cells(word, max(width, 1)) or [""]
        lines += full
    return [*lines, current]


def flowed(parts: Sequence[Line], width: int, gap: int = 3) -> list[Line]:
    """Side by side, on as many lines as it takes."""
    lines: list[Line] = []
    for part in parts:
        longer = line(lines[-1], " " * gap, part) if lines else ()
        if lines and cells(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(line(" ", part))
    return lines


def rule(width: int, left: Iterable["str | Line"], right: Iterable["str | Line"] = ()) -> Line:
    """`─title─part────────right──`: a heading that costs one row. The right gives way first."""
    start = _on_rule(left)
    end = _on_rule(right)
    if cells(start) + cells(end) + 4 > width:
        end = ()
    start = fit(start, width - 1) if cells(start) >= width else start
    room = width - cells(start) - cells(end)
    tail = min(2, room) if end else 0
    return (*start, Span("─" * (room - tail), "rule"), *end, Span("─" * tail, "rule"))


def _on_rule(parts: Iterable["str | Line"]) -> Line:
    spans: list[Span] = []
    for part in parts:
        spans.append(Span("─", "rule"))
        spans += [Span(part)] if isinstance(part, str) else part
    return tuple(spans)


def difference(old: Line, new: Line) -> tuple[int, int] | None:
    """The first cell that differs and the one after the last; None when the lines are alike."""
    if old == new:
        return None
    before, after = _cells_of(old), _cells_of(new)
    length = max(len(before), len(after))
    before += [("", "", "")] * (length - len(before))
    after += [("", "", "")] * (length - len(after))
    changed = [index for index in range(length) if before[index] != after[index]]
    return (changed[0], changed[-1] + 1) if changed else None


def _cells_of(of: Line) -> list[tuple[str, str, str]]:
    found: list[tuple[str, str, str]] = []
    for span in of:
        for character in span.text:
            width = cell_len(character)
            found += [(character, span.style, span.click)] + [("", span.style, "")] * (width - 1)
    return found


class Lines(ScrollView):
    """Shows the lines that a function makes; asks it again on `update` and when the size changes.

    follow: stay at the end while lines are added, until the person scrolls up.
    """

    DEFAULT_CSS = """
    Lines { height: 1fr; overflow-x: hidden; overflow-y: auto; background: $background; }
    Lines .lines--dim { color: $muted; text-style: $muted-style; }
    Lines .lines--strong { text-style: bold; }
    Lines .lines--good { color: $success; }
    Lines .lines--warn { color: $warning; }
    Lines .lines--bad { color: $error; text-style: bold; }
    Lines .lines--accent { color: $accent; }
    Lines .lines--under { text-style: bold underline; }
    Lines .lines--rule { color: $line; text-style: $muted-style; }
    Lines .lines--cursor { text-style: reverse; }
    Lines .lines--key { color: $accent; text-style: bold; }
    """
    COMPONENT_CLASSES: ClassVar[set[str]] = {f"lines--{name}" for name in STYLES}

    # How many lines there are says how far one can scroll; nothing beside this moves with it.
    virtual_size = Reactive(Size(0, 0), repaint=False)

    class Clicked(Message):
        """A line was clicked. action: of the span under the mouse, or empty."""

        def __init__(self, lines: "Lines", index: int, action: str) -> None:
            super().__init__()
            self.lines = lines
            self.index = index
            self.action = action

        @property
        def control(self) -> "Lines":
            return self.lines

    def __init__(self, build: Build | None = None, *, id: str | None = None, follow: bool = False):
        super().__init__(id=id)
        self.can_focus = False
        # It scrolls by wheel and keys; every cell is its own to fill.
        self.styles.scrollbar_size_vertical = 0
        self.follow = follow
        self._build = build or _nothing
        self._lines: list[Line] = []
        self._made_of: Sequence[Line] = ()
        self._made_for: tuple[int, int] | None = None

    @property
    def lines(self) -> Sequence[Line]:
        """What is shown, for tests."""
        return self._lines

    @property
    def words(self) -> str:
        """The shown text without styles."""
        return "\n".join(text_of(one).rstrip() for one in self._lines)

    def update(self, build: Build | None = None) -> None:
        """Show what `build` makes now (or the function given before); redraws only what changed."""
        if build is not None:
            self._build = build
        if self.size.width and self.size.height:
            self.remake()
        else:  # hidden: made anew when it is shown, be it as large as before
            self._made_for = None

    def remake(self) -> None:
        """Make the lines for the present size, and send to the terminal what changed."""
        width, height = self.size.width, self.size.height
        built = self._build(width, height)
        # A list may be another inside; a tuple that is the same one shows nothing new.
        is_same = isinstance(built, tuple) and built and built is self._made_of
        if is_same and self._made_for == (width, height):
            return
        shown = self._made_for[1] if self._made_for else 0
        self._made_for, self._made_of = (width, height), built
        new = [fit(one, width) for one in self._hinted(built)]
        old, self._lines = self._lines, new
        at_end = self.follow and self.scroll_offset.y >= len(old) - shown
        if len(new) != len(old):
            self.virtual_size = Size(width, len(new))
        if at_end and len(new) > height:
            self.scroll_to(y=len(new) - height, animate=False, force=True, immediate=True)
        self._redraw(old, new)

    def _hinted(self, lines: Sequence[Line]) -> Sequence[Line]:
        """With a person's own keys in place of those that are written there."""
        keymap = getattr(self.app, "keymap", None)
        return [keymap.hinted(one, self) for one in lines] if keymap else lines

    def line_at(self, index: int) -> Line:
        """One line, nothing beyond the last."""
        return self._lines[index] if index < len(self._lines) else ()

    def watch_virtual_size(self, size: Size) -> None:
        self._scroll_update(size)

    def reveal(self, row: int) -> None:
        """Scroll as little as needed to have this line in view."""
        top, height = self.scroll_offset.y, self.size.height
        if row < top:
            self.scroll_to(y=row, animate=False, force=True, immediate=True)
        elif row >= top + height:
            self.scroll_to(y=row - height + 1, animate=False, force=True, immediate=True)

    def _redraw(self, old: Sequence[Line], new: Sequence[Line]) -> None:
        top, width = self.scroll_offset.y, self.size.width
        regions = []
        for row in range(self.size.height):
            index = top + row
            was = old[index] if index < len(old) else ()
            now = new[index] if index < len(new) else ()
            changed = difference(was, now)
            if changed:
                start, end = changed[0], min(changed[1], width)
                regions.append(Region(start, row, end - start, 1))
        if regions:
            self.refresh(*regions)

    def on_resize(self) -> None:
        if self._made_for != (self.size.width, self.size.height):
            self.update()
            self.refresh()

    async def on_click(self, event: events.Click) -> None:
        """An action of the app (`app.…`) runs at once; others are the business of who shows this."""
        index = event.y + self.scroll_offset.y
        action = _action_at(self.line_at(index), event.x)
        if action.startswith(("app.", "screen.")):
            event.stop()
            await self.run_action(action)
        elif index < self.virtual_size.height:
            self.post_message(self.Clicked(self, index, action))

    def render_line(self, y: int) -> Strip:
        base = self.rich_style
        shown = self.line_at(y + self.scroll_offset.y)
        segments = [Segment(span.text, base + self._style(span)) for span in shown if span.text]
        return Strip(segments).adjust_cell_length(self.size.width, base)

    def _style(self, span: Span) -> Style:
        style = Style.null()
        for name in span.style.split():
            style += self.get_component_rich_style(f"lines--{name}", partial=True)
        return style


def _action_at(of: Line, x: int) -> str:
    end = 0
    for span in of:
        end += cell_len(span.text)
        if x < end:
            return span.click
    return ""


def _nothing(_width: int, _height: int) -> Sequence[Line]:
    return ()
