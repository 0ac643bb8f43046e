"""Keys of a person's own: which keys of the settings file count, and what is wrong with the others."""

import pkgutil
import re
from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING

from textual.binding import BindingsMap
from textual.events import Key
from textual.keys import Keys, _character_to_key

from finetune_tui.core.text import did_you_mean, plain
from finetune_tui.tui.actions import ACTIONS, EVERYWHERE, Action, binding, key_word, words_of
from finetune_tui.tui.widgets.lines import Line, Span

if TYPE_CHECKING:
    from textual.dom import DOMNode

_MODIFIERS = re.compile(r"(?:(?:ctrl|alt|shift|super|meta|hyper)\+)*")
_NAMED = frozenset(key.value for key in Keys)


class Keymap:
    """Each action's keys: those of the settings file where it names some, else its own."""

    def __init__(self, changed: Mapping[str, tuple[str, ...]] | None = None) -> None:
        self.changed = dict(changed or {})

    @classmethod
    def hoped_for(cls, wanted: Mapping[str, str]) -> "Keymap":
        """What the settings ask for, before it is known which actions there are."""
        named = {name: key_names(words) for name, words in wanted.items()}
        return cls({name: keys for name, keys in named.items() if keys})

    def keys(self, action: Action) -> tuple[str, ...]:
        return self.changed.get(action.id, action.keys)

    def words(self, action: Action) -> str:
        """The keys as a person reads them."""
        changed = self.changed.get(action.id)
        return action.key_words if changed is None else words_of(changed)

    def hinted(self, of: Line, node: "DOMNode") -> Line:
        """A line with the keys that its hints have now: those that lead to an action that has others."""
        if not self.changed:
            return of
        return tuple(
            span._replace(text=self._hint(span, node)) if span.style == "key" else span
            for span in of
        )

    def _hint(self, span: Span, node: "DOMNode") -> str:
        for name, keys in self.changed.items():
            action = ACTIONS.get(name)
            if action and span.text in _hints_of(action) and _leads_to(span.click, action, node):
                return words_of(keys[:1])
        return span.text

    def bind(self, node: "DOMNode") -> None:
        """Give a widget, a screen or the app these keys for the actions that it declared."""
        declared = type(node)._merged_bindings
        if declared is None:
            return
        ids = {one.id for _, one in declared if one.id}
        changed = [ACTIONS[name] for name in self.changed if name in ids]
        kept = [one.with_key(key) for key, one in declared if one.id not in self.changed]
        node._bindings = BindingsMap([*kept, *(binding(one, self.keys(one)) for one in changed)])


def _hints_of(action: Action) -> set[str]:
    return {action.key_words, *map(key_word, action.keys)}


def _leads_to(click: str, action: Action, node: "DOMNode") -> bool:
    """Whether a click does what the action does, for whoever shows it."""
    if click.startswith("app."):
        return click in (f"app.perform('{action.id}')", f"app.{action.run}")
    known = [one for above in node.ancestors_with_self for one in getattr(above, "actions", ())]
    return click == action.run and action in known


def key_names(words: str) -> tuple[str, ...] | None:
    """`x ? ctrl+x` (or with commas) as Textual names them; None when one of them is no key."""
    found = []
    for word in re.split(r"[\s,]+", words.strip()) if words.strip() else ():
        modifiers = _MODIFIERS.match(word)
        start = modifiers.end() if modifiers else 0
        name = word[start:]
        if len(name) == 1:
            name = _character_to_key(name)
        elif name not in _NAMED and name not in ("spc", "esc"):
            return None
        name = {"spc": "space", "esc": "escape"}.get(name, name)
        found.append(word[:start] + name)
    return tuple(found) or None


def with_capital(event: Key) -> None:
    """Some terminals report `shift+g` and no letter; everywhere it is `G`, in a field too."""
    modifier, _, letter = event.key.partition("+")
    if modifier == "shift" and len(letter) == 1 and letter.isalpha() and event.character is None:
        event.key = event.character = letter.upper()


def _declare_all() -> None:
    """Import every screen and widget, so that ACTIONS holds all there are."""
    import_module("finetune_tui.tui.app")
    for name in ("finetune_tui.tui.screens", "finetune_tui.tui.widgets"):
        for found in pkgutil.iter_modules(import_module(name).__path__):
            import_module(f"{name}.{found.name}")


def checked(wanted: Mapping[str, str]) -> tuple[Keymap, list[str]]:
    """The keys that can be had, and in words why the others cannot. Takes a moment, the first time."""
    _declare_all()
    changed: dict[str, tuple[str, ...]] = {}
    wrong = []
    for name, words in wanted.items():
        keys = key_names(words)
        if name not in ACTIONS:
            hint = did_you_mean(name, ACTIONS)
            wrong.append(f"no action is called '{plain(name, 40)}'" + (f", {hint}" if hint else ""))
        elif keys is None:
            wrong.append(f"'{plain(words, 40)}' for {name} is no key")
        else:
            changed[name] = keys
    for name in tuple(changed):
        taken = _taken(ACTIONS[name], changed)
        if taken:
            key, other = taken
            del changed[name]
            wrong.append(f"'{key_word(key)}' for {name} is the key of {other}")
    return Keymap(changed), wrong


def _taken(action: Action, changed: Mapping[str, tuple[str, ...]]) -> tuple[str, str] | None:
    """A key of these that another action has in the same place, and the id of that action."""
    mine = changed[action.id]
    for other in ACTIONS.values():
        if other.id == action.id or not _meet(action, other) or set(action.keys) & set(other.keys):
            continue
        shared = [key for key in mine if key in changed.get(other.id, other.keys)]
        if shared:
            return shared[0], other.id
    return None


def _meet(one: Action, other: Action) -> bool:
    """Whether both can be had at the same time, as far as can be told beforehand."""
    return one.group == other.group or EVERYWHERE in (one.group, other.group)
