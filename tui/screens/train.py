"""Train: the settings before a run, and the monitor of the run that is watched."""

from typing import ClassVar

from textual.app import ComposeResult
from textual.timer import Timer
from textual.widgets import ContentSwitcher

from finetune_tui.core.data.report import DataReport
from finetune_tui.core.errors import UserError
from finetune_tui.core.runs.directory import RunDirectory
from finetune_tui.core.text import plain
from finetune_tui.tui.actions import Action
from finetune_tui.tui.screens.ask import AskScreen
from finetune_tui.tui.screens.checks import checks, refusal
from finetune_tui.tui.screens.following import Following, Reading, RunReader
from finetune_tui.tui.screens.monitor import Monitor
from finetune_tui.tui.screens.place import Place
from finetune_tui.tui.screens.settings import SettingsView
from finetune_tui.tui.screens.train_actions import MONITOR, SETTINGS, TRAIN_ACTIONS
from finetune_tui.tui.widgets.lines import Lines
from finetune_tui.tui.widgets.settings_form import SettingsForm
from finetune_tui.tui.widgets.status import StatusLine


class TrainPlace(Place, can_focus=True):
    """Shows one of two: the settings, or the monitor of the run that is watched."""

    title: ClassVar[str] = "Train"
    actions: ClassVar[tuple[Action, ...]] = TRAIN_ACTIONS

    DEFAULT_CSS = """
    TrainPlace ContentSwitcher { width: 1fr; height: 1fr; }
    """

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.following: Following | None = None
        self.is_watching = False
        self._reader: RunReader | None = None
        self._is_reading = False
        self._is_starting = False
        self._data_error: str | None = None
        self._timer: Timer | None = None
        self._were_reachable: tuple[bool, ...] = ()

    def compose(self) -> ComposeResult:
        with ContentSwitcher(initial="train-settings"):
            yield SettingsView(id="train-settings")
            yield Monitor(id="train-monitor")

    def on_mount(self) -> None:
        self._timer = self.set_interval(1.0, self._poll, pause=True)

    def on_shown(self) -> None:
        self.focus()
        if self._timer:
            self._timer.resume()
        self._read_data()

    def on_hidden(self) -> None:
        if self._timer:
            self._timer.pause()
        self.finetune.query_one(StatusLine).display = True

    def refresh_from_session(self) -> None:
        run = self.session.monitored
        if run is not None and (self.following is None or self.following.run != run):
            self.follow(run)
        self._show()

    def one_level_out(self) -> bool:
        was_watching = self.is_watching
        if was_watching:
            self.action_new_run()
        return was_watching

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
        if action == "stop":
            return following.is_alive and not following.is_stopping
        if action == "checkpoint":
            return following.is_alive and not following.is_stopping and following.has_steps
        if action == "resume":
            return not following.is_alive and following.no_resume is None
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
            following.apply(reading)
            if reading.events:
                self.call_later(self._read_on, following, reader)
            else:
                self._is_reading = False
                self._have_caught_up()

        self.finetune.in_thread(lambda: reader.read(self.services.clock()), apply, group="follow")

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
            self.finetune.query_one(StatusLine).display = not watching
        if watching and self.following is not None:
            now = self.services.clock()
            self.query_one(Monitor).show(self.following, now, self.session.hardware)
        else:
            watched = plain(self.following.run.short_id) if self.following else None
            found = checks(self.session, self._data_error)
            self.query_one(SettingsView).show(self.session, found, watched)

    # Settings

    @property
    def form(self) -> SettingsForm:
        return self.query_one(SettingsForm)

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
        files, report = self.session.data_files, self.session.data
        if not files or (report is not None and report.files == files):
            return
        self._data_error = None

        def have_read(found: DataReport) -> None:
            if files == self.session.data_files:
                self.session.data = found
                self.finetune.session_changed()

        self.finetune.in_thread(
            lambda: self.services.read_data(files), have_read, "data of Train", self._data_failed
        )

    def _data_failed(self, error: UserError) -> None:
        self._data_error = str(error)
        self._show()

    def action_start(self) -> None:
        if self._is_starting:
            return
        why_not = refusal(checks(self.session, self._data_error))
        if why_not:
            self.finetune.say(why_not, wrong=True)
            return
        try:
            spec = self.session.spec_to_run()
        except UserError as error:
            self.finetune.say_error(error)
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

    # Monitor

    def action_new_run(self) -> None:
        self.is_watching = False
        self._show()
        self.refresh_bindings()

    def action_stop(self) -> None:
        if self.following:
            ask_to_stop(self, self.following.run)

    def action_checkpoint(self) -> None:
        if self.following:
            run = self.following.run
            self.finetune.in_thread(
                lambda: self.services.request(run, "checkpoint"),
                lambda _: self.finetune.say("asked for a checkpoint after this step"),
            )

    def action_resume(self) -> None:
        if self.following:
            resume(self, self.following.run)

    async def action_own_data(self) -> None:
        await self.finetune.action_show_place("data")

    def action_toggle_log(self) -> None:
        self.query_one(Monitor).toggle_log()

    def action_toggle_smooth(self) -> None:
        self.query_one(Monitor).toggle_smooth()

    def action_toggle_time(self) -> None:
        self.query_one(Monitor).toggle_time()

    def action_turn_tab(self, by: int) -> None:
        self.query_one(Monitor).next_tab(by)

    def action_show_tab(self, name: str) -> None:
        self.query_one(Monitor).show_tab(name)

    def action_copy_path(self) -> None:
        if self.following:
            run = self.following.run
            path = plain(str(run.adapter if run.adapter.exists() else run.path))
            self.app.copy_to_clipboard(path)
            self.finetune.say(f"copied {path}")

    # Both

    def action_move(self, by: int) -> None:
        if not self.is_watching:
            self.form.move(by)
            return
        panel = self.query_one("#monitor-panel", Lines)
        panel.scroll_to(y=panel.scroll_offset.y + by, animate=False, force=True, immediate=True)
        self.query_one(Monitor).redraw()

    async def on_lines_clicked(self, message: Lines.Clicked) -> None:
        message.stop()
        if message.action:
            await self.run_action(message.action)


def ask_to_stop(place: Place, run: RunDirectory) -> None:
    """The only question before something ends: stop with a checkpoint."""

    def answered(yes: bool | None) -> None:
        if yes:
            place.finetune.in_thread(
                lambda: place.services.request(run, "stop"),
                lambda _: place.finetune.say("asked it to stop; it writes a checkpoint first"),
            )

    explanation = "It writes a checkpoint first; r goes on from there."
    place.app.push_screen(
        AskScreen(f"Stop {plain(run.short_id)}?", explanation, "stop it"), answered
    )


def resume(place: Place, run: RunDirectory) -> None:
    """Go on from the newest checkpoint, and watch it."""

    def resumed(_: object) -> None:
        place.finetune.say(f"{plain(run.short_id)} goes on")
        place.app.call_later(open_monitor, place, run)

    place.finetune.in_thread(lambda: place.services.resume_run(run), resumed, group="start")


async def open_monitor(place: Place, run: RunDirectory) -> None:
    """Go to Train and watch this run there."""
    place.session.monitored = run
    await place.finetune.action_show_place("train")
    train = place.finetune.place
    if isinstance(train, TrainPlace):
        train.watch_run(run)
