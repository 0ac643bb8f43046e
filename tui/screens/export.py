"""The sheet before an export: what of a run, where to, whether to the Hub, and what that needs."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar, TypeVar

from textual.app import ComposeResult
from textual.containers import Container

from finetune_tui.core.errors import UserError
from finetune_tui.core.export.plan import ExportPlan, refuse_without_room
from finetune_tui.core.export.push_plan import PushPlan, check_push
from finetune_tui.core.runs.directory import RunDirectory
from finetune_tui.core.runs.labels import read_labels
from finetune_tui.core.runs.targets import require_result
from finetune_tui.core.text import plain
from finetune_tui.core.tuning.task_spec import ExportSpec
from finetune_tui.tui.actions import Action
from finetune_tui.tui.screens.ask import AskScreen
from finetune_tui.tui.screens.export_form import (
    ABOUT,
    EXPORT_ACTIONS,
    FIELDS,
    ExportForm,
    free_folder,
)
from finetune_tui.tui.screens.export_lines import Outlook, outlook_lines, question
from finetune_tui.tui.screens.place import Place
from finetune_tui.tui.screens.runs_view import back_key
from finetune_tui.tui.screens.task_sheet import TaskSheet
from finetune_tui.tui.widgets.field_form import FieldForm
from finetune_tui.tui.widgets.lines import Line, Lines, line, rule, strong

T = TypeVar("T")

_OF_THE_PUSH = frozenset({"push_to", "private"})
_WIDE = 100  # columns from which the outlook stands beside the form
_LEAST_FORM = 9  # rows that stay for the form above the outlook; fewer where there are few


async def open_export(place: Place, run: RunDirectory) -> None:
    """The sheet for a trained run; of an export its own settings again, in a new folder."""

    def read() -> tuple[RunDirectory, ExportSpec | None]:
        spec = run.task_spec() if run.state().task == "export" else None
        of = RunDirectory(Path(spec.run)) if isinstance(spec, ExportSpec) else run
        require_result(of)
        return of, spec if isinstance(spec, ExportSpec) else None

    async def found(answer: tuple[RunDirectory, ExportSpec | None]) -> None:
        from finetune_tui.tui.screens.runs import RunsPlace  # which shows this view

        await place.finetune.action_show_place("runs")
        runs = place.finetune.place
        assert isinstance(runs, RunsPlace)
        view = await runs.view("export")
        assert isinstance(view, ExportView)
        view.open(*answer)

    place.finetune.in_thread(read, found, group="export")


@dataclasses.dataclass(frozen=True, slots=True)
class _Looked:
    """What was found of the settings at hand. out: the folder that was proposed."""

    out: str
    plan: ExportPlan | None
    error: UserError | None


class ExportView(TaskSheet):
    """`open` shows the sheet for a trained run; its settings stay until another run is exported."""

    title: ClassVar[str] = "Export"
    about: ClassVar[str] = ABOUT
    actions: ClassVar[tuple[Action, ...]] = EXPORT_ACTIONS

    DEFAULT_CSS = """
    ExportView { layout: vertical; }
    ExportView #export-title { height: 1; }
    ExportView Container { layout: vertical; width: 1fr; height: 1fr; }
    ExportView #export-outlook { height: 8; }
    ExportView.-wide Container { layout: horizontal; }
    ExportView.-wide #export-outlook { width: 46; height: 1fr; border-left: solid $line; }
    """

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.spec: ExportSpec = ExportSpec()
        self.outlook = Outlook()
        self._run: RunDirectory | None = None
        self._name = ""
        self._proposed = ""
        self._agreed: tuple[str | None, bool] | None = None
        self._is_starting = False

    def compose(self) -> ComposeResult:
        yield Lines(self._title, id="export-title")
        with Container():
            yield ExportForm()
            yield Lines(self._outlook, id="export-outlook")

    @property
    def form(self) -> ExportForm:
        return self.query_one(ExportForm)

    def on_resize(self) -> None:
        self.set_class(self.size.width >= _WIDE, "-wide")
        self._share_height()

    def open(self, run: RunDirectory, spec: ExportSpec | None = None) -> None:
        """spec: to begin with, else the defaults; its folder is there already, so another is proposed."""
        if run != self._run or spec is not None:
            self.spec = dataclasses.replace(
                spec or ExportSpec(), run=str(run.path.absolute()), out=""
            )
            self._agreed = None
        self._run = run
        self._name = plain(read_labels(run).name, 40)
        self.form.move(-1000)
        self._look()
        self._redraw()

    def refresh_from_session(self) -> None:
        self._redraw()

    def check_action(self, action: str, _parameters: tuple[object, ...]) -> bool | None:
        if action == "dry_run":
            return self.spec.push_to is not None and not self.outlook.is_asking
        return True

    # Drawing

    def _title(self, width: int, _height: int) -> list[Line]:
        run = self._run
        name = f"{plain(run.short_id, 20)} {self._name}".strip() if run else ""
        return [rule(width, [line("export ", strong(name))], [back_key()])]

    def _outlook(self, width: int, _height: int) -> list[Line]:
        return outlook_lines(self.outlook, width, is_roomy=self.has_class("-wide"))

    def _share_height(self) -> None:
        """Under the form the outlook takes what it needs, and leaves the form its least."""
        shown = self.query_one("#export-outlook", Lines)
        if self.has_class("-wide"):
            shown.styles.height = "1fr"
            return
        needed = len(self._outlook(self.size.width, 0))
        least = min(_LEAST_FORM, (self.size.height - 1) // 2)
        shown.styles.height = max(min(needed, self.size.height - 1 - least), 3)

    def _redraw(self) -> None:
        if not self.form.is_editing:
            self.form.show_values(self.spec)
        self._share_height()
        for shown in ("#export-title", "#export-outlook"):
            self.query_one(shown, Lines).update()
        self.refresh_bindings()

    # What is known of the settings at hand

    def _look(self) -> None:
        """Find out what an export as it is set now would write and need."""
        run, spec, proposed = self._run, self.spec, self._proposed
        if run is None:
            return
        if not self.outlook.push_to or self.outlook.push_to != spec.push_to:
            self._foretell(push=None, push_error=None)
        self._foretell(plan=None, error=None, push_to=spec.push_to)

        def look() -> _Looked:
            out = spec.out
            if not out or out == proposed:
                out = free_folder(run, spec.merge)
            try:
                whole = dataclasses.replace(spec, out=out).anchored(Path.cwd())
                plan = self.services.plan_export(whole)
                refuse_without_room(plan)
            except UserError as error:
                return _Looked(out, None, error)
            return _Looked(out, plan, None)

        def looked(found: _Looked) -> None:
            if not spec.out or spec.out == proposed:
                self._proposed = found.out
                self.spec = dataclasses.replace(self.spec, out=found.out)
            self.form.wrong = {
                field: words for field, words in self.form.wrong.items() if field in _OF_THE_PUSH
            }
            if found.error is not None:
                self.form.wrong[self._field_of(found.error)] = found.error.message
            self._foretell(plan=found.plan, error=found.error)
            self._check_name()

        self.finetune.in_thread(look, looked, group="export plan")

    def _check_name(self) -> None:
        """What can be known of a repository without asking the Hub."""
        if self.spec.push_to is None:
            return
        try:
            check_push(self.spec.push_to)
        except UserError as error:
            self.form.wrong["push_to"] = error.message
            self._foretell(push=None, push_error=error)

    def _foretell(self, **known: object) -> None:
        self.outlook = dataclasses.replace(self.outlook, **known)  # type: ignore[arg-type]
        self._redraw()

    def _field_of(self, error: UserError) -> str:
        """The field an error belongs to, or ''. where: the field's name, with more words or without."""
        name = (error.where or "").partition(":")[0]
        if self.spec.push_to and name.rpartition("/")[2] == self.spec.push_to.rpartition("/")[2]:
            return "push_to"
        return name if name in FIELDS else ""

    def _ask_hub(self, then: Callable[[PushPlan], object] | None = None) -> None:
        """What a push would do; `then` with the answer."""
        spec, plan = self.spec, self.outlook.plan
        if spec.push_to is None or plan is None:
            return
        repo, private = spec.push_to, spec.private
        files = {file.name: file.bytes for file in plan.files}
        self.form.wrong.pop("push_to", None)
        self._foretell(push=None, push_error=None, is_asking=True)

        def found(push: PushPlan) -> None:
            self._foretell(push=push, is_asking=False)
            if then is not None:
                then(push)

        def failed(error: UserError) -> None:
            self.form.wrong["push_to"] = error.message
            self._foretell(push_error=error, is_asking=False)
            self._refuse(error)

        self.finetune.in_thread(
            lambda: self.services.plan_push(files, repo, private), found, "export push", failed
        )

    def _refuse(self, error: UserError) -> None:
        """Say it where it belongs: at its field, else on the last line."""
        if field := self._field_of(error):
            self.form.go_to(field)
            self.form.refuse(error)
        else:
            self.finetune.say_error(error)

    # What the keys do

    def action_dry_run(self) -> None:
        self._ask_hub()

    def action_start(self) -> None:
        self._begin(self.services.start_task, self.started)

    def action_queue(self) -> None:
        self._begin(self.services.enqueue_task, self.queued)

    def _begin(self, start: Callable[[ExportSpec], T], started: Callable[[T], object]) -> None:
        """Start it; before the first push to a repository show what would be sent, and ask."""
        if self._run is None or self._is_starting:
            return
        if self.outlook.error is not None:
            self._refuse(self.outlook.error)
        elif self.outlook.plan is None:
            self.finetune.say("a moment: still looking what it needs")
        elif self.spec.push_to is None or self._agreed == (self.spec.push_to, self.spec.private):
            self._start(start, started)
        else:
            self._ask_hub(lambda push: self._ask_person(push, start, started))

    def _ask_person(
        self, push: PushPlan, start: Callable[[ExportSpec], T], started: Callable[[T], object]
    ) -> None:
        agreed = self.spec.push_to, self.spec.private

        def answered(yes: bool | None) -> None:
            if yes:
                self._agreed = agreed
                self._start(start, started)

        self.app.push_screen(AskScreen(*question(push), "export and send"), answered)

    def _start(self, start: Callable[[ExportSpec], T], started: Callable[[T], object]) -> None:
        spec = self.spec.anchored(Path.cwd())
        self._is_starting = True
        self.finetune.say("starting…")

        def work() -> T:
            try:
                refuse_without_room(self.services.plan_export(spec))
                return start(spec)
            finally:
                self._is_starting = False

        self.finetune.in_thread(work, started, "start", self._refuse)

    def take(self, spec: ExportSpec) -> None:
        before, self.spec = self.spec, spec
        self.form.accept(spec)
        changed = {name for name in FIELDS if getattr(before, name) != getattr(spec, name)}
        if changed & _OF_THE_PUSH:
            self.form.wrong.pop("push_to", None)
            self._foretell(push_to=spec.push_to, push=None, push_error=None, is_asking=False)
            self._check_name()
        if changed - _OF_THE_PUSH:
            self._look()

    def on_field_form_wanted(self, message: FieldForm.Wanted) -> None:
        message.stop()
        try:
            spec = self.spec.changed(**{message.name: message.value})
        except UserError as error:
            self.form.refuse(error)
            return
        self.take(spec)

    async def on_field_form_pressed(self, message: FieldForm.Pressed) -> None:
        message.stop()
        await self.run_action(message.title)

    async def on_lines_clicked(self, message: Lines.Clicked) -> None:
        message.stop()
        if message.action:
            await self.run_action(message.action)
