"""The Layers place."""

from typing import ClassVar

from textual.app import ComposeResult
from textual.widgets import Static

from finetune_tui.tui.screens.place import Place


class LayersPlace(Place, can_focus=True):
    """The module tree and what it costs."""

    title: ClassVar[str] = "Layers"

    def compose(self) -> ComposeResult:
        yield Static("layers", markup=False)

    def on_shown(self) -> None:
        self.focus()
