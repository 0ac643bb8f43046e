"""What the sheets of a comparison and an export share: a form, its keys, and what follows a start."""

import dataclasses
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

from finetune_tui.core.runs.directory import RunDirectory
from finetune_tui.core.runs.queue import QueueItem
from finetune_tui.core.text import plain
from finetune_tui.core.tuning.task_spec import TaskSpec
from finetune_tui.tui.actions import Action, ActionGroup
from finetune_tui.tui.screens.run_requests import open_monitor
from finetune_tui.tui.screens.runs_view import RunsView
from finetune_tui.tui.widgets.field_form import FieldForm
from finetune_tui.tui.widgets.form_rows import Row

BUTTONS = {
    "start": "a run of its own: it goes on when you leave",
    "queue": "it starts in its turn",
}


def buttons(word: str) -> list[Row]:
    """word: what starting is called."""
    return [Row("start", button=f"{word} now"), Row("queue", button="into the queue")]


def start_actions(action: ActionGroup, word: str) -> tuple[Action, ...]:
    """The same by key."""
    return (
        action(
            "edit", "enter", "edit", "press the button, type a value, or turn a choice", footer=True
        ),
        action("start", "s", word, f"{word} now", footer=True),
        action("queue", "Q", "queue", "put it in the queue, to run in its turn", footer=True),
    )


def form_actions(action: ActionGroup) -> tuple[Action, ...]:
    """Moving in the form and turning its values."""
    return (
        action("turn_on", "l right", "next", "the next value of a choice", "turn(1)"),
        action("turn_back", "h left", "before", "the value before of a choice", "turn(-1)"),
        action(
            "default",
            "backspace delete",
            "default",
            "the value it had at first",
            footer=True,
            shown="del",
        ),
        action("down", "j down", "down", "the line below", "move(1)"),
        action("up", "k up", "up", "the line above", "move(-1)"),
        action("top", "g home", "first", "the first line", "move(-1000)"),
        action("bottom", "G end", "last", "the last line", "move(1000)"),
    )


class TaskSheet(RunsView):
    """The form's keys act on `spec`; what becomes of a changed one is `take`."""

    spec: TaskSpec

    @property
    def form(self) -> FieldForm:
        return self.query_one(FieldForm)

    @abstractmethod
    def take(self, spec: Any) -> None:
        """The spec has other values now, all of them possible."""

    def on_shown(self) -> None:
        self.focus()
        self.form.leave()

    def help_words(self) -> Sequence[str]:
        field = self.form.help_words()
        return [*field, *([""] if field else []), self.about]

    def one_level_out(self) -> bool:
        if self.form.is_editing:
            self.form.leave()
            return True
        return False

    def action_move(self, by: int) -> None:
        self.form.move(by)

    def action_edit(self) -> None:
        self.form.edit()

    def action_turn(self, by: int) -> None:
        self.form.turn(by)

    def action_default(self) -> None:
        field = self.form.row.field
        if field is not None:
            self.take(dataclasses.replace(self.spec, **{field.name: field.default}))

    def started(self, run: RunDirectory) -> None:
        self.finetune.say(f"{plain(run.id)} started; it goes on when you leave")
        self.app.call_later(open_monitor, self, run)

    def queued(self, item: QueueItem) -> None:
        self.finetune.say(f"{plain(item.id)} is in the queue; Q in Runs shows it")
