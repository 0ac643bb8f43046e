"""The app: one screen with two lines on top, a place in the middle and the keys below."""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from textual.app import App, ComposeResult
from textual.binding import BindingType
from textual.containers import Container

from finetune_tui.core.errors import UserError
from finetune_tui.tui.actions import APP_ACTIONS, Action, bindings
from finetune_tui.tui.screens.place import Place
from finetune_tui.tui.services import Services
from finetune_tui.tui.session import Session
from finetune_tui.tui.themes import DARK, LIGHT
from finetune_tui.tui.widgets.status import Footline, Masthead, Rule, StatusLine

if TYPE_CHECKING:
    from finetune_tui.core.hardware import Hardware
    from finetune_tui.core.models.resolve import ModelReference
    from finetune_tui.core.tuning.spec import Spec

_HARDWARE_EVERY = 3.0  # seconds


@dataclass(frozen=True, slots=True)
class _Entry:
    """Where a place lives; it is imported on the first visit, so that the first paint is early."""

    module: str
    name: str

    def load(self) -> type[Place]:
        loaded: type[Place] = getattr(importlib.import_module(self.module), self.name)
        return loaded


PLACES: dict[str, _Entry] = {
    name: _Entry(f"finetune_tui.tui.screens.{name}", f"{name.capitalize()}Place")
    for name in ("model", "layers", "data", "train", "runs")
}


class FinetuneApp(App[str | None]):
    """`run()` returns words to print after leaving (that a run goes on), or None."""

    CSS_PATH = "app.tcss"
    TITLE = "finetune-tui"
    ENABLE_COMMAND_PALETTE = True
    BINDINGS: ClassVar[list[BindingType]] = list(bindings(APP_ACTIONS))
    actions: ClassVar[tuple[Action, ...]] = APP_ACTIONS

    def __init__(self, services: Services, session: Session | None = None) -> None:
        super().__init__()
        self.services = services
        self.session = session or Session()
        self.animation_level = "none"
        self.register_theme(DARK)
        self.register_theme(LIGHT)
        self.theme = DARK.name
        self._places: dict[str, Place] = {}
        self.place: Place | None = None

    def compose(self) -> ComposeResult:
        yield Masthead()
        yield StatusLine()
        yield Container(id="body")
        yield Rule()
        yield Footline()

    async def on_mount(self) -> None:
        await self.action_show_place("model")
        self.call_after_refresh(self._start_watching)

    # Places

    async def action_show_place(self, name: str) -> None:
        """Bring a place to the front, making it on the first visit."""
        shown = self._places.get(name)
        if shown is None:
            try:
                kind = PLACES[name].load()
            except ModuleNotFoundError:
                return
            shown = self._places[name] = kind(id=name)
            shown.display = False
            await self.query_one("#body").mount(shown)
        if shown is not self.place:
            if self.place is not None:
                self.place.display = False
                self.place.on_hidden()
            self.place = shown
            shown.display = True
            shown.on_shown()
        self.session_changed()

    @property
    def place_name(self) -> str | None:
        return self.place.id if self.place else None

    def session_changed(self) -> None:
        """Call after changing the session: what is on the screen follows."""
        self.query_one(Masthead).refresh_from_session()
        self.query_one(StatusLine).refresh_from_session()
        if self.place is not None:
            self.place.refresh_from_session()

    # Words and questions on the last line

    def say(self, words: str, wrong: bool = False) -> None:
        """One line at the bottom until the next key."""
        self.query_one(Footline).say(words, wrong)

    def say_error(self, error: UserError) -> None:
        self.say(str(error), wrong=True)

    # Work in threads

    def in_thread(
        self, work: Callable[[], object], then: Callable[[object], None], group: str = "work"
    ) -> None:
        """Run blocking `work` beside the screen, then `then` on it; a UserError becomes words."""

        def run() -> None:
            try:
                result = work()
            except UserError as error:
                self.call_from_thread(self.say_error, error)
                return
            self.call_from_thread(then, result)

        self.run_worker(run, thread=True, group=group, exit_on_error=True)

    def _start_watching(self) -> None:
        self._watch_hardware()
        self.set_interval(_HARDWARE_EVERY, self._watch_hardware)

    def _watch_hardware(self) -> None:
        def read() -> None:
            hardware = self.services.read_hardware()
            self.call_from_thread(self._saw_hardware, hardware)

        self.run_worker(read, thread=True, group="hardware", exclusive=True)

    def _saw_hardware(self, hardware: "Hardware") -> None:
        self.session.see_hardware(hardware)
        self.session_changed()

    # Opening a model

    def open_model(
        self, reference: "ModelReference", spec: "Spec | None" = None, show: str = "layers"
    ) -> None:
        """Read the manifest in a thread, then show the place."""

        def opened(manifest: object) -> None:
            self.session.open_model(reference, manifest, spec)  # type: ignore[arg-type]
            self.call_later(self.action_show_place, show)

        self.in_thread(lambda: self.services.load_manifest(reference), opened, group="model")

    # Everywhere

    def action_help(self) -> None:
        from finetune_tui.tui.screens.help import HelpScreen

        self.push_screen(HelpScreen())

    def action_one_level_out(self) -> None:
        """Escape with nothing to leave: stay."""

    def action_leave(self) -> None:
        self.exit(None)
