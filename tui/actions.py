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
        return self.shown or words_of(self.keys)


class ActionGroup:
    """Declares the actions of one place, or of one screen, in a line each.

    name: the first part of their ids. title: what the help calls the group, the name without it.
    """

    def __init__(self, name: str, title: str = "") -> None:
        self.name = name
        self.title = title or name

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
            f"{self.name}.{verb}", names, words, help, self.title, run or verb, footer, shown
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


def words_of(keys: Iterable[str]) -> str:
    """Several keys as a person reads them."""
    return " ".join(dict.fromkeys(key_word(key) for key in keys))


def bindings(actions: Iterable[Action]) -> list[Binding]:
    """The same actions as Textual's bindings, remembered in ACTIONS under the id that both share."""
    made = []
    for action in actions:
        ACTIONS[action.id] = action
        if action.keys:  # else only by palette or mouse
            made.append(binding(action, action.keys))
    return made


def binding(action: Action, keys: Iterable[str]) -> Binding:
    """The action as Textual's binding, on these keys."""
    return Binding(
        ",".join(keys),
        action.run,
        action.words,
        show=action.footer,
        tooltip=action.help,
        id=action.id,
    )


EVERYWHERE = "everywhere"

_action = ActionGroup("app", EVERYWHERE)

APP_ACTIONS = (
    *(
        _action(name, str(number), name, f"go to {name.capitalize()}", f"show_place('{name}')")
        for number, name in enumerate(("model", "layers", "data", "train", "runs", "try"), start=1)
    ),
    _action("next", "tab", "next pane", "next pane", "app.focus_next"),
    _action("before", "shift+tab", "last pane", "pane before", "app.focus_previous"),
    _action("palette", "colon ctrl+p", "palette", "every action by its name", "command_palette"),
    _action("data_file", "o", "my data", "choose a data file", "open_data"),
    _action(
        "spec_file",
        "O",
        "spec…",
        "open a spec, or a file of axolotl, LLaMA-Factory, TRL",
        "open_spec",
    ),
    _action("edit", "e", "edit", "edit the spec in $EDITOR", "edit_spec"),
    _action("theme", "T", "theme", "dark, light, or the terminal's own colours", "switch_theme"),
    _action("help", "question_mark", "keys", "all keys here", footer=True),
    _action("out", "escape", "back", "one level out; never leaves", "one_level_out"),
    _action("leave", "q", "leave", "leave; a run goes on without the app"),
)
