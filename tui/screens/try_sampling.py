"""How answers are drawn, changed over the screen, each with its rule of thumb."""

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.screen import ModalScreen

from finetune_tui.core.errors import UserError
from finetune_tui.core.evidence.sampling import SAMPLING, Sampling
from finetune_tui.tui.actions import ActionGroup, bindings
from finetune_tui.tui.widgets.field_form import FieldForm
from finetune_tui.tui.widgets.form_rows import Row
from finetune_tui.tui.widgets.lines import Lines, dim, line, rule, strong
from finetune_tui.tui.widgets.status import Footline

_action = ActionGroup("sampling")

SAMPLING_ACTIONS = (
    _action("change", "enter l right", "change", "type a value", footer=True, shown="⏎"),
    _action("close", "escape q h left", "done", "back to the answers", footer=True, shown="esc"),
    _action("reset", "0", "defaults", "all as they were at first", footer=True),
    _action("down", "j down", "down", "the one below", "move(1)"),
    _action("up", "k up", "up", "the one above", "move(-1)"),
    _action("top", "g home", "top", "the first", "move(-100)"),
    _action("bottom", "G end", "bottom", "the last", "move(100)"),
)


class SamplingScreen(ModalScreen[Sampling]):
    """Answers the settings as they are when it is left."""

    DEFAULT_CSS = """
    SamplingScreen { background: $background; }
    SamplingScreen #sampling-title { height: 1; }
    """
    BINDINGS: ClassVar[list[BindingType]] = list(bindings(SAMPLING_ACTIONS))

    def __init__(self, sampling: Sampling) -> None:
        super().__init__()
        self._sampling = sampling
        rows = [Row(name, field) for name, field in SAMPLING.items()]
        self._form = FieldForm(sampling, rows, id="sampling-form")

    def compose(self) -> ComposeResult:
        yield Lines(
            lambda width, _: [
                rule(width, [line(strong("sampling"))], [line(dim(self._sampling.words))])
            ],
            id="sampling-title",
        )
        yield self._form
        yield Footline()

    def on_field_form_wanted(self, message: FieldForm.Wanted) -> None:
        try:
            self._use(self._sampling.changed({message.name: message.value}))
        except UserError as error:
            self._form.refuse(error)

    def _use(self, sampling: Sampling) -> None:
        self._sampling = sampling
        self._form.accept(sampling)
        self.query_one("#sampling-title", Lines).update()

    def action_change(self) -> None:
        self._form.edit()

    def action_move(self, by: int) -> None:
        self._form.move(by)

    def action_reset(self) -> None:
        self._use(Sampling())

    def action_close(self) -> None:
        self.dismiss(self._sampling)
