"""The overlay: one quantity of up to six runs in one plot, read off with a cursor."""

from collections.abc import Mapping, Sequence
from typing import ClassVar

from textual import events
from textual.app import ComposeResult
from textual.message import Message
from textual.timer import Timer

from finetune_tui.core.runs.directory import RunDirectory
from finetune_tui.core.runs.listing import RunFacts
from finetune_tui.core.runs.series import AXES, X
from finetune_tui.core.text import plain
from finetune_tui.tui.actions import Action, ActionGroup
from finetune_tui.tui.screens.overlay_runs import QUANTITIES, OverlayRun
from finetune_tui.tui.screens.run_requests import open_monitor
from finetune_tui.tui.screens.runs_view import RunsView, back_key
from finetune_tui.tui.widgets.lines import Line, Lines, Span, dim, fit, line, rule
from finetune_tui.tui.widgets.overlay_plot import (
    WORDS,
    Curve,
    OverlayFrame,
    OverlayOptions,
    overlay_lines,
    value_at,
)
from finetune_tui.tui.widgets.plot import number
from finetune_tui.tui.widgets.run_lines import MOST, RUN_CLASSES, glyph_of, run_css, run_style

_LIVE_EVERY = 1.0  # seconds
_NARROW = 60
_action = ActionGroup("curves")

OVERLAY_ACTIONS = (
    _action(
        "next_quantity", "right_square_bracket", "what", "the next quantity", "turn(1)", True, "[ ]"
    ),
    _action("last_quantity", "left_square_bracket", "before", "the quantity before", "turn(-1)"),
    _action("axis", "x", "axis", "steps, time or tokens along the plot", footer=True),
    _action("log", "y", "log", "a log scale, or not", footer=True),
    _action("smooth", "s", "smooth", "smoothed, or as it came", footer=True),
    _action("right", "l right", "read on", "move the readout right", "read_off(1)", True, "← →"),
    _action("left", "h left", "read back", "move the readout left", "read_off(-1)"),
    _action(
        "far_right", "L shift+right", "far right", "the readout ten cells right", "read_off(10)"
    ),
    _action("far_left", "H shift+left", "far left", "the readout ten cells left", "read_off(-10)"),
    _action("first", "g home", "start", "the readout to the start", "read_off(-100000)"),
    _action("last", "G end", "end", "the readout to the end", "read_off(100000)"),
    _action("down", "j down", "down", "the next run to the front", "move(1)"),
    _action("up", "k up", "up", "the run before to the front", "move(-1)"),
    _action("hide", "space", "hide", "take the run in front out of the plot, or back", footer=True),
    _action("open", "enter", "open", "watch the run in front in Train", footer=True),
)


class OverlayLines(Lines):
    """Lines in the colours of runs that also say in which cell they were clicked."""

    DEFAULT_CSS = run_css("OverlayLines")
    COMPONENT_CLASSES = RUN_CLASSES

    class Pointed(Message):
        """x, y: the cell that was clicked."""

        def __init__(self, x: int, y: int) -> None:
            super().__init__()
            self.x, self.y = x, y

    def on_mouse_down(self, event: events.MouseDown) -> None:
        self.post_message(self.Pointed(event.x, event.y))


