"""The Model place: which model to work on."""

from typing import ClassVar

from textual.app import ComposeResult
from textual.widgets import Static

from finetune_tui.tui.actions import Action
from finetune_tui.tui.screens.place import Place


class ModelPlace(Place, can_focus=True):
    """Catalog, a local folder, the demo."""

    title: ClassVar[str] = "Model"
    actions: ClassVar[tuple[Action, ...]] = (
        Action("model.demo", ("d",), "demo", "the built-in demo", "model", "demo", footer=True),
    )

    def compose(self) -> ComposeResult:
        yield Static("d demo", markup=False)

    def on_shown(self) -> None:
        self.focus()

    def action_demo(self) -> None:
        from finetune_tui.core.models.resolve import find_model
        from finetune_tui.core.tuning.spec import demo_spec

        self.finetune.open_model(find_model("demo"), demo_spec())
