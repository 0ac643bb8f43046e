"""The side of Layers: what a line is, presets and report as tabs, then memory and what is missing."""

from typing import TYPE_CHECKING, cast

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.widget import Widget

from finetune_tui.core.models.manifest import Manifest
from finetune_tui.tui.screens.checks import checks
from finetune_tui.tui.widgets.details import details_lines
from finetune_tui.tui.widgets.lines import Line, Lines, Span, dim, line, rule
from finetune_tui.tui.widgets.memory_panel import memory_lines, memory_title
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


class SideColumn(Vertical):
    """The place says how much room there is and which tab is in front; the panes fill themselves.

    both: room for details and presets at once; `what` and `preset` are then one tab.
    """

    def __init__(self, session: "Session", id: str | None = None) -> None:
        super().__init__(id=id)
        self.tab = WHAT
        self.both = False
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
        self.both = both
        reads = self.tab == REPORT
        self.details.display = self.tab == WHAT or (both and not reads)
        self.presets.display = self.tab == PRESET or (both and not reads)
        self.report.display = reads
        self.presets.joint = "├" if both else "┬"
        self.presets.tabs = line("presets") if both else self._tab_words()
        self.presets.styles.height = 12 if both else "1fr"
        manifest = self._session.manifest
        of_experts = 1 if manifest is not None and manifest.config.experts else 0
        self._memory.styles.height = (7 if both else 6) + of_experts
        self._before.styles.height = 5 if both else 6
        needed = (14, 20, 26)[self.tab], (19, 26, 40)[self.tab]
        fills = reads and alone
        self._memory.display = not fills and (both or height >= needed[0])
        self._before.display = not fills and (both or height >= needed[1])
        self.refresh_from_session()
        self.details.update()

    def refresh_from_session(self) -> None:
        self.presets.refresh_from_session()
        self._refresh_report()
        self._memory.update()
        self._before.update()

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
        titles = memory_title(self._session)
        lines = [line(Span("├", "rule"), rule(width - 1, ["memory", *titles]))]
        if not self._session.estimates:
            return lines + barred([], height - 1)
        body = memory_lines(self._session, width - 1, parts=self.both)
        return lines + barred(body, height - 1, indent="")

    def _before_build(self, width: int, height: int) -> list[Line]:
        lines = [line(Span("├", "rule"), rule(width - 1, ["before you start"]))]
        return lines + barred(check_words(checks(self._session), width - 3), height - 1)


def _report_of(manifest: Manifest) -> str:
    from finetune_tui.core.models.report import report

    return report(manifest)
