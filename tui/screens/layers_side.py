"""The side of Layers: what a line is, presets and report as tabs, then memory and what is missing."""

from typing import TYPE_CHECKING, cast

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.widget import Widget

from finetune_tui.core.models.manifest import Manifest
from finetune_tui.tui.screens.checks import checks
from finetune_tui.tui.widgets.details import details_lines
from finetune_tui.tui.widgets.lines import Line, Lines, Span, dim, line, rule
from finetune_tui.tui.widgets.memory_panel import (
    memory_keys,
    memory_lines,
    memory_title,
    parts_title,
)
from finetune_tui.tui.widgets.panes import barred, check_words
from finetune_tui.tui.widgets.preset_list import PresetList
from finetune_tui.tui.widgets.report_pane import ReportPane
from finetune_tui.tui.widgets.tree_figures import Figures
from finetune_tui.tui.widgets.tree_rows import Rows

if TYPE_CHECKING:
    from finetune_tui.tui.app import FinetuneApp
    from finetune_tui.tui.session import Session

WHAT, PRESET, REPORT = range(3)
_NAMES = ("what", "preset", "report")
_BEFORE = 6  # rows of what is missing before a start
_PRESETS, _ALL_PRESETS = 11, 20  # of the presets where details are shown too, at least and at most
_DETAILS = 9
# Rows that the tab in front keeps when memory is shown, when all is; what was simulated may take more.
_LEAST, _LEAST_OF_ALL, _LEAST_BESIDE_SIMULATION = (8, 14, 20), (7, 14, 28), (4, 8, 10)


class SideColumn(Vertical):
    """The place says how much room there is and which tab is in front; the panes fill themselves.

    both: room for details and presets at once; `what` and `preset` are then one tab. in_numbers: memory as
    numbers for each part, not as bars.
    """

    def __init__(self, session: "Session", id: str | None = None) -> None:
        super().__init__(id=id)
        self.tab = WHAT
        self.both = False
        self.in_numbers = False
        self._height, self._alone = 0, False
        self._session = session
        self._rows: Rows | None = None
        self._figures: Figures | None = None
        self._reported: Manifest | None = None

    def compose(self) -> ComposeResult:
        self.details = Lines(self._details_build)
        self.presets = PresetList(self._session)
        self.report = ReportPane(self._report_top, barred=True)
        self._memory = Lines(self._memory_build)
        self._before = Lines(self._before_build)
        yield from (self.details, self.presets, self.report, self._memory, self._before)

    @property
    def memory_words(self) -> str:
        """What the memory panel says."""
        return self._memory.words

    @property
    def panes(self) -> tuple[Widget, ...]:
        """The pane of each tab, by its number."""
        return (self.details, self.presets, self.report)

    @property
    def tabs(self) -> tuple[int, ...]:
        """The tabs there are to go through."""
        return (WHAT, REPORT) if self.both else (WHAT, PRESET, REPORT)

    def give_room(self, height: int, both: bool, alone: bool) -> None:
        """Show what the tab and the rows there are allow. alone: in the whole width, to be read."""
        self.both, self._height, self._alone = both, height, alone
        reads = self.tab == REPORT
        self.details.display = self.tab == WHAT or (both and not reads)
        self.presets.display = self.tab == PRESET or (both and not reads)
        self.report.display = reads
        self.presets.joint = "├" if both else "┬"
        self.presets.tabs = line("presets") if both else self._tab_words()
        self.refresh_from_session()
        self.details.update()

    def refresh_from_session(self) -> None:
        self._share_height()
        self.presets.refresh_from_session()
        self._refresh_report()
        self._memory.update()
        self._before.update()

    def show_in_numbers(self, in_numbers: bool) -> None:
        self.in_numbers = in_numbers
        self.refresh_from_session()

    def _share_height(self) -> None:
        """Memory takes what it has to say; what is missing before a start gives way to it."""
        width = self.size.width or self.container_size.width
        rows = 1 + max(len(self._memory_body(width - 1)), 5)
        before = _BEFORE - 1 if self.both else _BEFORE
        beside = self.both and self.tab != REPORT
        spare = self._height - rows - before - _DETAILS
        presets = min(max(spare, _PRESETS), _ALL_PRESETS)
        self.presets.styles.height = presets if beside else "1fr"
        left = self._height - rows - (presets if beside else 0)
        tab = WHAT if self.both else self.tab
        is_simulated = self._session.simulation is not None
        least = _LEAST_BESIDE_SIMULATION if is_simulated else _LEAST
        fills = self._alone and self.tab == REPORT
        self._memory.display = not fills and left >= least[tab]
        self._before.display = not fills and left - before >= _LEAST_OF_ALL[tab]
        self._memory.styles.height = rows
        self._before.styles.height = before

    def refresh_row(self, rows: Rows | None, figures: Figures | None) -> None:
        """Another line of the tree, or other figures for it."""
        self._rows, self._figures = rows, figures
        self.details.update()

    def _refresh_report(self) -> None:
        manifest = self._session.manifest
        if manifest is None:
            self.report.show("no model open: `1` chooses one")
            self._reported = None
        elif manifest is not self._reported and self.tab == REPORT:
            self._reported = manifest
            app = cast("FinetuneApp", self.app)
            app.in_thread(lambda: _report_of(manifest), self.report.show, group="report")
        self.report.update()

    # What is shown

    def _tab_words(self) -> Line:
        spans: list[Span] = []
        for tab in self.tabs:
            if spans:
                spans.append(Span("─", "rule"))
            front = tab == self.tab or (tab == WHAT and self.both and self.tab == PRESET)
            words = f"[{_NAMES[tab]}]" if front else _NAMES[tab]
            spans.append(Span(words, "strong" if front else "dim", f"tab({tab})"))
        return line(*spans)

    def _title(self, width: int, right: str) -> Line:
        at_right = (line(dim(right)),) if right else ()
        return line(Span("┬", "rule"), rule(width - 1, [self._tab_words()], at_right))

    def _report_top(self, width: int, where: str) -> list[Line]:
        return [self._title(width, where)]

    def _details_build(self, width: int, height: int) -> list[Line]:
        if self._rows is None or self._figures is None:
            body = [line(dim("no model open: 1 chooses one"))]
        else:
            body = details_lines(self._rows.row, self._rows.shape, self._figures, width - 3)
        return [self._title(width, "[ ]"), *barred(body, height - 1)]

    def _memory_build(self, width: int, height: int) -> list[Line]:
        session = self._session
        in_numbers = self.in_numbers and bool(session.estimates)
        if in_numbers:
            title = parts_title(session, width - 1)
        else:
            keys = memory_keys(session, width, "layers")
            title = rule(width - 1, memory_title(session), keys)
        lines = [line(Span("├", "rule"), title)]
        return lines + barred(self._memory_body(width - 1), height - 1, indent="")

    def _memory_body(self, width: int) -> list[Line]:
        if not self._session.estimates:
            return []
        return memory_lines(self._session, width, self.in_numbers, table=self.both)

    def _before_build(self, width: int, height: int) -> list[Line]:
        lines = [line(Span("├", "rule"), rule(width - 1, ["before you start"]))]
        return lines + barred(check_words(checks(self._session), width - 3), height - 1)


def _report_of(manifest: Manifest) -> str:
    from finetune_tui.core.models.report import report

    return report(manifest)
