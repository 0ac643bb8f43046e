"""The app: one screen with two lines on top, a place in the middle and the keys below."""

import gc
import os
from collections.abc import Callable
from inspect import isawaitable
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, TypeVar, cast

from rich.text import Text
from textual import events
from textual.app import App, ComposeResult
from textual.binding import BindingType
from textual.containers import Container
from textual.dom import DOMNode
from textual.driver import Driver
from textual.errors import NoWidget
from textual.widget import Widget
from textual.widgets import Input
from textual.worker import WorkerFailed

from finetune_tui.core.errors import UserError
from finetune_tui.core.text import plain
from finetune_tui.tui.actions import ACTIONS, APP_ACTIONS, EVERYWHERE, bindings
from finetune_tui.tui.faults import told
from finetune_tui.tui.keymap import Keymap, checked, with_capital
from finetune_tui.tui.opening import Opening
from finetune_tui.tui.places import PLACES
from finetune_tui.tui.screens.place import Place
from finetune_tui.tui.services import Services
from finetune_tui.tui.session import Session
from finetune_tui.tui.telling import Telling
from finetune_tui.tui.themes import ANSI, FALLBACKS, THEMES
from finetune_tui.tui.threads import in_daemon_thread, share_in_short_turns
from finetune_tui.tui.watching import Watch
from finetune_tui.tui.widgets.prompt import Answer, PromptLine
from finetune_tui.tui.widgets.status import Footline, Masthead, Rule, StatusLine

if TYPE_CHECKING:
    from textual.command import Provider

    from finetune_tui.tui.returning import Returning

T = TypeVar("T")
W = TypeVar("W", bound=Widget)


def _commands() -> "type[Provider]":
    from finetune_tui.tui.palette import ActionCommands

    return ActionCommands


def _settings() -> "type[Provider]":
    from finetune_tui.tui.palette import SettingCommands

    return SettingCommands


class Body(Container):
    """Where the places are."""

    DEFAULT_CSS = """
    Body { height: 1fr; width: 1fr; }
    """


