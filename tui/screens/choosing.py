"""What Layers and Train share: undo of whatever was chosen, and the questions about its memory."""

from finetune_tui.tui import simulating
from finetune_tui.tui.actions import Action, ActionGroup
from finetune_tui.tui.screens.cards import compare_with_card
from finetune_tui.tui.screens.fitting import show_fitting
from finetune_tui.tui.screens.place import Place


def memory_actions(action: ActionGroup) -> tuple[Action, ...]:
    """What both places can do about memory, in the group of one of them."""
    return (
        action("fit", "F", "fit", "what would fit on this GPU, best first", footer=True),
        action(
            *("simulate", "M", "simulate"),
            "step the model without weights: its memory to the byte, and where the peak lies",
            footer=True,
        ),
        action("card", "C", "card", "hold memory against a card that is not here", footer=True),
    )


class ChoosingPlace(Place):
    """A place that changes the selection or the settings."""

    def changed_by_undo(self) -> None:
        """The session is as it was before, or after: show it."""
        self.finetune.session_changed()

    def action_undo(self) -> None:
        if not self.session.undo():
            self.finetune.say("nothing to undo")
        self.changed_by_undo()

    def action_redo(self) -> None:
        if not self.session.redo():
            self.finetune.say("nothing to redo")
        self.changed_by_undo()

    def action_fit(self) -> None:
        show_fitting(self)

    def leave_simulation(self) -> bool:
        """Escape: cancel the one that goes on, or clear the one that is shown; False without one."""
        if not simulating.cancel(self.session):
            return False
        self.finetune.session_changed()
        return True

    def cancel_stale_simulation(self) -> None:
        """Call when the session has changed."""
        simulating.cancel_if_stale(self.session)

    def action_simulate(self) -> None:
        simulating.simulate(self)

    def action_card(self) -> None:
        compare_with_card(self)
