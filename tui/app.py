"""The app: one screen with two lines on top, a place in the middle and the keys below."""

import gc
from collections.abc import Callable
from inspect import isawaitable
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, TypeVar

from rich.text import Text
from textual import events
from textual.app import App, ComposeResult, SuspendNotSupported
from textual.binding import BindingType
from textual.containers import Container
from textual.widget import Widget

from finetune_tui.core.errors import UserError
from finetune_tui.core.text import plain
from finetune_tui.tui.actions import ACTIONS, APP_ACTIONS, EVERYWHERE, bindings
from finetune_tui.tui.faults import told
from finetune_tui.tui.places import PLACES
from finetune_tui.tui.screens.place import Place
from finetune_tui.tui.services import Services
from finetune_tui.tui.session import Session
from finetune_tui.tui.themes import DARK, FALLBACKS, LIGHT
from finetune_tui.tui.threads import in_daemon_thread
from finetune_tui.tui.watching import Watch
from finetune_tui.tui.widgets.prompt import Answer, PromptLine
from finetune_tui.tui.widgets.status import Footline, Masthead, Rule, StatusLine

if TYPE_CHECKING:
    from textual.command import Provider

    from finetune_tui.core.data.report import DataReport
    from finetune_tui.core.doctor import Finding
    from finetune_tui.core.models.manifest import Manifest
    from finetune_tui.core.models.resolve import ModelReference
    from finetune_tui.core.tuning.spec import Spec
    from finetune_tui.tui.returning import Returning

T = TypeVar("T")
W = TypeVar("W", bound=Widget)


def _commands() -> "type[Provider]":
    from finetune_tui.tui.palette import ActionCommands

    return ActionCommands


class Body(Container):
    """Where the places are."""

    DEFAULT_CSS = """
    Body { height: 1fr; width: 1fr; }
    """


