"""The bin: runs that were deleted, until it is emptied."""

from collections.abc import Sequence
from typing import ClassVar

from textual.app import ComposeResult

from finetune_tui.core.runs.bin import Binned, empty_bin, list_bin
from finetune_tui.core.text import duration, plain
from finetune_tui.tui.actions import Action, ActionGroup
from finetune_tui.tui.screens.ask import AskScreen
from finetune_tui.tui.screens.runs_changes import Restoring
from finetune_tui.tui.screens.runs_view import RunsView, back_key
from finetune_tui.tui.widgets.lines import Line, Lines, Span, dim, fit, line, rule, strong
from finetune_tui.tui.widgets.rows import Rows
from finetune_tui.tui.widgets.run_table import day_words

_WHEN = 26
_action = ActionGroup("bin")

BIN_ACTIONS = (
    _action("restore", "enter r", "restore", "back into the list", footer=True, shown="enter"),
    _action("empty", "X delete", "empty…", "delete all of them for good", footer=True, shown="X"),
    _action("down", "j down", "down", "the run below", "move(1)"),
    _action("up", "k up", "up", "the run above", "move(-1)"),
    _action("page_down", "pagedown", "page down", "ten runs on", "move(10)"),
    _action("page_up", "pageup", "page up", "ten runs back", "move(-10)"),
    _action("top", "g home", "newest", "what was deleted last", "move(-1000000)"),
    _action("bottom", "G end", "oldest", "what was deleted first", "move(1000000)"),
)


class BinView(RunsView):
    """Reads the names in the bin when it is shown and after each change."""

    title: ClassVar[str] = "Bin"
    actions: ClassVar[tuple[Action, ...]] = BIN_ACTIONS

    DEFAULT_CSS = """
    BinView { layout: vertical; }
    BinView #bin-title { height: 1; }
    """

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._heading = Lines(self._title, id="bin-title")
        self._rows = Rows(self._row, id="bin-rows")
        self._binned: Sequence[Binned] | None = None
        self._now = 0.0

    def compose(self) -> ComposeResult:
        yield self._heading
        yield self._rows

    def on_shown(self) -> None:
        self.focus()
        self.refresh_from_session()

    def refresh_from_session(self) -> None:
        home, clock = self.services.home, self.services.clock
        self.finetune.in_thread(lambda: (list_bin(home), clock()), self._have_read, "bin")

    def check_action(self, action: str, _parameters: tuple[object, ...]) -> bool | None:
        return action not in ("restore", "empty") or bool(self._binned)

    def _have_read(self, found: tuple[Sequence[Binned], float]) -> None:
        were_any = bool(self._binned)
        self._binned, self._now = found
        self._rows.show(len(self._binned))
        self._heading.update()
        if bool(self._binned) != were_any:
            self.refresh_bindings()

    @property
    def _selected(self) -> Binned | None:
        cursor = self._rows.cursor
        return self._binned[cursor] if self._binned and cursor < len(self._binned) else None

    def _title(self, width: int, _height: int) -> Sequence[Line]:
        binned = self._binned
        words = "reading…" if binned is None else f"{len(binned):,} in the bin"
        if binned is not None and not binned:
            words = "the bin is empty"
        return [rule(width, [line(strong(words))], [back_key()])]

    def _row(self, index: int, width: int) -> Line:
        binned = (self._binned or ())[index]
        ago = duration(self._now - binned.deleted)
        when = f"deleted {day_words(binned.deleted, self._now)}"
        when = f"{when}, {ago} ago" if width >= 80 else f"{ago} ago"
        room = width - (_WHEN + 12 if width >= 80 else 14)
        return line(" ", fit((Span(plain(binned.id, 300)),), max(room, 8)), " ", dim(when))

    # What the keys do

    def action_move(self, by: int) -> None:
        self._rows.point(self._rows.cursor + by)

    def action_restore(self) -> None:
        if self._selected:
            self.runs_place.history.make(Restoring(self.services.home, self._selected))

    def action_empty(self) -> None:
        count = len(self._binned or ())

        def answered(yes: bool | None) -> None:
            if yes:
                self._empty()

        explanation = "Nothing brings them back: checkpoints and adapters go with them."
        title = f"Delete {count:,} run{'s' * (count != 1)} for good?"
        self.app.push_screen(AskScreen(title, explanation, "delete for good"), answered)

    def _empty(self) -> None:
        home, clock = self.services.home, self.services.clock

        def emptied(gone: Sequence[Binned]) -> None:
            self.finetune.say(f"{len(gone):,} deleted for good")
            self.refresh_from_session()

        self.finetune.in_thread(lambda: empty_bin(home, 0, clock()), emptied, "bin is emptied")

    def on_lines_clicked(self, message: Lines.Clicked) -> None:
        message.stop()
        if message.lines is self._rows:
            again = message.index == self._rows.cursor
            self._rows.point(message.index)
            if again:
                self.action_restore()
