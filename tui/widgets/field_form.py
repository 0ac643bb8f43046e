"""A form: rows to move over, each edited in its place."""

from collections.abc import Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical
from textual.message import Message
from textual.widget import Widget
from textual.widgets import Input

from finetune_tui.core.errors import UserError
from finetune_tui.core.tuning.fields import Field
from finetune_tui.tui.actions import ActionGroup, bindings
from finetune_tui.tui.widgets.form_rows import (
    NAME,
    Row,
    edit_text,
    field_line,
    limits,
    moved,
    reason_words,
    value_words,
)
from finetune_tui.tui.widgets.lines import Line, Lines, Span, dim, line, wrap
from finetune_tui.tui.widgets.prompt import PathSuggester

_action = ActionGroup("field")

FIELD_ACTIONS = (
    _action("set", "enter", "set", "take this value", "submit", footer=True, shown="⏎"),
    _action("leave", "escape", "as it was", "leave the value as it was", footer=True),
)


class FieldInput(Input):
    """The place to type in; `escape` leaves it and changes nothing."""

    class Left(Message):
        """The person left without accepting."""

    BINDINGS: ClassVar[list[BindingType]] = list(bindings(FIELD_ACTIONS))

    def action_leave(self) -> None:
        self.post_message(self.Left())


class FieldForm(Vertical):
    """Shows `values`, an attribute for each field; asks for every change by a `Wanted` message and shows
    the answer. `about` says what stands beside a value.
    """

    DEFAULT_CSS = """
    FieldForm { layers: rows edit; height: 1fr; }
    FieldForm #form-rows { layer: rows; }
    FieldForm #form-words { layer: rows; height: 3; }
    FieldForm FieldInput {
        layer: edit; display: none; position: absolute; height: 1; border: none; padding: 0 1;
        background: $panel; color: $foreground;
    }
    FieldForm FieldInput:focus { border: none; background: $panel; }
    FieldForm FieldInput.-shown { display: block; }
    """

    class Wanted(Message):
        """The person set a value; answer with `accept` or `refuse`."""

        def __init__(self, name: str, value: object) -> None:
            super().__init__()
            self.name = name
            self.value = value

    class Pressed(Message):
        """The person pressed the button of this title."""

        def __init__(self, title: str) -> None:
            super().__init__()
            self.title = title

    def __init__(self, values: object, rows: Sequence[Row], *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.values = values
        self._rows = rows
        self.cursor = 0 if not rows[0].is_heading else moved(rows, 0, 1)
        self._error = ""

    def compose(self) -> ComposeResult:
        yield Lines(self._lines, id="form-rows")
        yield Lines(self._words, id="form-words")
        yield FieldInput(compact=True, select_on_focus=True)

    def about(self, row: Row) -> str:
        """The words beside the value of a row."""
        return row.field.help if row.field else ""

    def more(self, _row: Row) -> str:
        """What stands under the form while this button is under the cursor."""
        return ""

    @property
    def is_editing(self) -> bool:
        return self.query_one(FieldInput).has_class("-shown")

    @property
    def row(self) -> Row:
        """Under the cursor."""
        return self._rows[self.cursor]

    @property
    def field_name(self) -> str:
        return self.row.title

    def help_words(self) -> list[str]:
        """All that is known of the field under the cursor, a paragraph each."""
        field = self.row.field
        if field is None:
            return []
        value = value_words(self.values, field.name)
        first = f"{field.name} is {value}: {self.about(self.row)}"
        return [first, f"{limits(field)}; {reason_words(field)}"]

    def show_values(self, values: object) -> None:
        self.values = values
        self.redraw()

    def move(self, by: int) -> None:
        self.cursor = moved(self._rows, self.cursor, by)
        self._error = ""
        self.query_one("#form-rows", Lines).reveal(
            max(self.cursor - 1 if by < 0 else self.cursor, 0)
        )
        self.redraw()

    def go_to(self, title: str) -> None:
        """The cursor on the row of this title: what is said next belongs to it."""
        self.cursor = next(at for at, row in enumerate(self._rows) if row.title == title)
        self.move(0)

    def edit(self) -> None:
        """Type a value; a yes or no turns over, a choice goes on to its next; a button is pressed."""
        field = self.row.field
        if self.row.button:
            self.post_message(self.Pressed(self.row.title))
        if field is None:
            return
        if field.kind in ("yes/no", "choice"):
            self.turn(1)
            return
        entry = self.query_one(FieldInput)
        entry.suggester = PathSuggester() if self.row.path else None
        entry.value = edit_text(self.values, field.name)
        entry.add_class("-shown")
        self._place(entry)
        entry.focus()

    def turn(self, by: int) -> None:
        """The next or previous value of a choice; nothing for what has to be typed."""
        field = self.row.field
        if field is None:
            return
        wanted = self.turned(field, getattr(self.values, field.name), by)
        if wanted is not None:
            self.post_message(self.Wanted(field.name, wanted))

    def turned(self, field: Field, value: object, by: int) -> object | None:
        """What comes after, or before, a value; None where it has to be typed."""
        if field.kind == "yes/no":
            return not value
        if field.kind == "choice" and isinstance(value, str):
            return field.choices[(field.choices.index(value) + by) % len(field.choices)]
        return None

    def accept(self, values: object) -> None:
        self.values = values
        self.leave()

    def refuse(self, error: UserError) -> None:
        """Say what is wrong and let the person go on typing."""
        self._error = str(error)
        self.redraw()

    def leave(self) -> None:
        """Stop editing, with the value as it is."""
        entry = self.query_one(FieldInput)
        was_editing = entry.has_class("-shown")
        entry.remove_class("-shown")
        self._error = ""
        self.redraw()
        if was_editing:
            above = (node for node in self.ancestors if isinstance(node, Widget) and node.can_focus)
            self.screen.set_focus(next(above, None))

    def on_input_submitted(self, message: Input.Submitted) -> None:
        message.stop()
        self.post_message(self.Wanted(self.row.title, message.value))

    def on_field_input_left(self, message: FieldInput.Left) -> None:
        message.stop()
        self.leave()

    def on_lines_clicked(self, message: Lines.Clicked) -> None:
        if message.lines.id != "form-rows":
            return
        message.stop()
        if self._rows[message.index].is_heading:
            return
        if self.is_editing:
            self.leave()
        again = message.index == self.cursor
        self.cursor = message.index
        self._error = ""
        self.redraw()
        if again or self.row.button:
            self.edit()

    def on_resize(self) -> None:
        self.call_after_refresh(self._reveal)
        if self.is_editing:
            self.call_after_refresh(self._place, self.query_one(FieldInput))

    def _reveal(self) -> None:
        self.query_one("#form-rows", Lines).reveal(self.cursor)

    def _place(self, entry: FieldInput) -> None:
        top = self.query_one("#form-rows", Lines).scroll_offset.y
        left = min(NAME, max(self.size.width - 16, 8))
        entry.styles.offset = (left, self.cursor - top)
        entry.styles.width = self.size.width - left

    def redraw(self) -> None:
        for shown in self.query(Lines):
            shown.update()

    def _lines(self, width: int, _height: int) -> Sequence[Line]:
        return [
            field_line(self.values, row, width, index == self.cursor, self.about(row))
            for index, row in enumerate(self._rows)
        ]

    def _words(self, width: int, height: int) -> Sequence[Line]:
        """What the field under the cursor is, may hold, and why its default is what it is."""
        if self._error:
            error = wrap(f"✗ {self._error}", width - 2)
            return [line(Span(f" {text}", "bad")) for text in error][:height]
        field = self.row.field
        if field is None:
            return [line(dim(f" {text}")) for text in wrap(self.more(self.row), width - 2)][:height]
        about = f"{self.about(self.row)}; {limits(field)}"
        lines = [line(dim(f" {text}")) for text in wrap(about, width - 2)]
        lines += [line(f" {text}") for text in wrap(reason_words(field), width - 2)]
        return lines[:height]
