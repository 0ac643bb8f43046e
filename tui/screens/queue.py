"""The queue: specs that wait for their turn, in the order in which they start."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from textual.app import ComposeResult
from textual.timer import Timer

from finetune_tui.core.runs.directory import RunDirectory
from finetune_tui.core.runs.queue import (
    ItemStatus,
    Queue,
    QueueItem,
    hold,
    list_queue,
    release,
    retry,
)
from finetune_tui.core.runs.running_queue import RunnerState, runner_state
from finetune_tui.core.text import plain
from finetune_tui.tui.actions import Action, ActionGroup
from finetune_tui.tui.screens.queue_changes import Moving, Removing
from finetune_tui.tui.screens.run_requests import open_monitor
from finetune_tui.tui.screens.runs_view import RunsView, back_key
from finetune_tui.tui.widgets.lines import (
    Line,
    Lines,
    Span,
    dim,
    fit,
    key,
    line,
    rule,
    strong,
    wrap,
)
from finetune_tui.tui.widgets.rows import Rows
from finetune_tui.tui.widgets.run_table import day_words

_NARROW, _WIDE = 60, 110  # columns
_KEYS = 7  # cells of what the mouse can do with a row
_action = ActionGroup("queue")

QUEUE_ACTIONS = (
    _action(
        "open",
        "enter l right",
        "open",
        "watch what runs of it in Train",
        footer=True,
        shown="enter",
    ),
    _action("later", "J", "later", "start it after the one below", "shift(1)", True),
    _action("earlier", "K", "earlier", "start it before the one above", "shift(-1)", True),
    _action("remove", "X delete", "remove", "out of the queue", footer=True, shown="X"),
    _action("retry", "r", "try again", "let one that failed wait again", footer=True),
    _action("hold", "p", "hold", "start no more of them, or go on", footer=True),
    _action("start", "s", "start", "start what works the queue off", footer=True),
    _action("down", "j down", "down", "the one below", "move(1)"),
    _action("up", "k up", "up", "the one above", "move(-1)"),
    _action("top", "g home", "first", "the first of the queue", "move(-1000000)"),
    _action("bottom", "G end", "last", "the last of the queue", "move(1000000)"),
)

_MAY_BE_IMPOSSIBLE = frozenset({"open", "shift", "remove", "retry", "hold", "start"})
_MARKS = {
    ItemStatus.WAITING: ("·", "dim"),
    ItemStatus.RUNNING: ("▶", "good"),
    ItemStatus.FAILED: ("✗", "bad"),
}


@dataclass(frozen=True, slots=True)
class _Look:
    queue: Queue
    runner: RunnerState
    now: float


class QueueView(RunsView):
    """Looks once a second while it is seen."""

    title: ClassVar[str] = "Queue"
    actions: ClassVar[tuple[Action, ...]] = QUEUE_ACTIONS

    DEFAULT_CSS = """
    QueueView { layout: vertical; }
    QueueView #queue-title { height: 1; }
    QueueView #queue-details { height: 3; }
    """

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._rows = Rows(self._row, id="queue-rows")
        self._look: _Look | None = None
        self._timer: Timer | None = None
        self._is_reading = False

    def compose(self) -> ComposeResult:
        yield Lines(self._title, id="queue-title")
        yield self._rows
        yield Lines(self._details, id="queue-details")

    def on_mount(self) -> None:
        self._timer = self.set_interval(1.0, self.refresh_from_session, pause=True)

    def on_shown(self) -> None:
        self.focus()
        if self._timer:
            self._timer.resume()
        self.refresh_from_session()

    def on_hidden(self) -> None:
        if self._timer:
            self._timer.pause()

    def refresh_from_session(self) -> None:
        if self._is_reading:
            return
        self._is_reading = True
        home, clock = self.services.home, self.services.clock

        def failed(error: Exception) -> None:
            self._is_reading = False
            self.finetune.say(str(error), wrong=True)

        self.finetune.in_thread(
            lambda: _Look(list_queue(home), runner_state(home), clock()),
            self._have_looked,
            "queue",
            failed,
        )

    def _have_looked(self, look: _Look) -> None:
        self._is_reading = False
        before, selected = self._look, self._selected
        self._look = look
        ids = [item.id for item in look.queue.items]
        at = ids.index(selected.id) if selected and selected.id in ids else self._rows.cursor
        self._rows.show(len(ids), at)
        for lines in self.query(Lines):
            lines.update()
        if before != look:
            self.refresh_bindings()

    @property
    def _items(self) -> tuple[QueueItem, ...]:
        return self._look.queue.items if self._look else ()

    @property
    def _selected(self) -> QueueItem | None:
        cursor = self._rows.cursor
        return self._items[cursor] if cursor < len(self._items) else None

    def check_action(self, action: str, _parameters: tuple[object, ...]) -> bool | None:
        if action not in _MAY_BE_IMPOSSIBLE or not self.is_mounted:
            return True
        item, look = self._selected, self._look
        if action == "open":
            return item is not None and item.run is not None
        if action == "start":
            return look is not None and not look.runner.is_alive and bool(look.queue.items)
        if action == "hold":
            return look is not None and look.runner.is_alive
        if action == "retry":
            return item is not None and item.status is ItemStatus.FAILED
        if action == "shift":
            return item is not None and item.status is ItemStatus.WAITING
        return item is not None and item.status is not ItemStatus.RUNNING

    # Drawing

    def _title(self, width: int, _height: int) -> Sequence[Line]:
        if self._look is None:
            return [rule(width, ["reading…"], [back_key()])]
        waiting = sum(item.status is ItemStatus.WAITING for item in self._items)
        words = f"{waiting} waiting" if self._items else "the queue is empty"
        runner = self._look.runner
        style = "good" if runner.is_alive else "warn"
        told = [line(strong(words))]
        if self._items or runner.is_alive:
            # What follows the semicolon is for the command line; here a key does it.
            state = plain(runner.words.partition(";")[0], max(width - 40, 12))
            told.append(line(dim("runner "), Span(state, style)))
        if self._items and not runner.is_alive:
            told.append(key("s", "start", "start"))
        if self._look.queue.is_held:
            why = self._look.queue.held_because
            told.append(line(Span(plain(f"held: {why}" if why else "held", 60), "warn")))
        return [rule(width, told, [back_key()])]

    def _row(self, index: int, width: int) -> Line:
        """`q3 invoices  phi-2  structured-output  ▶ r8   earlier later remove`."""
        item = self._items[index]
        mark, style = _MARKS[item.status]
        words = item.run.partition("-")[0] if item.run else item.status.value
        up = Span(" ▲", "key", f"shift_item('{item.id}', -1)")
        down = Span(" ▼", "key", f"shift_item('{item.id}', 1)")
        out = Span(" ✕ ", "key", f"remove_item('{item.id}')")
        keys: Line = {
            ItemStatus.RUNNING: (Span(" " * _KEYS),),
            ItemStatus.WAITING: (up, down, out),
            ItemStatus.FAILED: (Span("    "), out),
        }[item.status]
        columns = [(strong(item.id), 5)]
        room = width - 1 - 5 - 12 - _KEYS
        if width >= _WIDE:
            columns.append((dim(day_words(item.added, self._look.now if self._look else 0)), 14))
            room -= 14
        if width >= _NARROW:
            each = room // 3
            model = (item.model or "").rpartition("/")[2]
            columns += [(Span(plain(model, 60)), each), (Span(plain(item.preset or "", 60)), each)]
            room -= 2 * each
        columns.insert(1, (Span(plain(item.title, 120)), room))
        columns.append((Span(f"{mark} {words}", style), 12))
        cells = [fit((span,), size - 1) for span, size in columns]
        shown = line(" ", *(part for cell in cells for part in (cell, " ")))
        return line(fit(shown, width - _KEYS), *keys)

    def _details(self, width: int, _height: int) -> Sequence[Line]:
        item = self._selected
        if item is None:
            return [
                rule(width, []),
                line(
                    " ",
                    key("4", "Train, ", "app.show_place('train')"),
                    key("Q", "puts its settings here"),
                ),
            ]
        words = item.why or _gpu_words(item)
        where = f"{self._rows.cursor + 1} of {len(self._items)}"
        head = rule(
            width, [line(strong(plain(item.title, max(width - 20, 10))))], [line(dim(where))]
        )
        return [head, *(line(f" {text}") for text in wrap(plain(words, 400), width - 2)[:2])]

    # What the keys do

    def action_move(self, by: int) -> None:
        self._rows.point(self._rows.cursor + by)
        self.query_one("#queue-details", Lines).update()
        self.refresh_bindings()

    async def action_open(self) -> None:
        if self._selected and self._selected.run:
            run = RunDirectory(self.services.home / "runs" / self._selected.run)
            await open_monitor(self, run)

    def action_shift(self, by: int) -> None:
        if self._selected:
            self.action_shift_item(self._selected.id, by)

    def action_shift_item(self, item_id: str, by: int) -> None:
        ids = [item.id for item in self._items]
        at = ids.index(item_id) if item_id in ids else -1
        if at >= 0 and 0 <= at + by < len(ids):
            self.runs_place.history.make(Moving(self.services.home, item_id, at, at + by))

    def action_remove(self) -> None:
        if self._selected:
            self.action_remove_item(self._selected.id)

    def action_remove_item(self, item_id: str) -> None:
        self.runs_place.history.make(Removing(self.services.home, item_id))

    def action_retry(self) -> None:
        if self._selected:
            home, item_id = self.services.home, self._selected.id
            self._work(lambda: retry(home, item_id))

    def action_hold(self) -> None:
        if self._look:
            home, held = self.services.home, self._look.queue.is_held
            self._work(lambda: release(home) if held else hold(home))

    def action_start(self) -> None:
        self._work(self.services.start_queue)

    def _work(self, work: Callable[[], object]) -> None:
        self.finetune.in_thread(work, lambda _: self.refresh_from_session(), "work on the queue")

    async def on_lines_clicked(self, message: Lines.Clicked) -> None:
        message.stop()
        if message.lines is self._rows:
            again = message.index == self._rows.cursor
            self.action_move(message.index - self._rows.cursor)
            if again and not message.action:
                await self.action_open()
        if message.action:
            await self.run_action(message.action)


def _gpu_words(item: QueueItem) -> str:
    if item.run:
        return f"runs as {item.run}"
    return f"waits for {', '.join(item.gpus)}" if item.gpus else "waits for its turn"
