"""A view of the Runs place: the list, or what was opened from it and leads back to it."""

from typing import TYPE_CHECKING

from finetune_tui.tui.screens.place import Place
from finetune_tui.tui.widgets.lines import Line, key

if TYPE_CHECKING:
    from finetune_tui.tui.screens.runs import RunsPlace


class RunsView(Place, can_focus=True):
    """Declares its actions as a place does; the Runs place shows one view at a time.

    `one_level_out` first leaves what is open within the view; where it answers False the list comes back.
    """

    @property
    def runs_place(self) -> "RunsPlace":
        from finetune_tui.tui.screens.runs import RunsPlace  # which shows the views

        return next(node for node in self.ancestors if isinstance(node, RunsPlace))


def back_key() -> Line:
    """For the right end of a view's heading."""
    return key("esc", "back", "app.one_level_out")
