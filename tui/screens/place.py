"""Place: one of the five rooms of the screen. The app shows one at a time and keeps the others."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, cast

from textual.widget import Widget

from finetune_tui.tui.actions import Action, bindings

if TYPE_CHECKING:
    from finetune_tui.tui.app import FinetuneApp
    from finetune_tui.tui.services import Services
    from finetune_tui.tui.session import Session


class Place(Widget):
    """Declare `actions`; they become the place's bindings, footer entries, help and palette.

    `on_shown` is called each time the place comes to the front, before `refresh_from_session`, which is
    called whenever the session has changed while the place is in front.
    """

    DEFAULT_CSS = """
    Place { width: 1fr; height: 1fr; }
    """

    title: ClassVar[str] = ""
    about: ClassVar[str] = ""
    """What the place is for, in a sentence or two, for its help."""
    actions: ClassVar[tuple[Action, ...]] = ()

    def __init_subclass__(cls, **options: Any) -> None:
        cls.BINDINGS = list(bindings(cls.__dict__.get("actions", ())))
        super().__init_subclass__(**options)

    @property
    def finetune(self) -> "FinetuneApp":
        return cast("FinetuneApp", self.app)

    @property
    def session(self) -> "Session":
        return self.finetune.session

    @property
    def services(self) -> "Services":
        return self.finetune.services

    def on_shown(self) -> None:
        """The place came to the front: take the focus, start what only runs while it is seen."""

    def on_hidden(self) -> None:
        """Another place came to the front: stop what only runs while this one is seen."""

    def one_level_out(self) -> bool:
        """Escape: leave the innermost thing that is open; False when there is none."""
        return False

    def help_words(self) -> Sequence[str]:
        """Paragraphs above the keys in the help: what is under the cursor, then the place."""
        return [self.about] if self.about else []

    def refresh_from_session(self) -> None:
        """Show what the session holds now."""
