"""Train: the settings before a run, and the monitor of the run that is watched."""

from typing import ClassVar

from textual.app import ComposeResult
from textual.timer import Timer
from textual.widgets import ContentSwitcher

from finetune_tui.core.data.report import DataReport
from finetune_tui.core.errors import UserError
from finetune_tui.core.runs.directory import RunDirectory
from finetune_tui.core.runs.state import Status
from finetune_tui.core.text import plain
from finetune_tui.core.tuning.spec import Spec
from finetune_tui.tui.actions import Action
from finetune_tui.tui.screens.checks import checks, refusal
from finetune_tui.tui.screens.choosing import ChoosingPlace
from finetune_tui.tui.screens.following import Following, Reading, RunReader
from finetune_tui.tui.screens.monitor import Monitor
from finetune_tui.tui.screens.monitor_place import MonitorPlace
from finetune_tui.tui.screens.run_requests import (
    duplicate,
    open_monitor,
    queue_up,
)
from finetune_tui.tui.screens.settings import SettingsView
from finetune_tui.tui.screens.train_actions import MONITOR, SETTINGS, TRAIN_ACTIONS
from finetune_tui.tui.screens.train_gpus import choose_gpu
from finetune_tui.tui.screens.train_rehearsal import Rehearsing
from finetune_tui.tui.widgets.lines import Lines
from finetune_tui.tui.widgets.settings_form import SettingsForm
from finetune_tui.tui.widgets.status import StatusLine

_OF_TRAININGS = frozenset(
    {"pause", "release", "checkpoint", "own_data", "toggle_log", "toggle_smooth", "toggle_time"}
)