class FinetuneApp(App[str | None]):
    """`run()` returns words to print after leaving (that a run goes on), or None."""

    CSS_PATH = Path(__file__).with_name("app.tcss")
    TITLE = "finetune-tui"
    COMMANDS = {_commands}
    BINDINGS: ClassVar[list[BindingType]] = list(bindings(APP_ACTIONS))
    AUTO_FOCUS = None

    def __init__(self, services: Services, session: Session | None = None) -> None:
        super().__init__()
        self.services = services
        self.session = session or Session()
        self.place: Place | None = None
        self.returning: Returning | None = None
        self._watch = Watch(self)
        self._places: dict[str, Place] = {}
        self.animation_level = "none"
        self.register_theme(DARK)
        self.register_theme(LIGHT)
        self.theme = DARK.name

    def get_theme_variable_defaults(self) -> dict[str, str]:
        return FALLBACKS

    def compose(self) -> ComposeResult:
        yield Masthead()
        yield StatusLine()
        yield Body()
        yield Rule()
        yield Footline()
        yield PromptLine()

    async def on_mount(self) -> None:
        await self.action_show_place("model")
        self.call_after_refresh(self._start_watching)

    async def on_event(self, event: events.Event) -> None:
        if isinstance(event, events.Key) and not event.is_forwarded and self.place is not None:
            self.screen_stack[0].query_one(Footline).hush()
        await super().on_event(event)

    # Places

    @property
    def places(self) -> tuple[str, ...]:
        return tuple(PLACES)

    @property
    def place_name(self) -> str | None:
        return self.place.id if self.place else None

    async def action_show_place(self, name: str) -> None:
        """Bring a place to the front, making it on the first visit."""
        shown = self._places.get(name)
        if shown is None:
            shown = self._places[name] = PLACES[name].load()(id=name)
            shown.display = False
            await self._frame(Body).mount(shown)
        if shown is not self.place:
            if self.place is not None:
                self.place.display = False
                self.place.on_hidden()
            self.place = shown
            shown.display = True
            shown.on_shown()
        self.session_changed()

    def session_changed(self) -> None:
        """Call after changing the session: what is on the screen follows."""
        screens = self.screen_stack[:1]
        lines = [
            line for kind in (Masthead, StatusLine) for one in screens for line in one.query(kind)
        ]
        if len(lines) < 2:
            return  # an answer that came while the app closes
        for line in lines:
            line.update()
        if self.place is not None:
            self.place.refresh_from_session()

    def masthead_words(self) -> tuple[str, ...]:
        """What the right end of the first line says, the more important first: a run, the GPU."""
        return self._watch.words()

    # Words and questions on the last line

    def say(self, words: str, wrong: bool = False) -> None:
        """One line at the bottom until the next key."""
        self._frame(Footline).say(words, wrong)

    def say_error(self, error: UserError) -> None:
        self.say(str(error), wrong=True)

    def ask(
        self,
        words: str,
        answer: Answer,
        value: str = "",
        typed: Answer | None = None,
        path: bool = False,
    ) -> None:
        """Ask on the last line; `answer` gets what was typed, escape takes the question back."""
        self._frame(PromptLine).ask(words, answer, value, typed, path)

    def _fatal_error(self) -> None:
        """Textual would print the traceback over the terminal; a person gets a line and a file."""
        assert self._exception is not None  # set by whoever calls this
        self.panic(Text(f"finetune-tui: {told(self._exception, self.services.home)}"))

    def read(self, title: str, make: Callable[[], str]) -> None:
        """Show a Markdown text over the screen; `make` may take a while, beside it."""
        from finetune_tui.tui.screens.reading import ReadingScreen

        def made(text: str) -> None:
            self._frame(Footline).hush()
            self.push_screen(ReadingScreen(plain(title), text))

        self.in_thread(make, made, group="reading")

    # Work in threads

    def in_thread(
        self,
        work: Callable[[], T],
        then: Callable[[T], object],
        group: str = "work",
        failed: Callable[[UserError], object] | None = None,
    ) -> None:
        """Run blocking `work` beside the screen, then `then` on it, or `failed` with a UserError.

        Without `failed` the error is said on the last line. Of two works in one group only the later
        one's answer counts. Leaving the app waits for none of them.
        """

        async def run() -> None:
            try:
                result = await in_daemon_thread(work)
            except UserError as error:
                answer = (failed or self.say_error)(error)
            except Exception as error:
                answer = (failed or self.say_error)(told(error, self.services.home))
            else:
                answer = then(result)
            if isawaitable(answer):
                await answer

        self.run_worker(run(), group=group, exclusive=True)

    def _start_watching(self) -> None:
        """After the first paint: what takes longer than a frame."""
        self.in_thread(self._look_back, self._looked_back, group="runs")
        self._watch.start()

    def _look_back(self) -> "Returning":
        from finetune_tui.tui.returning import last_seen, look_back, write_seen

        services = self.services
        seen = last_seen(services.home)
        found = look_back(services.list_runs(), seen, services.clock())
        write_seen(services.home, services.clock())
        return found

    async def _looked_back(self, returning: "Returning") -> None:
        """Show what was missed; a run that goes on is shown at once, unless the person was faster."""
        self.returning = returning
        if returning.live and self.place_name == "model" and self.session.manifest is None:
            self.session.monitored = returning.live
            await self.action_show_place("train")
        else:
            self.in_thread(self.services.examine, self._examined, group="examine")
        self.session_changed()

    def _examined(self, findings: "list[Finding]") -> None:
        self.session.findings = tuple(findings)
        self.session_changed()

    # Opening a model

    def open_model(
        self, reference: "ModelReference", spec: "Spec | None" = None, show: str = "layers"
    ) -> None:
        """Read the manifest in a thread, then work on it and show a place."""

        def opened(manifest: "Manifest") -> None:
            try:
                self.session.open_model(reference, manifest, spec)
            except UserError as error:
                self.say_error(error)
                return
            self._frame(Footline).hush()
            self._prepare_search(manifest)
            self._read_chosen_data()
            self.call_later(self.action_show_place, show)

        self.say(f"opening {reference.title}…")
        self.in_thread(lambda: self._load(reference), opened, group="model")

    def _load(self, reference: "ModelReference") -> "Manifest":
        """The manifest, with what the tree derives from it made already: beside the screen."""
        from finetune_tui.core.memory.estimate import estimate_all
        from finetune_tui.core.tuning.selection import Selection
        from finetune_tui.core.tuning.spec import Spec
        from finetune_tui.tui.widgets.tree_shape import shape_of

        manifest = self.services.load_manifest(reference)
        shape_of(manifest).prepare()
        estimate_all(manifest, Selection(), Spec())
        gc.freeze()  # a large tree stays as long as it is open: no collection need walk it again
        return manifest

    def _prepare_search(self, manifest: "Manifest") -> None:
        """A list of every row, for a large model too long to make between two keys."""
        from finetune_tui.tui.widgets.tree_shape import shape_of

        self.in_thread(lambda: shape_of(manifest).order, lambda _order: None, group="search")

    def _read_chosen_data(self) -> None:
        """Read the files that the spec names, so that every place can say what is in them."""
        sources = self.session.spec.train_files
        if sources and not self.session.has_read_data:
            self.in_thread(lambda: self.services.read_data(sources), self._saw_data, group="data")

    def _saw_data(self, report: "DataReport") -> None:
        if report.sources == self.session.spec.train_files:
            self.session.data = report
            self.session_changed()

    def action_open_data(self) -> None:
        """Ask for data, read it, and show what is in it."""
        self.ask("file, folder or Hub data set", self._read_data, path=True)

    def _read_data(self, name: str) -> None:
        if name:
            from finetune_tui.core.models.data_set_name import anchored

            source = anchored(name, Path.cwd())
            self.say(f"reading {plain(source)}…")
            self.in_thread(lambda: self.services.read_data([source]), self.use_data, group="data")

    async def use_data(self, report: "DataReport") -> None:
        """Train on this data, and show it."""
        self._frame(Footline).hush()
        self.session.use_data(report)
        await self.action_show_place("data")

    # Everywhere

    def action_edit_spec(self) -> None:
        """The spec as YAML in the person's own editor; what comes back is checked before it counts."""
        from finetune_tui.tui.editing import edit_spec

        session = self.session
        if session.reference is None or session.manifest is None:
            self.say("no model open: there is no spec yet")
            return
        try:
            with self.suspend():
                spec = edit_spec(session.current_spec())
            if spec.model_name_or_path != session.spec.model_name_or_path:
                from finetune_tui.core.models.resolve import find_model

                self.open_model(
                    find_model(spec.model_name_or_path), spec, self.place_name or "layers"
                )
                return
            session.change_all(spec)
        except UserError as error:
            self.say_error(error)
        except SuspendNotSupported:
            self.say("this terminal cannot be given to an editor", wrong=True)
        self._read_chosen_data()
        self.session_changed()

    async def action_perform(self, action_id: str) -> None:
        """Do what the action's key would do now; nothing when it cannot be reached."""
        for active in self.screen.active_bindings.values():
            if active.binding.id == action_id:
                await self.run_action(active.binding.action, active.node)
                return

    def action_help(self) -> None:
        """All keys of the place in front, of its focused pane, and of everywhere."""
        from finetune_tui.tui.screens.help import HelpScreen

        reachable = {active.binding.id for active in self.screen.active_bindings.values()}
        place = self.place
        own = place.actions if place else ()
        taken = {
            key for action in ACTIONS.values() if action.id in reachable for key in action.keys
        }
        actions = [
            action
            for action in ACTIONS.values()
            if action.id in reachable
            or (action.group == EVERYWHERE and action.keys and not taken & set(action.keys))
        ]
        actions.sort(key=lambda action: (action not in own, action.group == EVERYWHERE))
        title = place.title if place else ""
        self.push_screen(HelpScreen(title, actions), self._perform_picked)

    async def _perform_picked(self, action_id: str | None) -> None:
        if action_id:
            await self.action_perform(action_id)

    def action_one_level_out(self) -> None:
        if self.place is not None:
            self.place.one_level_out()

    def action_switch_theme(self) -> None:
        self.theme = LIGHT.name if self.theme == DARK.name else DARK.name

    def action_leave(self) -> None:
        """Leave; with words when a run goes on."""
        from finetune_tui.tui.returning import write_seen

        write_seen(self.services.home, self.services.clock())
        live = self.returning.live if self.returning else None
        for run in (self.session.monitored, live):
            if run is not None and run.liveness(self.services.clock()).is_alive:
                name = plain(run.short_id)
                self.exit(
                    f"{name} goes on; follow it with `finetune-tui attach {name}` or in the app"
                )
                return
        self.exit(None)

    def _frame(self, kind: type[W]) -> W:
        """A part of the frame, whatever screen lies over it."""
        return self.screen_stack[0].query_one(kind)


def run_app(home: Path) -> int:
    """Open the app on this terminal; the exit code."""
    from finetune_tui.tui.services import real_services

    app = FinetuneApp(real_services(home))
    words = app.run()
    if words:
        print(words)
    return app.return_code or 0
