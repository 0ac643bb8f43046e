"""The monitor of one run: everything above is one picture, below it a panel that scrolls."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.widget import Widget

from finetune_tui.core.files import open_plain
from finetune_tui.core.hardware import Hardware
from finetune_tui.core.runs.series import X
from finetune_tui.tui.screens.following import Following
from finetune_tui.tui.screens.monitor_difference import Before, difference_lines
from finetune_tui.tui.screens.monitor_lines import (
    hardware_line,
    hardware_name,
    log_lines,
    name_line,
    number_lines,
    outcome_lines,
    outcome_title,
    pause_lines,
    pause_title,
    progress_line,
)
from finetune_tui.tui.screens.monitor_log import read_tail, shown, whole_log
from finetune_tui.tui.screens.monitor_phases import phase_lines
from finetune_tui.tui.screens.monitor_samples import sample_lines
from finetune_tui.tui.screens.monitor_side import side_lines
from finetune_tui.tui.screens.monitor_task import task_outcome
from finetune_tui.tui.widgets.curve import CurveOptions, curve_lines
from finetune_tui.tui.widgets.finding import matching, pointed_out
from finetune_tui.tui.widgets.kept import Kept
from finetune_tui.tui.widgets.lines import Line, Lines, Span, dim, line, rule

TABS = ("log", "samples", "config", "diff", "output")
TASK_TABS = ("log", "config", "output")
_NARROW = 60  # columns below which all is one column
_WIDE = 100  # columns from which there is a side
_OUTPUT_TAIL = 64 * 1024  # bytes
_LEAST_PICTURE = 4  # rows that stay of it over a zoomed panel


class Monitor(Widget):
    """Shows a `Following`; `show` again whenever it or the time has moved on."""

    DEFAULT_CSS = """
    Monitor { width: 1fr; height: 1fr; }
    Monitor #monitor-left { width: 1fr; height: 1fr; }
    Monitor #monitor-side { width: 40; display: none; border-left: solid $line; }
    Monitor.-wide #monitor-side { display: block; }
    """

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.following: Following | None = None
        self.tab = "log"
        self._log_scale = False
        self._smooth = False
        self._time_axis = False
        self._now = 0.0
        self._seen: Hardware | None = None
        self._output = ""
        self._config = ""
        self.before: Before | None = None
        self.looked_for = ""
        self._matches: list[int] = []
        self._match = 0
        self._zoomed = False
        self._kept = Kept()

    def compose(self) -> ComposeResult:
        with Horizontal():
            with Vertical(id="monitor-left"):
                yield Lines(self._picture, id="monitor-picture")
                yield Lines(self._panel, id="monitor-panel", follow=True)
            yield Lines(self._side, id="monitor-side")

    def on_mount(self) -> None:
        panel = self.query_one("#monitor-panel", Lines)
        panel.can_focus = True
        for moves in ("scroll_y", "virtual_size"):
            self.watch(panel, moves, self._panel_moved, init=False)

    def show(self, following: Following, now: float, seen: Hardware | None) -> None:
        """The run as it is at `now` (seconds since 1970); `seen`: this machine."""
        if following is not self.following:
            self.following = following
            self.before = None
            self._config = _read_start(following.run.spec_path)
        self._now, self._seen = now, seen
        if self.tab not in self.tabs:
            self.show_tab(self.tabs[0])
        if self.tab == "output":
            self._output = read_tail(following.run.log_path)
        self.redraw()

    @property
    def tabs(self) -> tuple[str, ...]:
        """A comparison or an export has no samples, and no run before it to be held against."""
        return TABS if self.following is None or self.following.is_training else TASK_TABS

    def redraw(self) -> None:
        self._share_height()
        for lines in self.query(Lines):
            lines.update()

    def _panel_moved(self) -> None:
        """Where in the panel one is stands on the rule above it."""
        self.query_one("#monitor-picture", Lines).update()

    def on_resize(self) -> None:
        self.set_class(self.size.width >= _WIDE, "-wide")
        self._share_height()

    # What the keys do

    def toggle_log(self) -> None:
        self._log_scale = not self._log_scale
        self.redraw()

    def toggle_smooth(self) -> None:
        self._smooth = not self._smooth
        self.redraw()

    def toggle_time(self) -> None:
        self._time_axis = not self._time_axis
        self.redraw()

    def show_tab(self, name: str) -> None:
        self.tab = name
        if name == "output" and self.following:
            self._output = read_tail(self.following.run.log_path)
        panel = self.query_one("#monitor-panel", Lines)
        panel.follow = name in ("log", "output")
        self.redraw()
        panel.scroll_to(
            y=panel.max_scroll_y if panel.follow else 0, animate=False, force=True, immediate=True
        )

    def zoom(self) -> None:
        """As much height as there is for the panel, or back."""
        self._zoomed = not self._zoomed
        self.redraw()

    def scroll(self, by: int) -> None:
        panel = self.query_one("#monitor-panel", Lines)
        panel.scroll_to(y=panel.scroll_offset.y + by, animate=False, force=True, immediate=True)
        self.redraw()

    def find(self, words: str) -> None:
        """Point out these words in the panel and go to where they stand next; none: no more."""
        self.looked_for = words.strip()
        panel = self.query_one("#monitor-panel", Lines)
        panel.update()
        top = panel.scroll_offset.y
        ahead = [index for index, row in enumerate(self._matches) if row >= top]
        self._match = ahead[0] if ahead else 0
        self.find_next(0)

    def find_next(self, step: int) -> None:
        """The match after, or before, from the end on at the beginning."""
        if self._matches:
            self._match = (self._match + step) % len(self._matches)
            self.query_one("#monitor-panel", Lines).reveal(self._matches[self._match])

    @property
    def finding(self) -> tuple[int, int]:
        """Which match one is at, from 1 on, and how many there are."""
        return self._match + 1, len(self._matches)

    @property
    def is_finding(self) -> bool:
        return bool(self.looked_for)

    def stop_finding(self) -> bool:
        """False when nothing was looked for."""
        was_finding = self.is_finding
        self.find("")
        return was_finding

    def whole_text(self) -> Iterable[str]:
        """Of the tab that is shown; what the worker printed from its very start."""
        if self.tab == "output" and self.following:
            return whole_log(self.following.run.log_path)
        panel = self.query_one("#monitor-panel", Lines)
        return panel.words.splitlines()

    def next_tab(self, by: int) -> None:
        self.show_tab(self.tabs[(self.tabs.index(self.tab) + by) % len(self.tabs)])

    # What is drawn

    def _share_height(self) -> None:
        """The panel gets what the picture leaves; the picture all but a few lines."""
        height, width = self.size.height, self.size.width
        if not height:
            return
        rows = max(5, height // 4)
        if width < _NARROW:
            ended = self.following is not None and not self.following.is_alive
            rows = max(height - (13 if ended else 10), 2)
        if self._zoomed:
            rows = max(height - _LEAST_PICTURE, rows)
        panel = self.query_one("#monitor-panel")
        if panel.styles.height is None or panel.styles.height.value != rows:
            panel.styles.height = rows
            self.call_after_refresh(self._panel_moved)

    def _picture(self, width: int, height: int) -> Sequence[Line]:
        following = self.following
        if following is None:
            return []
        narrow = width < _NARROW
        lines = [name_line(following, width)]
        if following.has_steps:
            lines.append(progress_line(following, width, self._now))
            lines += [one for one in number_lines(following, width, 2 if narrow else 1) if one]
        if self._zoomed:
            return [*lines[: height - 1], self._tab_rule(width)]
        below = [*self._middle(following, width, narrow), self._tab_rule(width)]
        room = height - len(lines) - len(below)
        lines += self._plot(following, width, room, narrow) if room > 0 else []
        return [*lines, *below][:height]

    def _plot(self, following: Following, width: int, room: int, narrow: bool) -> list[Line]:
        if not following.has_steps:
            phases = phase_lines(following, width, self._now)
            title = "before the first step" if following.is_training else following.task_words
            head = [rule(width, [title])]
            return [*head, *phases, *[()] * room][:room]
        if narrow and room < 3:
            return [*[()] * (room - 1), rule(width, [outcome_title(following)])]
        if narrow:
            return self._curve(following, width, room)
        return [self._plot_rule(width), *self._curve(following, width, room - 1)]

    def _curve(self, following: Following, width: int, rows: int) -> list[Line]:
        axis: X = "seconds" if self._time_axis else "step"
        total = following.total_steps if following.is_alive and axis == "step" else None
        end = float(total) if total else None
        options = CurveOptions(self._log_scale, self._time_axis, end)
        losses, evals = (following.curves.series(name) for name in ("loss", "eval_loss"))

        def drawn() -> list[Line]:
            train = losses.points(axis)
            train = train.smoothed() if self._smooth else train
            return curve_lines(train, evals.points(axis), width, rows, options)

        of = (losses, losses.changes, evals, evals.changes, options, self._smooth, width, rows)
        return list(self._kept.lines("curve", of, drawn))

    def _plot_rule(self, width: int) -> Line:
        legend = line(Span("⠒", "accent"), dim(" train"))
        held_out = line(Span("o", "warn strong"), dim(" eval"))
        keys = (
            _switch("y", "log", self._log_scale, "toggle_log"),
            _switch("s", "smooth", self._smooth, "toggle_smooth"),
            _switch("x", "time" if self._time_axis else "step", False, "toggle_time"),
        )
        return rule(width, ["loss", legend, held_out], keys)

    def _middle(self, following: Following, width: int, narrow: bool) -> list[Line]:
        """While it runs the machine, while it waits why, afterwards how it ended."""
        if not following.is_alive:
            lines = task_outcome(following, width) or outcome_lines(following, width)
            return lines if narrow else [rule(width, [outcome_title(following)]), *lines]
        if following.is_paused:
            lines = pause_lines(following, width)
            return lines if narrow else [rule(width, [pause_title(following)]), *lines]
        measured = hardware_line(following, self._seen, width)
        if narrow:
            return [measured]
        return [rule(width, [hardware_name(following, self._seen)]), measured]

    def _tab_rule(self, width: int) -> Line:
        tabs = [
            line(Span(f"[{name}]" if name == self.tab else name, style, f"show_tab('{name}')"))
            for name in self.tabs
            for style in ("strong" if name == self.tab else "dim",)
        ]
        return rule(width, tabs, [line(dim(self._where_in_panel()))])

    def _where_in_panel(self) -> str:
        panel = self.query_one("#monitor-panel", Lines)
        last = panel.scroll_offset.y + panel.size.height
        total = panel.virtual_size.height
        if last < total:
            return f"{last} of {total}"
        return "following" if panel.follow and self.following and self.following.is_alive else "[ ]"

    def _panel(self, width: int, _height: int) -> Sequence[Line]:
        following = self.following
        if following is None:
            return []
        builders: dict[str, Callable[[], Sequence[Line]]] = {
            "log": lambda: self._log_lines(following, width),
            "samples": lambda: sample_lines(following, width, self.size.width >= _WIDE),
            "diff": lambda: difference_lines(following.spec, self.before, width),
            "config": lambda: shown(self._config, "spec.yaml cannot be read"),
            "output": lambda: shown(self._output, "the worker has printed nothing"),
        }
        lines = builders[self.tab]()
        self._matches = matching(lines, self.looked_for)
        if not self._matches:
            return lines
        found = set(self._matches)
        return [
            pointed_out(one, self.looked_for) if at in found else one
            for at, one in enumerate(lines)
        ]

    def _log_lines(self, following: Following, width: int) -> Sequence[Line]:
        log = following.curves.log
        of = (following, len(log), log[-1] if log else None, width)
        return self._kept.lines("log", of, lambda: log_lines(following, width))

    def _side(self, width: int, height: int) -> Sequence[Line]:
        if self.following is None:
            return []
        return side_lines(self.following, width, height, self._now, self._kept)


def _switch(name: str, words: str, on: bool, click: str) -> Line:
    return (Span(name, "key", click), Span(f" {words}", "strong" if on else "dim", click))


def _read_start(path: Path) -> str:
    try:
        with open_plain(path) as file:
            return file.read(_OUTPUT_TAIL).decode("utf-8", "replace")
    except OSError:
        return ""