class TrainPlace(ChoosingPlace, MonitorPlace, can_focus=True):
    """Shows one of two: the settings, or the monitor of the run that is watched."""

    title: ClassVar[str] = "Train"
    about: ClassVar[str] = (
        "The settings of the next run, each with its rule of thumb, and what would be in its way; then the"
        " monitor of the run. A run goes on when the app is closed."
    )
    actions: ClassVar[tuple[Action, ...]] = TRAIN_ACTIONS

    DEFAULT_CSS = """
    TrainPlace ContentSwitcher { width: 1fr; height: 1fr; }
    """

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.is_watching = False
        self._reader: RunReader | None = None
        self._is_reading = False
        self._is_starting = False
        self._data_error: str | None = None
        self._timer: Timer | None = None
        self._were_reachable: tuple[bool, ...] = ()
        self._rehearsing = Rehearsing(self, self._show)

    def compose(self) -> ComposeResult:
        with ContentSwitcher(initial="train-settings"):
            yield SettingsView(id="train-settings")
            yield Monitor(id="train-monitor")

    def on_mount(self) -> None:
        self._timer = self.set_interval(1.0, self._poll, pause=True)

    def on_unmount(self) -> None:
        self._rehearsing.leave()

    def on_shown(self) -> None:
        self.focus()
        if self._timer:
            self._timer.resume()
        self._read_data()

    def on_hidden(self) -> None:
        if self._timer:
            self._timer.pause()
        self._share_status_line(True)

    def _share_status_line(self, shown: bool) -> None:
        """The monitor says it all itself. There is no line while the app closes."""
        for status in self.finetune.query(StatusLine):
            status.display = shown

    def refresh_from_session(self) -> None:
        run = self.session.monitored
        if run is not None and (self.following is None or self.following.run != run):
            self.follow(run)
        self._show()

    def one_level_out(self) -> bool:
        if self.is_watching:
            if not self.monitor.stop_finding():
                self.show_settings()
            return True
        if self._rehearsing.is_going_on:
            self._rehearsing.cancel()
            return True
        return self.leave_simulation()

    def help_words(self) -> list[str]:
        """Before a run, first of the setting under the cursor."""
        field = [] if self.is_watching else self.form.help_words()
        return [*field, *([""] if field else []), self.about]

    def check_action(self, action: str, _parameters: tuple[object, ...]) -> bool | None:
        if action in SETTINGS:
            return not self.is_watching and (action != "watch" or self.following is not None)
        if action == "own_data":
            return not self.is_watching or self._is_possible(action)
        if action in MONITOR:
            return self.is_watching and self._is_possible(action)
        return True

    def _is_possible(self, action: str) -> bool:
        following = self.following
        if following is None:
            return False
        if action == "go_on":
            return following.may_go_on
        if action in _OF_TRAININGS and not following.is_training:
            return False
        if action == "try_run":
            return following.is_training and not following.is_alive
        if action == "export":
            return not following.is_alive and following.state.task in ("train", "export")
        if action == "results" and not following.is_training:
            is_over = following.liveness.status is Status.FINISHED
            return is_over and following.state.task == "compare"
        if action in ("compare", "results"):
            return not following.is_alive and following.state.task in ("train", "compare")
        if action == "pause":
            is_waiting = following.is_paused or following.may_go_on
            return self._is_possible("stop") and not is_waiting
        if action in ("stop", "release"):
            return following.is_alive and not following.is_stopping
        if action == "checkpoint":
            return following.is_alive and not following.is_stopping and following.has_steps
        if action == "resume":
            is_ended = not following.is_alive and not following.may_go_on
            return is_ended and following.no_resume is None
        if action in ("find_next", "new_run"):
            return (action == "find_next") is self.monitor.is_finding
        return action != "own_data" or not following.is_alive

    # Following a run

    def follow(self, run: RunDirectory) -> None:
        """Watch this run from the beginning of its events."""
        self.following, self._reader = Following(run), RunReader(run)
        self.is_watching = True
        self._is_reading = False
        self._poll()

    def watch_run(self, run: RunDirectory) -> None:
        """Bring the monitor of this run to the front of the place."""
        if self.following is None or self.following.run != run:
            self.follow(run)
        else:
            self.action_watch()
        self.refresh_bindings()

    def _poll(self) -> None:
        following, reader = self.following, self._reader
        if following is None or reader is None or self._is_reading or not self.is_watching:
            return
        self._is_reading = True

        self._read_on(following, reader)

    def _read_on(self, following: Following, reader: RunReader) -> None:
        """One bounded piece beside the screen, then the next, until there is nothing new."""

        def apply(reading: Reading) -> None:
            if following is not self.following:
                return
            if reading.is_gone:
                self._leave_deleted(following.run)
                return
            following.apply(reading)
            if reading.more:
                self.call_later(self._read_on, following, reader)
            else:
                self._is_reading = False
                self._have_caught_up()

        self.finetune.in_thread(lambda: reader.read(self.services.clock()), apply, group="follow")

    def _leave_deleted(self, run: RunDirectory) -> None:
        self.following = self._reader = self.session.monitored = None
        self._is_reading = False
        self.show_settings()
        self.finetune.say(f"{plain(run.short_id)} was deleted; it may be in the bin of 5 Runs")

    def _have_caught_up(self) -> None:
        self._show()
        reachable = self._reachable()
        if reachable != self._were_reachable:
            self._were_reachable = reachable
            self.refresh_bindings()

    def _reachable(self) -> tuple[bool, ...]:
        return tuple(self._is_possible(action) for action in sorted(MONITOR))

    def _show(self) -> None:
        if not self.is_mounted:
            return
        in_front = self.finetune.place is self
        watching = self.is_watching and self.following is not None
        shown = "train-monitor" if watching else "train-settings"
        switcher = self.query_one(ContentSwitcher)
        if switcher.current != shown:
            switcher.current = shown
            self.refresh_bindings()
        if in_front:
            self._share_status_line(not watching)
        if watching and self.following is not None:
            now = self.services.clock()
            self.query_one(Monitor).show(self.following, now, self.session.hardware)
        else:
            watched = plain(self.following.run.short_id) if self.following else None
            self.cancel_stale_simulation()
            if self.session.manifest is not None:
                self._rehearsing.look(self.session.current_spec())
            foresight = self._rehearsing.foresight
            found = checks(self.session, self._data_error, foresight.rehearsal)
            self.query_one(SettingsView).show(self.session, found, foresight, watched)

    # Settings

    @property
    def form(self) -> SettingsForm:
        return self.query_one(SettingsForm)

    def go_to_setting(self, name: str) -> None:
        """Bring the settings to the front, this one under the cursor."""
        self.show_settings()
        self.form.go_to(name)
        self.focus()

    def action_edit(self) -> None:
        self.form.edit()

    def action_turn(self, by: int) -> None:
        self.form.turn(by)

    def action_watch(self) -> None:
        self.is_watching = True
        self._poll()
        self._show()

    def on_settings_form_wanted(self, message: SettingsForm.Wanted) -> None:
        message.stop()
        try:
            self.session.change_spec(**{message.name: message.value})
        except UserError as error:
            self.form.refuse(error)
            return
        self.form.accept(self.session.spec)
        if message.name in ("train_files", "strict"):
            self.session.data = None
            self._read_data()
        self.finetune.session_changed()

    def _read_data(self) -> None:
        """The report on the files of the spec, read once beside the screen."""
        sources = self.session.spec.train_files
        if not sources or self.session.has_read_data:
            return
        self._data_error = None

        def have_read(found: DataReport) -> None:
            if sources == self.session.spec.train_files:
                self.session.data = found
                self.finetune.session_changed()

        self.finetune.in_thread(
            lambda: self.services.read_data(sources), have_read, "data of Train", self._data_failed
        )

    def _data_failed(self, error: UserError) -> None:
        self._data_error = str(error)
        self._show()

    def action_start(self) -> None:
        spec = None if self._is_starting else self._spec_to_run()
        if spec is None:
            return
        self._is_starting = True
        self.finetune.say("starting…")

        def start() -> RunDirectory:
            try:
                return self.services.start_run(spec)
            finally:
                self._is_starting = False

        self.finetune.in_thread(start, self._started, group="start")

    def _started(self, run: RunDirectory) -> None:
        self.finetune.say(f"{plain(run.id)} started; it goes on when you leave")
        self.app.call_later(open_monitor, self, run)

    def _spec_to_run(self) -> Spec | None:
        """The spec when nothing is in its way; else what is has been said."""
        why_not = refusal(checks(self.session, self._data_error))
        try:
            if why_not:
                raise UserError(why_not)
            return self.session.spec_to_run()
        except UserError as error:
            self.finetune.say_error(error)
            return None

    def action_queue(self) -> None:
        if spec := self._spec_to_run():
            queue_up(self, spec)

    def action_rehearse(self) -> None:
        spec = None if self._rehearsing.is_going_on else self._spec_to_run()
        if spec is not None:
            self._rehearsing.begin(spec)

    def action_cancel_rehearsal(self) -> None:
        self._rehearsing.cancel()

    def action_gpu(self) -> None:
        choose_gpu(self)

    # Monitor

    def show_settings(self) -> None:
        """Leave the monitor; the run goes on."""
        self.is_watching = False
        self._show()
        self.refresh_bindings()

    def action_new_run(self) -> None:
        """The settings of this session; when nothing is open yet, those of the run itself."""
        if self.session.reference is None and self.following is not None:
            duplicate(self, self.following.run)
        else:
            self.show_settings()

    # Both

    def action_move(self, by: int) -> None:
        if not self.is_watching:
            self.form.move(by)
            return
        self.monitor.scroll(by)

    def action_page(self, by: int) -> None:
        shown = "#monitor-panel" if self.is_watching else "#form-rows"
        self.action_move(by * max(self.query_one(shown, Lines).size.height - 1, 1))

    async def on_lines_clicked(self, message: Lines.Clicked) -> None:
        message.stop()
        if message.action:
            await self.run_action(message.action)
