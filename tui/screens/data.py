"""Data: what the training files hold, row by row where it is wrong, and what of it is trained."""

import threading
from collections.abc import Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.containers import Horizontal

from finetune_tui.core.data.report import DataReport
from finetune_tui.core.errors import UserError
from finetune_tui.core.text import percent, plain
from finetune_tui.tui.actions import Action, ActionGroup
from finetune_tui.tui.screens.data_counting import Counting
from finetune_tui.tui.screens.data_examples import counted_example, raw_example
from finetune_tui.tui.screens.data_lines import (
    bad_row_lines,
    fact_lines,
    length_lines,
    not_readable,
    note_lines,
    nothing_yet,
    reading,
    token_lines,
)
from finetune_tui.tui.screens.place import Place
from finetune_tui.tui.threads import on_this_thread
from finetune_tui.tui.widgets.finding import matching, pointed_out
from finetune_tui.tui.widgets.lines import Line, Lines, Span, key, line, rule

_WIDE = 100  # columns from which an example stands beside the facts
_REPORT, _EXAMPLE = "report", "example"

_action = ActionGroup("data")


class DataPlace(Place, can_focus=True):
    """Reads what the spec names when it is shown, and counts it in tokens where that fetches nothing."""

    title: ClassVar[str] = "Data"
    about: ClassVar[str] = (
        "What the training files hold, which rows are wrong, and which tokens are trained on."
    )
    actions: ClassVar[tuple[Action, ...]] = (
        _action("open", "o", "open", "choose data", "app.open_data", footer=True),
        _action("find", "slash", "find", "find words in what is shown"),
        _action("find_next", "n", "next", "the next of what was found", "find_next(1)", True),
        _action("find_before", "N", "before", "the one before of what was found", "find_next(-1)"),
        _action(
            "next", "n right l", "example", "the next example", "turn(1)", footer=True, shown="n N"
        ),
        _action("before", "N left h", "before", "the example before", "turn(-1)"),
        _action(
            "pane",
            "right_square_bracket left_square_bracket tab",
            "pane",
            "report or example",
            "other_pane",
            footer=True,
            shown="[ ]",
        ),
        _action("count", "c", "count", "count in the model's tokens", footer=True),
        _action("borders", "b", "borders", "show where one token ends", footer=True),
        _action("read", "r", "read again", "read the files again", "read_again", footer=True),
        _action("copy", "y", "copy", "copy the text of this pane"),
        _action("zoom", "plus", "zoom", "the whole width for this pane, or back"),
        _action("down", "j down", "down", "down a line", "move(1)"),
        _action("up", "k up", "up", "up a line", "move(-1)"),
        _action("page_down", "pagedown", "page down", "a page down", "move(15)"),
        _action("page_up", "pageup", "page up", "a page up", "move(-15)"),
        _action("top", "g home", "top", "to the first line", "move(-1000000)"),
        _action("bottom", "G end", "bottom", "to the last line", "move(1000000)"),
    )

    DEFAULT_CSS = """
    DataPlace #data-example { display: none; }
    DataPlace.-in-example #data-example { display: block; }
    DataPlace.-in-example #data-report { display: none; }
    DataPlace.-wide #data-report { display: block; }
    DataPlace.-wide #data-example { display: block; border-left: solid $line; }
    """

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._error: str | None = None
        self._is_reading = False
        self._read_share = ""
        self._reading_cancelled = threading.Event()
        self._pane = _REPORT
        self._at = 0
        self._with_borders = False
        self._zoomed = False
        self._looked_for = ""
        self._match = -1  # the line of it that one is at
        self._counting = Counting(self, self._redraw)

    def compose(self) -> ComposeResult:
        with Horizontal():
            yield Lines(self._report_lines, id="data-report")
            yield Lines(self._example_lines, id="data-example")

    def on_resize(self) -> None:
        self._lay_out()

    def on_unmount(self) -> None:
        self._reading_cancelled.set()
        self._counting.leave()

    def on_shown(self) -> None:
        self.focus()
        self._read()

    def one_level_out(self) -> bool:
        if self._looked_for:
            self._look_for("")
            return True
        return self.action_cancel()

    def refresh_from_session(self) -> None:
        if self.session.has_read_data:
            self._error = None
            self._counting.look(self.session.token_question, self._is_tokenizer_here())
        elif self.display:
            self._read()
        self._lay_out()

    def check_action(self, action: str, _parameters: tuple[object, ...]) -> bool | None:
        has_data = self.session.has_read_data
        if action == "read_again":
            return bool(self.session.spec.train_files)
        if action == "count":
            has_model = self.session.token_question is not None
            return has_data and has_model and self.session.tokens is None
        if action == "borders":
            return self.session.tokens is not None
        if action == "find_next":
            return bool(self._looked_for)
        return has_data if action in ("turn", "other_pane", "find", "copy", "zoom") else True

    def on_lines_clicked(self, message: Lines.Clicked) -> None:
        if message.action:
            self.call_later(self.run_action, message.action)

    # Reading

    def _read(self) -> None:
        sources = self.session.spec.train_files
        if not sources or self._is_reading or self.session.has_read_data:
            return
        self._is_reading = True
        self._error = None
        self._read_share = ""
        cancelled = self._reading_cancelled = threading.Event()
        told = on_this_thread(self._have_read_some)

        def progress(done: int, total: int) -> None:
            if cancelled.is_set():
                raise UserError("reading was cancelled")
            told(done, total)

        self.finetune.in_thread(
            lambda: self.services.read_data(sources, progress),
            lambda found: self._have_read(sources, found),
            "data of Data",
            lambda error: self._have_read(sources, str(error)),
        )

    def _have_read_some(self, done: int, total: int) -> None:
        self._read_share = percent(done, total)
        self._redraw()

    def _have_read(self, sources: tuple[str, ...], found: DataReport | str) -> None:
        self._is_reading = False
        if sources != self.session.spec.train_files:
            self._read()
        elif isinstance(found, str):
            self._error = found
            self._redraw()
        else:
            self.session.data = found
            self.finetune.session_changed()

    def _is_tokenizer_here(self) -> bool:
        """Nothing is fetched that nobody asked for."""
        reference = self.session.reference
        return reference is not None and reference.folder is not None

    # Drawing

    def _lay_out(self) -> None:
        has_data = self.session.has_read_data
        self.set_class(self.size.width >= _WIDE and has_data and not self._zoomed, "-wide")
        self.set_class(self._pane == _EXAMPLE and has_data, "-in-example")
        self._redraw()

    def _redraw(self) -> None:
        for shown in self.query(Lines):
            shown.update()
        self.refresh_bindings()

    def _report_lines(self, width: int, height: int) -> Sequence[Line]:
        session, report, tokens = self.session, self.session.data, self.session.tokens
        if not session.spec.train_files:
            return nothing_yet(width)
        if self._error is not None:
            return not_readable(session.spec.train_files, self._error, width)
        if report is None or not session.has_read_data:
            return [reading(self._read_share)]
        bad = tokens.bad_rows if tokens else report.bad_rows
        lines = [
            *fact_lines(report, session.spec, width),
            *token_lines(tokens, self._counting.state, self._missing(), width),
            *note_lines(tokens.notes if tokens else report.notes, width),
            *bad_row_lines(bad, width, session.spec.strict),
            *length_lines(
                tokens.lengths if tokens else report.lengths,
                width,
                tokens.question.max_length if tokens else None,
            ),
        ]
        return [self._title(_REPORT, width, len(lines) + 1 - height), *self._marked(lines)]

    def _example_lines(self, width: int, height: int) -> Sequence[Line]:
        report, tokens = self.session.data, self.session.tokens
        if report is None or not self._examples:
            return []
        at = self._at % self._examples
        if tokens is not None:
            lines = counted_example(tokens.examples[at], width, self._with_borders)
        else:
            lines = raw_example(report.examples[at], self.session.spec, width)
        return [self._title(_EXAMPLE, width, len(lines) + 1 - height), *self._marked(lines)]

    def _marked(self, lines: list[Line]) -> list[Line]:
        """With what is looked for pointed out."""
        return [pointed_out(one, self._looked_for) for one in lines]

    def _title(self, pane: str, width: int, hidden: int) -> Line:
        """The tabs; where both panes stand side by side, each bears its own.

        hidden: how many lines there are below the last that has room.
        """
        at = f"example {self._at % self._examples + 1} of {self._examples}"
        names = {_REPORT: "report", _EXAMPLE: at if pane == _EXAMPLE else "example"}
        shown = [pane] if self.has_class("-wide") else list(names)
        tabs = [
            line(Span(f"[{names[name]}]", "strong"))
            if name == self._pane
            else line(Span(names[name], "", "other_pane"))
            for name in shown
        ]
        right = [key("n N", "example", "turn(1)")] if pane == _EXAMPLE else []
        right += [key("j", f"{hidden} more ▾", "move(15)")] if hidden > 0 else []
        return rule(width, tabs, right)

    @property
    def _examples(self) -> int:
        """How many there are to show."""
        tokens, report = self.session.tokens, self.session.data
        if tokens is not None:
            return len(tokens.examples)
        return len(report.examples) if report else 0

    def _missing(self) -> str:
        """What must be had before counting."""
        if self.session.token_question is None:
            return "model"
        return "" if self._is_tokenizer_here() else "tokenizer"

    # What the keys do

    @property
    def _shown(self) -> Lines:
        return self.query_one(f"#data-{self._pane}", Lines)

    def action_copy(self) -> None:
        self.finetune.copy(self._shown.words, f"the {self._pane}")

    def action_zoom(self) -> None:
        self._zoomed = not self._zoomed
        self._lay_out()

    def action_find(self) -> None:
        self.finetune.ask("/", self._have_looked, typed=self._look_for)

    def _look_for(self, words: str) -> None:
        self._looked_for, self._match = words.strip(), -1
        self._redraw()
        self.action_find_next(1)

    def _have_looked(self, words: str) -> None:
        self._look_for(words)
        found = len(matching(self._shown.lines, self._looked_for))
        if found:
            lines = "1 line" if found == 1 else f"{found} lines"
            self.finetune.say(f"{lines} · n next · N before · esc done")
        elif words:
            self.finetune.say(f"'{plain(words, 40)}' is not here", wrong=True)

    def action_find_next(self, by: int) -> None:
        """To the line with it that comes next, or before, from the end on at the beginning."""
        rows = matching(self._shown.lines, self._looked_for)
        if rows:
            ahead = [row for row in rows[::by] if (row - self._match) * by > 0]
            self._match = (ahead or rows[::by])[0]
            self._shown.reveal(self._match)

    def action_move(self, by: int) -> None:
        shown = self._shown
        shown.scroll_to(y=shown.scroll_offset.y + by, animate=False, force=True, immediate=True)

    def action_turn(self, by: int) -> None:
        """To another example; where it is not in view, first to the example at hand."""
        if self._examples and (self.has_class("-wide") or self._pane == _EXAMPLE):
            self._at = (self._at + by) % self._examples
        self._pane = _EXAMPLE
        self.query_one("#data-example", Lines).scroll_to(y=0, animate=False, immediate=True)
        self._lay_out()

    def action_other_pane(self) -> None:
        self._pane = _EXAMPLE if self._pane == _REPORT else _REPORT
        self._lay_out()

    def action_borders(self) -> None:
        self._with_borders = not self._with_borders
        self._redraw()

    def action_count(self) -> None:
        question = self.session.token_question
        if question is not None:
            self._counting.begin(question)

    def action_cancel(self) -> bool:
        """Reading or counting, whichever goes on; False when neither does."""
        if self._is_reading:
            self._reading_cancelled.set()
            return True
        return self._counting.cancel()

    def action_read_again(self) -> None:
        self.session.data = None
        self.session.counted = None
        self._counting.forget()
        self._redraw()
        self._read()
