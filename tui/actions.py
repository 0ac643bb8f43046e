"""Actions: what a person can do, declared once. Keys, footer, help, palette and mouse all read this."""

from collections.abc import Iterable
from dataclasses import dataclass

from textual.binding import Binding


@dataclass(frozen=True, slots=True)
class Action:
    """One thing a person can do in one place (or anywhere).

    id: unique, `place.verb`. keys: Textual's key names, the first one is shown. words: two or three for
    the footer. help: one line for the help screen and the palette. run: what Textual calls, the name of an
    `action_*` method (arguments allowed, as in `show_place('data')`). footer: show it there while it is
    reachable; keep these few, the footer drops from the right what does not fit.
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
        """The keys as a person reads them: 'spc', '/', 'j k'."""
        return self.shown or " ".join(dict.fromkeys(key_word(key) for key in self.keys))


_KEY_WORDS = {
    "space": "spc",
    "slash": "/",
    "question_mark": "?",
    "colon": ":",
    "left_square_bracket": "[",
    "right_square_bracket": "]",
    "plus": "+",
    "equals_sign": "=",
    "minus": "-",
    "escape": "esc",
    "up": "↑",
    "down": "↓",
    "left": "←",
    "right": "→",
    "pageup": "pgup",
    "pagedown": "pgdn",
    "ctrl+p": "ctrl+p",
}


def key_word(key: str) -> str:
    """Textual's key name as a person reads it."""
    return _KEY_WORDS.get(key, key)


def bindings(actions: Iterable[Action]) -> list[Binding]:
    """The same actions as Textual's bindings; the id leads back to the action."""
    return [
        Binding(
            ",".join(action.keys),
            action.run,
            action.words,
            show=action.footer,
            tooltip=action.help,
            id=action.id,
        )
        for action in actions
    ]


APP_ACTIONS = (
    *(
        Action(
            f"app.{name}",
            (str(number),),
            name,
            f"go to the {name.capitalize()} place",
            "everywhere",
            f"show_place('{name}')",
        )
        for number, name in enumerate(("model", "layers", "data", "train", "runs"), start=1)
    ),
    Action("app.tab", ("tab",), "next pane", "next pane", "everywhere", "app.focus_next"),
    Action(
        "app.shift_tab",
        ("shift+tab",),
        "pane before",
        "the pane before",
        "everywhere",
        "app.focus_previous",
    ),
    Action(
        "app.palette",
        ("colon", "ctrl+p"),
        "palette",
        "every action by name, and the themes",
        "everywhere",
        "command_palette",
    ),
    Action("app.help", ("question_mark",), "keys", "all keys here", "everywhere", "help", footer=True),
    Action(
        "app.escape",
        ("escape",),
        "back",
        "one level out; never leaves the app",
        "everywhere",
        "one_level_out",
    ),
    Action("app.quit", ("q",), "leave", "leave the app; a run goes on without it", "everywhere", "leave"),
)