class FinetuneApp(App[str | None]):
    """`run()` returns words to print after leaving (that a run goes on), or None."""

    CSS_PATH = Path(__file__).with_name("app.tcss")
    TITLE = "finetune-tui"
    COMMANDS = {_commands, _settings}
    BINDINGS: ClassVar[list[BindingType]] = list(bindings(APP_ACTIONS))
    AUTO_FOCUS = None

    def __init__(
        self,
        services: Services,
        session: Session | None = None,
        driver_class: type[Driver] | None = None,
    ) -> None:
        super().__init__(driver_class, ansi_color=True if "NO_COLOR" in os.environ else None)
        self.services = services
        self.settings = services.read_settings()
        self.session = session or Session()
        self.place: Place | None = None
        self.returning: Returning | None = None
        self.opening = Opening(self)
        self.telling = Telling(self, self.settings)
        self.keymap = Keymap.hoped_for(self.settings.keys)
        self._watch = Watch(self)
        self._places: dict[str, Place] = {}
        self.animation_level = "none"
        for theme in THEMES.values():
            self.register_theme(theme)
        self.theme = ANSI.name if self.no_color else THEMES[self.settings.theme].name
        self.keymap.bind(self)

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
        self.call_after_refresh(self._start)

    async def on_event(self, event: events.Event) -> None:
        if not event.is_forwarded and self.place is not None:
            if isinstance(event, events.Key):
                with_capital(event)
                self.hush()
            elif isinstance(event, events.MouseUp):
                self._clear_last_line(event)
        await super().on_event(event)

    def _clear_last_line(self, event: events.MouseUp) -> None:
        """A click lets the keys come back, as a key does; one beside a question takes that back."""
        try:
            under = self.get_widget_at(event.x, event.y)[0]
        except NoWidget:  # let go of beyond the edge
            return
        if not isinstance(under, Footline):  # which then knows that it was words that were clicked
            self.hush()
        prompt = self._frame(PromptLine)
        if prompt.display and prompt not in under.ancestors_with_self:
            prompt.action_take_back()

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
            gc.freeze()  # places stay as long as the app: walking them took a tenth of a second
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
        """One line at the bottom until the next key or click."""
        for line in self._footlines()[-1:]:
            line.say(words, wrong)

    def hush(self) -> None:
        """The keys again."""
        for line in self._footlines():
            line.hush()

    def _footlines(self) -> list[Footline]:
        """Those of the screens that have one, the uppermost last; none while the app closes."""
        return [line for screen in self.screen_stack for line in screen.query(Footline)]

    def copy(self, text: str, what: str = "") -> None:
        """Into the clipboard and a file, and say so. what: names a text too long to be told."""
        from finetune_tui.tui.copying import copy

        self._clipboard = text  # what ctrl+v puts into a field
        copy(self, text, what)

    def copy_to_clipboard(self, text: str) -> None:
        """Textual's own name for it, for text that was marked with the mouse."""
        self.copy(text)

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
        error: BaseException | None = self._exception
        assert error is not None  # set by whoever calls this
        if isinstance(error, WorkerFailed):
            error = error.error  # with the traceback of what went wrong, not of who waited for it
        self.panic(Text(f"finetune-tui: {told(error, self.services.home)}"))

    def read(self, title: str, make: Callable[[], str]) -> None:
        """Show a Markdown text over the screen; `make` may take a while, beside it."""
        from finetune_tui.tui.screens.reading import ReadingScreen

        def made(text: str) -> None:
            self.hush()
            self.push_screen(ReadingScreen(plain(title), text))

        self.in_thread(make, made, group="reading")

    # Keys of one's own

    def _register_child(
        self, parent: DOMNode, child: Widget, before: int | None, after: int | None
    ) -> None:
        """Every widget and screen comes by here; each gets its keys before it can be asked for them."""
        self.keymap.bind(child)
        if isinstance(child, Input):
            child.cursor_blink = False  # twice a second, over any wire
        super()._register_child(parent, child, before, after)

    def _use_keys(self, found: tuple[Keymap, list[str]]) -> None:
        """Now that all actions are known: only what can be had."""
        self.keymap, wrong = found
        self.keymap.bind(self)
        for screen in self.screen_stack:
            for node in screen.walk_children(with_self=True):
                self.keymap.bind(node)
        self.refresh_bindings()
        if wrong:
            self.say(f"keys of {self.settings.path.name} left out: {'; '.join(wrong)}", wrong=True)

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
            result, wrong = None, None
            try:
                result = await in_daemon_thread(work)
            except UserError as error:
                wrong = error
            except Exception as error:
                wrong = told(error, self.services.home)
            if self._exit or not self.is_running:
                return  # there is no screen any more that could show it
            try:
                known = (
                    then(cast("T", result)) if wrong is None else (failed or self.say_error)(wrong)
                )
                if isawaitable(known):
                    await known
            except UserError as error:
                self.say_error(error)

        # Not `run()`: one that is cancelled before it begins would be said to be never awaited.
        self.run_worker(run, group=group, exclusive=True)  # type: ignore[arg-type]

    def _start(self) -> None:
        """After the first paint: what takes longer than a frame."""
        self._watch.start()
        if self.settings.problems:
            self.say(self.settings.problems[0], wrong=True)
        if self.settings.keys:
            self.in_thread(lambda: checked(self.settings.keys), self._use_keys, group="keys")

    # Everywhere

    def action_open_data(self) -> None:
        self.opening.ask_data()

    def action_open_spec(self) -> None:
        self.opening.ask_spec()

    def action_edit_spec(self) -> None:
        """The spec as YAML in the person's own editor; what comes back is checked before it counts."""
        from finetune_tui.tui.editing import edit_in

        edit_in(self)

    async def action_perform(self, action_id: str) -> None:
        """Do what the action's key would do now; nothing when it cannot be reached."""
        for active in self.screen.active_bindings.values():
            if active.binding.id == action_id:
                await self.run_action(active.binding.action, active.node)
                return

    def action_help(self) -> None:
        """All keys of the place in front, of its focused pane, and of everywhere."""
        from finetune_tui.tui.screens.help import HelpScreen

        place = self.place
        if place is None:
            return
        active = self.screen.active_bindings
        reachable = {one.binding.id for one in active.values()}
        # Textual's own `tab` lies over ours, which does the same.
        reachable |= {"app.next", "app.before"} if active["tab"].binding.id is None else set()
        actions = [action for action in ACTIONS.values() if action.id in reachable]
        actions.sort(key=lambda one: (one not in place.actions, one.group == EVERYWHERE))
        self.push_screen(HelpScreen(place.title, actions, place.help_words()), self._perform_picked)

    async def _perform_picked(self, action_id: str | None) -> None:
        if action_id:
            await self.action_perform(action_id)

    def action_one_level_out(self) -> None:
        if self.place is not None:
            self.place.one_level_out()

    def action_switch_theme(self) -> None:
        """Dark, light, the terminal's own colours; kept in the settings."""
        if self.no_color:
            self.say("NO_COLOR is set: there are no colours to choose from")
            return
        names = list(THEMES)
        now = next(name for name, theme in THEMES.items() if theme.name == self.theme)
        name = names[(names.index(now) + 1) % len(names)]
        self.theme = THEMES[name].name
        self.in_thread(
            lambda: self.services.change_setting("theme", name),
            lambda _: self.say(f"theme: {name}"),
            group="settings",
        )

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
    from finetune_tui.tui.terminal import TolerantDriver

    share_in_short_turns()
    app = FinetuneApp(real_services(home), driver_class=TolerantDriver)
    if app.console.color_system == "standard":  # sixteen colours: only the terminal knows which
        app.theme = ANSI.name
    try:
        words = app.run()
    finally:
        app.telling.restore()
    if words:
        print(words)
    return app.return_code or 0
