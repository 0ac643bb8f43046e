"""Actions: what a person can do, declared once. Keys, footer, help, palette and mouse all read this."""

from collections.abc import Iterable
from dataclasses import dataclass

from textual.binding import Binding


@dataclass(frozen=True, slots=True)
class Action:
    """One thing a person can do in one place, or anywhere.

    id: unique, `place.verb`. keys: Textual's key names. words: one or two for the footer. help: one line
    for the help screen and the palette. run: what Textual calls, the name of an `action_*` method
    (arguments allowed, as in `show_place('data')`). footer: show it there while it can be done; keep
    these few, the footer drops the last ones where there is no room.
    """

    id: str
    keys: tuple[str, ...]
    words: str
    help: str
    group: str
    run: str
    footer: bool = False
    shown: str | None = None

    @property
    def key_words(self) -> str:
        """The keys as a person reads them: 'spc', '/', 'j ↓'."""
        return self.shown or " ".join(dict.fromkeys(key_word(key) for key in self.keys))


class ActionGroup:
    """Declares the actions of one place, or of one screen, in a line each."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(
        self,
        verb: str,
        keys: str,
        words: str,
        help: str,
        run: str = "",
        footer: bool = False,
        shown: str | None = None,
    ) -> Action:
        """keys: separated by spaces. run: without it, the method is named as the verb."""
        names = tuple(keys.split())
        return Action(
            f"{self.name}.{verb}", names, words, help, self.name, run or verb, footer, shown
        )


_KEY_WORDS = {
    "space": "spc",
    "slash": "/",
    "question_mark": "?",
    "colon": ":",
    "left_square_bracket": "[",
    "right_square_bracket": "]",
    "plus": "+",
    "escape": "esc",
    "up": "↑",
    "down": "↓",
    "left": "←",
    "right": "→",
    "pageup": "pgup",
    "pagedown": "pgdn",
}

ACTIONS: dict[str, Action] = {}
"""Every action declared so far, by id, in the order of declaration."""


def key_word(key: str) -> str:
    """Textual's key name as a person reads it."""
    return _KEY_WORDS.get(key, key)


def bindings(actions: Iterable[Action]) -> list[Binding]:
    """The same actions as Textual's bindings, remembered in ACTIONS under the id that both share."""
    made = []
    for action in actions:
        ACTIONS[action.id] = action
        if not action.keys:  # only by palette or mouse
            continue
        made.append(
            Binding(
                ",".join(action.keys),
                action.run,
                action.words,
                show=action.footer,
                tooltip=action.help,
                id=action.id,
            )
        )
    return made


EVERYWHERE = "everywhere"

APP_ACTIONS = (
    *(
        Action(
            f"app.{name}",
            (str(number),),
            name,
            f"go to {name.capitalize()}",
            EVERYWHERE,
            f"show_place('{name}')",
        )
        for number, name in enumerate(("model", "layers", "data", "train", "runs"), start=1)
    ),
    Action("app.next", ("tab",), "next pane", "next pane", EVERYWHERE, "app.focus_next"),
    Action(
        "app.before", ("shift+tab",), "last pane", "pane before", EVERYWHERE, "app.focus_previous"
    ),
    Action(
        "app.palette",
        ("colon", "ctrl+p"),
        "palette",
        "every action by its name",
        EVERYWHERE,
        "command_palette",
    ),
    Action("app.data_file", ("o",), "my data", "choose a data file", EVERYWHERE, "open_data"),
    Action("app.edit", ("e",), "edit", "edit the spec in $EDITOR", EVERYWHERE, "edit_spec"),
    Action("app.theme", (), "theme", "dark or light", EVERYWHERE, "switch_theme"),
    Action("app.help", ("question_mark",), "keys", "all keys here", EVERYWHERE, "help"),
    Action(
        "app.out", ("escape",), "back", "one level out; never leaves", EVERYWHERE, "one_level_out"
    ),
    Action(
        "app.leave", ("q",), "leave", "leave; a run goes on without the app", EVERYWHERE, "leave"
    ),
)
