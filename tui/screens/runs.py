"""Runs: the list of them, and what is opened from it: curves, differences, the queue, the bin."""

import importlib
from collections.abc import Mapping, Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.containers import Container

from finetune_tui.core.runs.directory import RunDirectory
from finetune_tui.core.runs.listing import RunFacts
from finetune_tui.core.tuning.task_spec import CompareSpec
from finetune_tui.tui.actions import Action
from finetune_tui.tui.screens.place import Place
from finetune_tui.tui.screens.runs_actions import PLACE_ACTIONS
from finetune_tui.tui.screens.runs_changes import History
from finetune_tui.tui.screens.runs_list import RunList
from finetune_tui.tui.screens.runs_view import RunsView

# Imported when they are first shown, as places are.
_VIEWS: Mapping[str, tuple[str, str]] = {
    "curves": ("overlay", "OverlayView"),
    "difference": ("run_difference", "DifferenceView"),
    "compare": ("compare_sheet", "CompareView"),
    "comparison": ("comparison", "ComparisonView"),
    "export": ("export", "ExportView"),
    "queue": ("queue", "QueueView"),
    "bin": ("run_bin", "BinView"),
    "on_end": ("on_end", "OnEndView"),
}


class RunsPlace(Place):
    """Shows one view at a time; `escape` leads back to the list."""

    title: ClassVar[str] = "Runs"
    about: ClassVar[str] = (
        "Every run here, live or ended: watch it, go on with it, compare it, note what it was for."
    )
    actions: ClassVar[tuple[Action, ...]] = PLACE_ACTIONS

    DEFAULT_CSS = """
    RunsPlace > Container { width: 1fr; height: 1fr; }
    """

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.history = History(self, self._changed)
        self._list = RunList(id="runs-list")
        self._views: dict[str, RunsView] = {"list": self._list}
        self._shown: RunsView = self._list

    def compose(self) -> ComposeResult:
        with Container():
            yield self._list

    @property
    def shown(self) -> RunsView:
        """The view in front."""
        return self._shown

    def on_shown(self) -> None:
        self._shown.on_shown()

    def on_hidden(self) -> None:
        self._shown.on_hidden()

    def one_level_out(self) -> bool:
        if self._shown.one_level_out():
            return True
        if self._shown is self._list:
            return False
        self._bring(self._list)
        return True

    def refresh_from_session(self) -> None:
        self._shown.refresh_from_session()

    async def view(self, name: str) -> RunsView:
        """Bring a view to the front, made on its first visit."""
        if name not in self._views:
            module, kind = _VIEWS[name]
            loaded = importlib.import_module(f"finetune_tui.tui.screens.{module}")
            made = self._views[name] = getattr(loaded, kind)(id=f"runs-{name}")
            made.display = False
            await self.query_one(Container).mount(made)
        self._bring(self._views[name])
        return self._shown

    def _bring(self, view: RunsView) -> None:
        if view is self._shown:
            return
        self._shown.on_hidden()
        self._shown.display = False
        self._shown = view
        view.display = True
        view.on_shown()
        self.refresh_bindings()

    def _changed(self) -> None:
        """After a change on the disk: what is in front shows it."""
        self._list.look()
        self._shown.refresh_from_session()

    # What the keys do

    def action_undo(self) -> None:
        self.history.undo()

    def action_redo(self) -> None:
        self.history.redo()

    async def action_view(self, name: str) -> None:
        await self.view(name)

    async def show_curves(self, chosen: Sequence[RunFacts]) -> None:
        from finetune_tui.tui.screens.overlay import OverlayView

        view = await self.view("curves")
        assert isinstance(view, OverlayView)
        view.show(chosen, self._list.preview.known)

    async def show_difference(self, chosen: Sequence[RunFacts]) -> None:
        from finetune_tui.tui.screens.run_difference import DifferenceView

        view = await self.view("difference")
        assert isinstance(view, DifferenceView)
        view.show(chosen[0], chosen[1])

    async def show_compare(self, run: RunDirectory, spec: CompareSpec | None = None) -> None:
        """The sheet before a comparison of this trained run. spec: to begin with."""
        from finetune_tui.tui.screens.compare_sheet import CompareView

        view = await self.view("compare")
        assert isinstance(view, CompareView)
        view.open(run, spec)

    async def show_comparison(self, run: RunDirectory, name: str | None = None) -> None:
        """What the comparisons of this trained run found, the one of a name or the newest in front."""
        from finetune_tui.tui.screens.comparison import ComparisonView

        view = await self.view("comparison")
        assert isinstance(view, ComparisonView)
        view.open(run, name)
