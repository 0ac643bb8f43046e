"""What a person can do with the run that is watched, and with what the monitor shows of it."""

from pathlib import Path

from finetune_tui.core.errors import UserError
from finetune_tui.core.export.exported import Exported
from finetune_tui.core.text import plain
from finetune_tui.tui.editing import lent
from finetune_tui.tui.paging import page
from finetune_tui.tui.screens.following import Following
from finetune_tui.tui.screens.monitor import Monitor
from finetune_tui.tui.screens.monitor_difference import Before, run_before
from finetune_tui.tui.screens.place import Place
from finetune_tui.tui.screens.run_requests import (
    ask_to_pause,
    ask_to_stop,
    compare,
    duplicate,
    request,
    resume,
    show_results,
    try_run,
)


class MonitorPlace(Place):
    """A place with a monitor. following: the run in it."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.following: Following | None = None

    @property
    def monitor(self) -> Monitor:
        return self.query_one(Monitor)

    def action_stop(self) -> None:
        if self.following:
            ask_to_stop(self, self.following.run, self.following.is_training)

    def action_pause(self) -> None:
        if self.following:
            ask_to_pause(self, self.following.run)

    def action_go_on(self) -> None:
        self.action_resume()

    def action_release(self) -> None:
        if self.following:
            request(self, self.following.run, "release")

    def action_checkpoint(self) -> None:
        if self.following:
            request(self, self.following.run, "checkpoint")

    def action_resume(self) -> None:
        if self.following:
            resume(self, self.following.run)

    def action_compare(self) -> None:
        if self.following:
            compare(self, self.following.run)

    def action_results(self) -> None:
        if self.following:
            show_results(self, self.following.run)

    async def action_export(self) -> None:
        from finetune_tui.tui.screens.export import open_export

        if self.following:
            await open_export(self, self.following.run)

    def action_try_run(self) -> None:
        if self.following:
            try_run(self, self.following.run)

    async def action_own_data(self) -> None:
        """Other data for these settings; when nothing is open yet, for those of the run itself."""
        if self.session.reference is None and self.following is not None:
            duplicate(self, self.following.run, show="data")
            return
        await self.finetune.action_show_place("data")

    def action_toggle_log(self) -> None:
        self.monitor.toggle_log()

    def action_toggle_smooth(self) -> None:
        self.monitor.toggle_smooth()

    def action_toggle_time(self) -> None:
        self.monitor.toggle_time()

    def action_turn_tab(self, by: int) -> None:
        self.monitor.next_tab(by)
        self._compare()

    def action_show_tab(self, name: str) -> None:
        self.monitor.show_tab(name)
        self._compare()

    def _compare(self) -> None:
        """For the diff tab: the run to hold this one against, looked for once."""
        monitor, following = self.monitor, self.following
        if monitor.tab != "diff" or monitor.before or following is None or following.spec is None:
            return
        run, spec = following.run, following.spec

        def found(before: Before) -> None:
            if following is self.following:
                monitor.before = before
                monitor.redraw()

        self.finetune.in_thread(
            lambda: run_before(run, self.services.list_runs(), spec), found, group="difference"
        )

    def action_copy_path(self) -> None:
        if self.following:
            self.finetune.copy(plain(str(_result_of(self.following))))

    def action_zoom(self) -> None:
        self.monitor.zoom()

    def action_find(self) -> None:
        """Words in the tab that is shown, pointed out while they are typed."""
        self.finetune.ask("/", self._found, typed=self.monitor.find)

    def _found(self, words: str) -> None:
        self.focus()
        self.monitor.find(words)
        self.refresh_bindings()
        if words:
            self._say_found()

    def action_find_next(self, step: int) -> None:
        self.monitor.find_next(step)
        self._say_found()

    def _say_found(self) -> None:
        at, found = self.monitor.finding
        if found:
            self.finetune.say(f"{at} of {found} · n next · N before · esc done")
        else:
            self.finetune.say(f"'{plain(self.monitor.looked_for, 40)}' is not here", wrong=True)

    def action_pager(self) -> None:
        """The whole text of the tab, however long, in the person's own pager."""
        lines, pager = self.monitor.whole_text(), self.finetune.settings.pager
        try:
            lent(self.finetune, lambda: page(lines, pager))
        except UserError as error:
            self.finetune.say_error(error)


def _result_of(following: Following) -> Path:
    """The adapter, or the folder an export wrote; the run's own where there is neither."""
    exported = Exported.from_event(following.curves.ending or {})
    run = following.run
    return exported.out if exported else run.adapter if run.adapter.exists() else run.path
