"""Runs: all of them, the newest first, with their live state."""

from collections.abc import Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.timer import Timer

from finetune_tui.core.runs.directory import RunDirectory
from finetune_tui.core.runs.state import Status
from finetune_tui.core.text import plain
from finetune_tui.tui.actions import Action, ActionGroup
from finetune_tui.tui.screens.place import Place
from finetune_tui.tui.screens.run_requests import ask_to_pause, ask_to_stop, open_monitor, resume
from finetune_tui.tui.widgets.lines import (
    Line,
    Lines,
    clip_left,
    dim,
    key,
    line,
    rule,
    strong,
    wrap,
)
from finetune_tui.tui.widgets.run_table import RunFacts, RunTable, header_line, read_facts

_Look = tuple[Sequence[RunDirectory] | None, dict[RunDirectory, RunFacts], float]
"""All runs (None: not looked for this time), what is known of those in view, and when."""

_LIST_EVERY = 3  # ticks of a second between two looks for new runs
_PAGE = 10
_OF_A_RUN = frozenset({"open", "resume", "go_on", "pause", "stop", "copy", "copy_path"})
_NARROW = 60  # columns


_action = ActionGroup("runs")


class RunsPlace(Place, can_focus=True):
    """Reads the state of the runs in view once a second, in a thread."""

    title: ClassVar[str] = "Runs"
    actions: ClassVar[tuple[Action, ...]] = (
        _action("open", "enter l right", "open", "watch this run in Train", "", True, "enter"),
        _action("resume", "r", "resume", "go on from its newest checkpoint", footer=True),
        _action("pause", "p", "pause…", "hold it, or let it go with a checkpoint", footer=True),
        _action("go_on", "p r", "go on", "go on with what is paused", footer=True, shown="p"),
        _action("stop", "S", "stop…", "stop it after this step, with a checkpoint", footer=True),
        _action("copy", "y", "copy id", "copy the run's name", footer=True),
        _action("copy_path", "Y", "copy path", "copy the path of the run's folder", footer=True),
        _action("down", "j down", "down", "the run below", "move(1)"),
        _action("up", "k up", "up", "the run above", "move(-1)"),
        _action("page_down", "pagedown", "page down", "ten runs on", f"move({_PAGE})"),
        _action("page_up", "pageup", "page up", "ten runs back", f"move(-{_PAGE})"),
        _action("top", "g home", "newest", "the newest run", "move(-1000000)"),
        _action("bottom", "G end", "oldest", "the oldest run", "move(1000000)"),
    )

    DEFAULT_CSS = """
    RunsPlace { layout: vertical; }
    RunsPlace #runs-header { height: 1; }
    RunsPlace #runs-details { height: 3; }
    RunsPlace.-narrow #runs-details { height: 4; }
    RunsPlace.-empty #runs-header, RunsPlace.-empty #runs-table { display: none; }
    """

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._timer: Timer | None = None
        self._ticks = 0
        self._is_reading = False
        self._have_looked = False

    def compose(self) -> ComposeResult:
        yield Lines(self._header, id="runs-header")
        yield RunTable(id="runs-table")
        yield Lines(self._details, id="runs-details")

    def on_mount(self) -> None:
        self._timer = self.set_interval(1.0, self._tick, pause=True)

    def on_resize(self) -> None:
        self.set_class(self.size.width < _NARROW, "-narrow")

    def on_shown(self) -> None:
        self.focus()
        if self._timer:
            self._timer.resume()
        self._ticks = 0
        self.call_after_refresh(self._tick)

    def on_hidden(self) -> None:
        if self._timer:
            self._timer.pause()

    @property
    def table(self) -> RunTable:
        return self.query_one(RunTable)

    def check_action(self, action: str, _parameters: tuple[object, ...]) -> bool | None:
        if action not in _OF_A_RUN or not self.is_mounted:
            return True
        facts = self._selected_facts()
        if action == "resume":
            return facts is not None and not facts.liveness.is_alive and _may_resume(facts)
        if action == "go_on":
            return facts is not None and facts.liveness.status is Status.PAUSED
        if action in ("stop", "pause"):
            is_alive = facts is not None and facts.liveness.is_alive
            return is_alive and (action == "stop" or not self.check_action("go_on", ()))
        return self.table.selected is not None

    # Reading

    def _tick(self) -> None:
        look_for_new = self._ticks % _LIST_EVERY == 0
        self._ticks += 1
        self._read(look_for_new)

    def _read(self, look_for_new: bool) -> None:
        if self._is_reading:
            return
        self._is_reading = True
        in_view, rows = self.table.in_view(), self.table.size.height

        def read() -> _Look:
            now = self.services.clock()
            runs = self.services.list_runs() if look_for_new else None
            # The first look finds what will be in view.
            seen = in_view or (runs or [])[:rows]
            return runs, {run: read_facts(run, now) for run in seen}, now

        self.finetune.in_thread(read, self._have_read, "list of runs")

    def _have_read(self, look: _Look) -> None:
        runs, facts, now = look
        self._is_reading = False
        before = self._selected_facts()
        self._have_looked = True
        table = self.table
        if runs is not None and list(runs) != list(table.runs):
            table.set_runs(runs)
        table.know(facts, now)
        self._redraw()
        if self._selected_facts() != before:
            self.refresh_bindings()
        if any(table.facts(run) is None for run in table.in_view()):
            self._read(False)

    # Drawing

    def _selected_facts(self) -> RunFacts | None:
        run = self.table.selected
        return self.table.facts(run) if run else None

    def _redraw(self) -> None:
        self.set_class(self._have_looked and not self.table.runs, "-empty")
        for shown in self.query(Lines):
            shown.update()

    def _header(self, width: int, _height: int) -> Sequence[Line]:
        return [header_line(width)]

    def _details(self, width: int, height: int) -> Sequence[Line]:
        run, facts = self.table.selected, self._selected_facts()
        if run is None:
            return _nothing_yet(width) if self._have_looked else []
        words = facts.liveness.words if facts else ""
        where = f"{self.table.cursor + 1} of {len(self.table.runs)}"
        lines = [rule(width, [line(strong(plain(run.id, width - 6)))], [line(dim(where))])]
        lines += [line(f" {text}") for text in wrap(words, width - 2)[: height - 2]]
        lines.append(line(dim(f" {clip_left(plain(str(run.path)), width - 2)}")))
        return lines[:height]

    # What the keys do

    def action_move(self, by: int) -> None:
        self.table.move(by)
        self._redraw()
        self.refresh_bindings()
        if any(self.table.facts(run) is None for run in self.table.in_view()):
            self._read(False)

    async def action_open(self) -> None:
        if self.table.selected:
            await open_monitor(self, self.table.selected)

    def action_resume(self) -> None:
        if self.table.selected:
            resume(self, self.table.selected)

    def action_go_on(self) -> None:
        self.action_resume()

    def action_pause(self) -> None:
        if self.table.selected:
            ask_to_pause(self, self.table.selected)

    def action_stop(self) -> None:
        if self.table.selected:
            ask_to_stop(self, self.table.selected)

    def action_copy(self) -> None:
        if self.table.selected:
            self._copy(plain(self.table.selected.id))

    def action_copy_path(self) -> None:
        if self.table.selected:
            self._copy(plain(str(self.table.selected.path)))

    def _copy(self, text: str) -> None:
        self.app.copy_to_clipboard(text)
        self.finetune.say(f"copied {text}")

    async def on_lines_clicked(self, message: Lines.Clicked) -> None:
        message.stop()
        if message.lines is not self.table:
            return
        again = message.index == self.table.cursor
        self.action_move(message.index - self.table.cursor)
        if again:
            await self.action_open()


def _may_resume(facts: RunFacts) -> bool:
    not_here = (Status.FINISHED, Status.ELSEWHERE, Status.BROKEN, Status.PAUSED)
    return facts.liveness.status not in not_here


def _nothing_yet(width: int) -> list[Line]:
    return [
        rule(width, ["no runs yet"]),
        line(
            " ",
            key("4", "goes to Train, ", "app.show_place('train')"),
            key("s", "starts one there"),
        ),
        line(
            " ", key("1", "goes to Model, ", "app.show_place('model')"), key("d", "opens the demo")
        ),
    ]
