"""What a person can do with the runs of the list: with the one under the cursor, or the marked ones."""

from finetune_tui.core.runs.listing import Listing, RunFacts
from finetune_tui.core.runs.state import Status
from finetune_tui.core.text import plain
from finetune_tui.tui.screens.run_requests import (
    ask_to_delete,
    ask_to_pause,
    ask_to_stop,
    compare,
    duplicate,
    open_monitor,
    resume,
    show_results,
    try_run,
)
from finetune_tui.tui.screens.runs_actions import LABELLING, OF_A_RUN
from finetune_tui.tui.screens.runs_changes import Deletion
from finetune_tui.tui.screens.runs_labels import (
    archive,
    ask_more_tags,
    ask_name,
    ask_note,
    ask_tags,
)
from finetune_tui.tui.screens.runs_view import RunsView
from finetune_tui.tui.widgets.run_table import RunTable


class RunsInHand(RunsView):
    """A view with a table of runs."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.table = RunTable(id="runs-table")
        self._listing: Listing | None = None

    @property
    def chosen(self) -> list[RunFacts]:
        """The marked runs in the order of their marks, else the one under the cursor."""
        known = self._listing.facts if self._listing else {}
        marked = [known[run] for run in self.table.marks if run in known]
        selected = self.table.selected
        return marked or ([selected] if selected else [])

    def check_action(self, action: str, _parameters: tuple[object, ...]) -> bool | None:
        if not self.is_mounted:
            return True
        facts = self.table.selected
        if action in LABELLING and facts is not None and facts.status is Status.FOREIGN:
            return False
        if action in OF_A_RUN:
            return facts is not None
        if action == "compare":
            return facts is not None and _may_be_compared(facts)
        if action == "results":
            return facts is not None and _has_results(facts)
        if action in ("export", "try_run"):
            return facts is not None and facts.is_training and facts.status is not Status.FOREIGN
        if action == "resume":
            return facts is not None and not facts.liveness.is_alive and _may_resume(facts)
        if action == "go_on":
            return facts is not None and facts.liveness.status is Status.PAUSED
        if action == "pause" and facts is not None and not facts.is_training:
            return False
        if action in ("stop", "pause"):
            is_alive = facts is not None and facts.liveness.may_be_alive
            return is_alive and (action == "stop" or not self.check_action("go_on", ()))
        if action == "difference":
            return len(self.table.marks) == 2
        return True

    async def action_open(self) -> None:
        facts = self.table.selected
        if facts and facts.task == "compare" and facts.status is Status.FINISHED:
            self.action_results()
        else:
            await self.action_watch()

    async def action_watch(self) -> None:
        if self.table.selected:
            await open_monitor(self, self.table.selected.run)

    def action_compare(self) -> None:
        if self.table.selected:
            compare(self, self.table.selected.run)

    def action_results(self) -> None:
        if self.table.selected:
            show_results(self, self.table.selected.run)

    async def action_export(self) -> None:
        from finetune_tui.tui.screens.export import open_export

        if self.table.selected:
            await open_export(self, self.table.selected.run)

    def action_try_run(self) -> None:
        if self.table.selected:
            try_run(self, self.table.selected.run)

    async def action_curves(self) -> None:
        trainings = [facts for facts in self.chosen if facts.is_training]
        if trainings:
            await self.runs_place.show_curves(trainings)
        elif self.chosen:
            self.finetune.say("no curves: a comparison or an export trains nothing")

    async def action_difference(self) -> None:
        await self.runs_place.show_difference(self.chosen)

    def action_resume(self) -> None:
        if self.table.selected:
            resume(self, self.table.selected.run)

    def action_go_on(self) -> None:
        self.action_resume()

    def action_pause(self) -> None:
        if self.table.selected:
            ask_to_pause(self, self.table.selected.run)

    def action_stop(self) -> None:
        if self.table.selected:
            ask_to_stop(self, self.table.selected.run, self.table.selected.is_training)

    def action_duplicate(self) -> None:
        if self.table.selected:
            duplicate(self, self.table.selected.run)

    def action_delete(self) -> None:
        runs = [facts.run for facts in self.chosen]

        def agreed() -> None:
            self.table.marks.clear()
            self.runs_place.history.make(Deletion(self.services.home, runs))

        if runs:
            ask_to_delete(self, runs, agreed)

    def action_archive(self) -> None:
        archive(self, self.chosen)

    def action_name(self) -> None:
        if self.table.selected:
            ask_name(self, self.table.selected)

    def action_note(self) -> None:
        if self.table.selected:
            ask_note(self, self.table.selected)

    def action_tags(self) -> None:
        if self.table.marks:
            ask_more_tags(self, self.chosen)
        elif self.table.selected:
            ask_tags(self, self.table.selected)

    def action_copy(self) -> None:
        if self.table.selected:
            self.finetune.copy(self.table.selected.id)

    def action_copy_path(self) -> None:
        if self.table.selected:
            self.finetune.copy(plain(str(self.table.selected.run.path)))


def _may_be_compared(facts: RunFacts) -> bool:
    """A training, whatever became of it: what is missing is said; a comparison, for what it compared."""
    return facts.task in ("train", "compare") and facts.status is not Status.FOREIGN


def _has_results(facts: RunFacts) -> bool:
    """A training may have some; a comparison has its own once it has finished."""
    return _may_be_compared(facts) and (facts.is_training or facts.status is Status.FINISHED)


def _may_resume(facts: RunFacts) -> bool:
    not_here = (
        *(Status.FINISHED, Status.ELSEWHERE, Status.BROKEN),
        *(Status.PAUSED, Status.FOREIGN, Status.NEWER),
    )
    return facts.status not in not_here
