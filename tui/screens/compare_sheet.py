"""The sheet before a comparison: what is measured, on which rows, and where."""

import dataclasses
from typing import ClassVar

from textual.app import ComposeResult

from finetune_tui.core.errors import UserError
from finetune_tui.core.evidence.asking import check_compare
from finetune_tui.core.runs.directory import RunDirectory
from finetune_tui.core.runs.labels import read_labels
from finetune_tui.core.runs.queue import QueueItem
from finetune_tui.core.text import plain, size
from finetune_tui.core.tuning.fields import Field
from finetune_tui.core.tuning.task_spec import METRICS, TASK_FIELDS, CompareSpec
from finetune_tui.tui.actions import Action, ActionGroup
from finetune_tui.tui.screens.runs_view import back_key
from finetune_tui.tui.screens.task_sheet import (
    BUTTONS,
    TaskSheet,
    buttons,
    form_actions,
    start_actions,
)
from finetune_tui.tui.widgets.field_form import FieldForm
from finetune_tui.tui.widgets.form_rows import Row
from finetune_tui.tui.widgets.lines import Line, Lines, line, rule, strong

_ABOUT = (
    "Base and tuned model answer the same rows, greedily, from one loaded model. Every share comes with its"
    " 95 % interval, and every row can be read."
)
_FIRST_JUDGES = "; the first says right or wrong"
_action = ActionGroup("compare", "before a comparison")

COMPARE_ACTIONS: tuple[Action, ...] = (*start_actions(_action, "compare"), *form_actions(_action))


def compare_rows() -> list[Row]:
    """The buttons, then every key of the spec that is a choice here, under its heading."""
    fields = TASK_FIELDS[CompareSpec]
    groups = {
        "what is measured": ("metrics", "json_schema", "regex"),
        "which rows": ("compare_files", "forget_files", "rows", "max_new_tokens"),
        "where": ("use_cpu", "gpus"),
        "what it is called": ("name", "note", "tags"),
    }
    found = buttons("compare")
    for title, names in groups.items():
        found.append(Row(title))
        found += [
            Row(name, fields[name], path=name in ("json_schema", "compare_files", "forget_files"))
            for name in names
        ]
    return found


class CompareForm(FieldForm):
    """busy: what to know of the GPU before choosing it."""

    def __init__(self) -> None:
        super().__init__(CompareSpec(), compare_rows(), id="compare-form")
        self.busy = ""

    def about(self, row: Row) -> str:
        if row.button:
            return BUTTONS[row.title]
        if row.title == "use_cpu" and self.busy:
            return self.busy
        return super().about(row) + (_FIRST_JUDGES if row.title == "metrics" else "")

    def more(self, _row: Row) -> str:
        return _ABOUT

    def turned(self, field: Field, value: object, by: int) -> object | None:
        """The metrics one by one; several are typed."""
        if field.name != "metrics":
            return super().turned(field, value, by)
        turns = [(), *((metric,) for metric in METRICS)]
        at = turns.index(value) if isinstance(value, tuple) and value in turns else 0
        return turns[(at + by) % len(turns)]


class CompareView(TaskSheet):
    """`open` shows the sheet for a trained run; its settings stay until another run is compared."""

    title: ClassVar[str] = "Compare"
    about: ClassVar[str] = _ABOUT
    actions: ClassVar[tuple[Action, ...]] = COMPARE_ACTIONS

    DEFAULT_CSS = """
    CompareView { layout: vertical; }
    CompareView #compare-title { height: 1; }
    """

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.spec: CompareSpec = CompareSpec()
        self._run: RunDirectory | None = None
        self._called = ""
        self._is_starting = False

    def compose(self) -> ComposeResult:
        yield Lines(self._title, id="compare-title")
        yield CompareForm()

    @property
    def form(self) -> CompareForm:
        return self.query_one(CompareForm)

    def open(self, run: RunDirectory, spec: CompareSpec | None = None) -> None:
        """spec: to begin with, else the defaults."""
        if run != self._run or spec is not None:
            hardware = self.session.hardware
            without_gpu = hardware is not None and not hardware.gpus
            begun = spec or CompareSpec(use_cpu=without_gpu)
            self.spec = dataclasses.replace(begun, run=str(run.path.absolute()))
        self._run = run
        self._called = plain(read_labels(run).name, 40)
        self.form.move(-1000)
        self.refresh_from_session()

    def refresh_from_session(self) -> None:
        self.form.busy = self._busy_words()
        if not self.form.is_editing:
            self.form.show_values(self.spec)
        self.query_one("#compare-title", Lines).update()

    # Drawing

    def _title(self, width: int, _height: int) -> list[Line]:
        run = self._run
        name = f"{plain(run.short_id, 20)} {self._called}".strip() if run else ""
        told: list[str | Line] = [line("compare ", strong(name)), "base against tuned"]
        return [rule(width, told, [back_key()])]

    def _busy_words(self) -> str:
        """What is free on the GPU, where something else holds most of it."""
        gpu = self.session.gpu
        if gpu is None or gpu.free is None or not gpu.total or gpu.free > gpu.total / 2:
            return ""
        return (
            f"GPU{gpu.index} is busy, {size(gpu.free)} free: slow but sure on the CPU, or the queue"
        )

    # What the keys do

    def take(self, spec: CompareSpec) -> None:
        self.spec = spec
        self.form.accept(spec)

    def on_field_form_wanted(self, message: FieldForm.Wanted) -> None:
        message.stop()
        try:
            self.take(self.spec.changed(**{message.name: message.value}))
        except UserError as error:
            self.form.refuse(error)

    async def on_field_form_pressed(self, message: FieldForm.Pressed) -> None:
        message.stop()
        await self.run_action(message.title)

    def action_start(self) -> None:
        run, spec = self._run, self.spec
        if run is None or self._is_starting:
            return
        self._is_starting = True
        self.finetune.say("starting…")

        def start() -> RunDirectory:
            try:
                check_compare(spec, run)
                return self.services.start_task(spec)
            finally:
                self._is_starting = False

        self.finetune.in_thread(start, self.started, group="start")

    def action_queue(self) -> None:
        run, spec = self._run, self.spec
        if run is None:
            return

        def enqueue() -> QueueItem:
            check_compare(spec, run)
            return self.services.enqueue_task(spec)

        self.finetune.in_thread(enqueue, self.queued, group="start")

    async def on_lines_clicked(self, message: Lines.Clicked) -> None:
        message.stop()
        if message.action:
            await self.run_action(message.action)