class OverlayView(RunsView):
    """`show` gives it runs; it reads them beside the screen and goes on reading those that live."""

    title: ClassVar[str] = "Curves"
    actions: ClassVar[tuple[Action, ...]] = OVERLAY_ACTIONS

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.runs: list[OverlayRun] = []
        self._picture = OverlayLines(self._lines, id="overlay")
        self.quantity = "loss"
        self.axis: X = "step"
        self.cursor: int | None = None
        self._front = 0
        self._log = False
        self._smooth = False
        self._frame: OverlayFrame | None = None
        self._timer: Timer | None = None

    def compose(self) -> ComposeResult:
        yield self._picture

    def on_mount(self) -> None:
        self._timer = self.set_interval(_LIVE_EVERY, self._read_live, pause=True)

    def show(
        self, chosen: Sequence[RunFacts], previewed: Mapping[RunDirectory, OverlayRun]
    ) -> None:
        """These runs, the first in front; what was read of them before is not read again."""
        known = {**previewed, **{one.run: one for one in self.runs}}
        self.runs = []
        for place, facts in enumerate(chosen[:MOST]):
            made = known.get(facts.run) or OverlayRun(facts.run)
            made.place, made.name = place, facts.name
            self.runs.append(made)
        self._front = min(self._front, max(len(self.runs) - 1, 0))
        for one in self.runs:
            self._read(one)
        if len(chosen) > MOST:
            self.finetune.say(f"the first {MOST} of {len(chosen):,} marked runs are shown")
        self._redraw()

    def on_shown(self) -> None:
        self.focus()
        if self._timer:
            self._timer.resume()

    def on_hidden(self) -> None:
        if self._timer:
            self._timer.pause()

    # Reading

    def _read_live(self) -> None:
        for one in self.runs:
            if one.seen.is_live:
                self._read(one)

    def _read(self, one: OverlayRun) -> None:
        one.read(self.finetune, self._redraw)

    # Drawing

    @property
    def front(self) -> OverlayRun | None:
        return self.runs[self._front] if self.runs else None

    def _redraw(self) -> None:
        self._picture.update()

    def _lines(self, width: int, height: int) -> Sequence[Line]:
        legend = [self._legend(one, width) for one in self.runs]
        room = height - len(legend) - 2
        plot, self._frame = overlay_lines(
            self._curves(),
            width,
            room,
            OverlayOptions(self.axis, self._log, self.cursor),
            self._empty_words(),
        )
        if self._frame and self.cursor is not None:
            self.cursor = min(self.cursor, self._frame.cells - 1)
        return [self._title(width), *plot, self._legend_rule(width), *legend][:height]

    def _curves(self) -> list[Curve]:
        """The run in front first, so that it lies on top."""
        order = self.runs[self._front :] + self.runs[: self._front]
        points = [
            Curve(one.points(self.quantity, self.axis, self._smooth), one.place)
            for one in order
            if not one.is_hidden
        ]
        return [curve for curve in points if len(curve.series)]

    def _empty_words(self) -> str:
        if not all(one.is_read for one in self.runs):
            return "reading…"
        if all(one.is_hidden for one in self.runs):
            return "all are hidden: space shows the one in front"
        return f"no {QUANTITIES[self.quantity]} in what is shown yet"

    def _title(self, width: int) -> Line:
        tabs = []
        for name, words in QUANTITIES.items():
            is_on = name == self.quantity
            shown = Span(
                f"[{words}]" if is_on else words,
                "strong" if is_on else "dim",
                f"show_quantity('{name}')",
            )
            tabs.append(line(shown))
        axis = "time" if self.axis == "seconds" else self.axis
        keys = [
            _switch("y", "log", self._log, "log"),
            _switch("s", "smooth", self._smooth, "smooth"),
            _switch("x", axis, False, "axis"),
            back_key(),
        ]
        return rule(width, tabs, keys if width >= _NARROW else keys[-1:])

    def _legend_rule(self, width: int) -> Line:
        x = self._x()
        axis = "" if self.axis == "seconds" else f"{self.axis} "
        at = f"at {axis}{WORDS[self.axis](x)}" if x is not None else "← → read off"
        return rule(
            width,
            [line(dim(f"{len(self.runs)} runs" if len(self.runs) > 1 else "1 run"))],
            [line(Span(at, "accent"))],
        )

    def _x(self) -> float | None:
        if self._frame is None or self.cursor is None:
            return None
        x = self._frame.x_at(self.cursor)
        return float(round(x)) if self.axis == "step" else x

    def _legend(self, one: OverlayRun, width: int) -> Line:
        """`▌● r7 invoices   .412  last .393  best eval .447 at 560`."""
        points = one.points(self.quantity, self.axis, self._smooth)
        x = self._x()
        at = value_at(points, x) if x is not None else None
        is_front = one is self.front and len(self.runs) > 1
        name = f"{one.run.short_id} {one.name}" if one.name else one.run.id
        read: Line = line(Span(f"{_shown(at):>7}", "accent")) if x is not None else ()
        last = line(dim(" last "), f"{_shown(points.last):<7}")
        best = one.seen.best
        if best and width >= _NARROW:
            last = line(last, dim("best eval "), f"{number(best[1]):<6}", dim(f" at {best[0]:<7}"))
        state = dim("hidden") if one.is_hidden else dim("" if one.is_read else "reading…")
        room = width - sum(len(span.text) for span in (*read, *last)) - 5
        click = f"front({one.place})"
        front = Span("▌" if is_front else " ", "accent")
        mark = Span(f"{glyph_of(one.place)} ", f"{run_style(one.place)} strong", click)
        words = Span(plain(name, 120), "strong" if is_front else "", click)
        shown = fit(line(words, "  ", state), max(room, 1))
        return line(front, mark, tuple(span._replace(click=click) for span in shown), read, last)

    # What the keys do

    def action_show_quantity(self, name: str) -> None:
        self.quantity = name
        self._redraw()

    def action_turn(self, by: int) -> None:
        names = list(QUANTITIES)
        self.action_show_quantity(names[(names.index(self.quantity) + by) % len(names)])

    def action_axis(self) -> None:
        self.axis = AXES[(AXES.index(self.axis) + 1) % len(AXES)]
        self._redraw()

    def action_log(self) -> None:
        self._log = not self._log
        self._redraw()

    def action_smooth(self) -> None:
        self._smooth = not self._smooth
        self._redraw()

    def action_read_off(self, by: int) -> None:
        """The readout appears at the end, and goes from there."""
        if self._frame is None:
            return
        last = self._frame.cells - 1
        at = last if self.cursor is None and by < 0 else self.cursor
        self.cursor = last if at is None else min(max(at + by, 0), last)
        self._redraw()

    def action_move(self, by: int) -> None:
        if self.runs:
            self.action_front((self._front + by) % len(self.runs))

    def action_front(self, place: int) -> None:
        self._front = place
        self._redraw()

    def action_hide(self) -> None:
        if self.front:
            self.front.is_hidden = not self.front.is_hidden
            self._redraw()

    async def action_open(self) -> None:
        if self.front:
            await open_monitor(self, self.front.run)

    def one_level_out(self) -> bool:
        """The readout goes first."""
        had_cursor, self.cursor = self.cursor is not None, None
        self._redraw()
        return had_cursor

    async def on_lines_clicked(self, message: Lines.Clicked) -> None:
        message.stop()
        if message.action:
            await self.run_action(message.action)

    def on_overlay_lines_pointed(self, message: OverlayLines.Pointed) -> None:
        """A click in the plot puts the readout there."""
        message.stop()
        frame = self._frame
        plot_ends = self.size.height - len(self.runs) - 1
        if frame and message.x > frame.indent and 0 < message.y < plot_ends:
            self.cursor = min(message.x - frame.indent - 1, frame.cells - 1)
            self._redraw()


def _switch(name: str, words: str, on: bool, click: str) -> Line:
    return (Span(name, "key", click), Span(f" {words}", "strong" if on else "dim", click))


def _shown(value: float | None) -> str:
    return "–" if value is None else number(value)
