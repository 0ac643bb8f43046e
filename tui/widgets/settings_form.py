"""The settings form: rows to move over, each edited in its place."""

from collections.abc import Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical
from textual.message import Message
from textual.widget import Widget
from textual.widgets import Input

from finetune_tui.core.errors import UserError
from finetune_tui.core.tuning.spec import Spec
from finetune_tui.tui.actions import ActionGroup, bindings
from finetune_tui.tui.widgets.form_rows import (
    NAME,
    edit_text,
    form_line,
    help_words,
    limits,
    moved,
    reason_words,
    rows,
    value_words,
)
from finetune_tui.tui.widgets.lines import Line, Lines, Span, dim, line, wrap

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


class SettingsForm(Vertical):
    """Shows a spec; asks for every change by a `Wanted` message and shows the answer."""

    DEFAULT_CSS = """
    SettingsForm { layers: rows edit; height: 1fr; }
    SettingsForm #form-rows { layer: rows; }
    SettingsForm #form-words { layer: rows; height: 3; }
    SettingsForm FieldInput {
        layer: edit; display: none; position: absolute; height: 1; border: none; padding: 0 1;
        background: $panel; color: $foreground;
    }
    SettingsForm FieldInput:focus { border: none; background: $panel; }
    SettingsForm FieldInput.-shown { display: block; }
    """

    class Wanted(Message):
        """The person set a value; answer with `accept` or `refuse`."""

        def __init__(self, name: str, value: object) -> None:
            super().__init__()
            self.name = name
            self.value = value

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._spec = Spec()
        self._data_rows: int | None = None
        self._rows = rows()
        self.cursor = moved(self._rows, 0, 1)
        self._error = ""

    def compose(self) -> ComposeResult:
        yield Lines(self._lines, id="form-rows")
        yield Lines(self._words, id="form-words")
        yield FieldInput(compact=True, select_on_focus=True)

    @property
    def spec(self) -> Spec:
        return self._spec

    @property
    def is_editing(self) -> bool:
        return self.query_one(FieldInput).has_class("-shown")

    @property
    def field_name(self) -> str:
        return self._rows[self.cursor].title

    def help_words(self) -> list[str]:
        """All that is known of the field under the cursor, a paragraph each."""
        field = self._rows[self.cursor].field
        if field is None:
            return []
        value = value_words(self._spec, field.name)
        about = help_words(self._spec, field, self._data_rows)
        return [f"{field.name} is {value}: {about}", f"{limits(field)}; {reason_words(field)}"]

    def show(self, spec: Spec, data_rows: int | None = None) -> None:
        """data_rows: the usable rows of the training files, when they have been read."""
        self._spec, self._data_rows = spec, data_rows
        self._redraw()

    def move(self, by: int) -> None:
        self.cursor = moved(self._rows, self.cursor, by)
        self._error = ""
        self.query_one("#form-rows", Lines).reveal(
            max(self.cursor - 1 if by < 0 else self.cursor, 0)
        )
        self._redraw()

    def edit(self) -> None:
        """Type a value; a yes or no turns over, a choice goes on to its next."""
        field = self._rows[self.cursor].field
        if field is None:
            return
        if field.kind in ("yes/no", "choice"):
            self.turn(1)
            return
        entry = self.query_one(FieldInput)
        entry.value = edit_text(self._spec, field.name)
        entry.add_class("-shown")
        self._place(entry)
        entry.focus()

    def turn(self, by: int) -> None:
        """The next or previous value of a choice; nothing for what has to be typed."""
        field = self._rows[self.cursor].field
        if field is None:
            return
        value = getattr(self._spec, field.name)
        if field.kind == "yes/no":
            self.post_message(self.Wanted(field.name, not value))
        elif field.kind == "choice":
            at = field.choices.index(value)
            chosen = field.choices[(at + by) % len(field.choices)]
            self.post_message(self.Wanted(field.name, chosen))

    def accept(self, spec: Spec) -> None:
        self._spec = spec
        self.leave()

    def refuse(self, error: UserError) -> None:
        """Say what is wrong and let the person go on typing."""
        self._error = str(error)
        self._redraw()

    def leave(self) -> None:
        """Stop editing, with the value as it is."""
        entry = self.query_one(FieldInput)
        was_editing = entry.has_class("-shown")
        entry.remove_class("-shown")
        self._error = ""
        self._redraw()
        if was_editing:
            above = (node for node in self.ancestors if isinstance(node, Widget) and node.can_focus)
            self.screen.set_focus(next(above, None))

    def on_input_submitted(self, message: Input.Submitted) -> None:
        message.stop()
        self.post_message(self.Wanted(self.field_name, message.value))

    def on_field_input_left(self, message: FieldInput.Left) -> None:
        message.stop()
        self.leave()

    def on_lines_clicked(self, message: Lines.Clicked) -> None:
        if message.lines.id != "form-rows":
            return
        message.stop()
        if self._rows[message.index].field is None:
            return
        if self.is_editing:
            self.leave()
        again = message.index == self.cursor
        self.cursor = message.index
        self._error = ""
        self._redraw()
        if again:
            self.edit()

    def on_resize(self) -> None:
        if self.is_editing:
            self.call_after_refresh(self._place, self.query_one(FieldInput))

    def _place(self, entry: FieldInput) -> None:
        top = self.query_one("#form-rows", Lines).scroll_offset.y
        left = min(NAME, max(self.size.width - 16, 8))
        entry.styles.offset = (left, self.cursor - top)
        entry.styles.width = self.size.width - left

    def _redraw(self) -> None:
        for shown in self.query(Lines):
            shown.update()

    def _lines(self, width: int, _height: int) -> Sequence[Line]:
        return [
            form_line(self._spec, row, width, index == self.cursor, self._data_rows)
            for index, row in enumerate(self._rows)
        ]

    def _words(self, width: int, height: int) -> Sequence[Line]:
        """What the field under the cursor is, may hold, and why its default is what it is."""
        field = self._rows[self.cursor].field
        if field is None:
            return []
        about = f"{help_words(self._spec, field, self._data_rows)}; {limits(field)}"
        lines = [line(dim(f" {text}")) for text in wrap(about, width - 2)]
        lines += [line(f" {text}") for text in wrap(reason_words(field), width - 2)]
        if self._error:
            error = wrap(f"✗ {self._error}", width - 2)
            return [line(Span(f" {text}", "bad")) for text in error][:height]
        return lines[:height]
