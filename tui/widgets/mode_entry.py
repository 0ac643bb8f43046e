"""Typing a mode: `m`, then `l f b 0`; after `l` digits set the rank, and after `a` the alpha.

Each digit takes effect at once; all of them together are one step of undo.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from finetune_tui.core.tuning.modes import Mode
from finetune_tui.core.tuning.spec import FIELDS

if TYPE_CHECKING:
    from finetune_tui.tui.session import Session

_LARGEST = {name: int(FIELDS[name].maximum) for name in ("lora_r", "lora_alpha")}
_MODES = {"l": Mode.LORA, "f": Mode.FULL, "b": Mode.BIAS, "0": Mode.FROZEN}

Names = Callable[[Mode], tuple[str, ...]]
"""What a mode would be set on; says why when that is nothing."""


class ModeEntry:
    """Hears keys until the mode is set; `changed(done)` is called after each that took effect."""

    def __init__(
        self,
        session: "Session",
        names: Names,
        say: Callable[[str], None],
        changed: Callable[[bool], None],
    ) -> None:
        self._session = session
        self._names = names
        self._say = say
        self._changed = changed
        self._adapted: tuple[str, ...] = ()  # while rank and alpha are typed
        self._typed = {"lora_r": "", "lora_alpha": ""}
        self._field = "lora_r"
        say("mode: l lora · f full · b bias · 0 frozen · esc as it was")

    def press(self, key: str) -> bool:
        """Whether the key belonged to the entry; any other key ends it and is still to be handled."""
        taken = self._press_number(key) if self._adapted else self._press_mode(key)
        if not taken:
            self._changed(True)
        return taken

    def _press_mode(self, key: str) -> bool:
        if key in ("escape", "\x1b"):
            self._changed(True)
            return True
        mode = _MODES.get(key)
        if mode is None:
            return False
        names = self._names(mode)
        if mode is Mode.LORA and names:
            self._adapted = names
            self._choose()
        elif names:
            self._session.choose(names, mode)
            self._changed(True)
            modules = "1 module" if len(names) == 1 else f"{len(names)} modules"
            self._say(f"{modules}: {mode}")
        else:
            self._changed(True)
        return True

    def _press_number(self, key: str) -> bool:
        typed = self._typed[self._field]
        if key.isdecimal() and key.isascii():
            more = (typed + key).lstrip("0")
            if more and int(more) <= _LARGEST[self._field]:
                self._typed[self._field] = more
            self._choose()
        elif key in ("backspace", "\x7f", "\x08"):
            self._typed[self._field] = typed[:-1]
            self._choose()
        elif key == "a":
            self._field = "lora_alpha" if self._field == "lora_r" else "lora_r"
            self._choose()
        elif key in ("enter", "escape", "\r", "\n", "\x1b"):
            self._changed(True)
        else:
            return False
        return True

    def _choose(self) -> None:
        r, alpha = (int(self._typed[name] or 0) or None for name in ("lora_r", "lora_alpha"))
        choice = self._session.choose(self._adapted, Mode.LORA, r, alpha, merge=self)
        self._changed(False)
        spec = self._session.spec
        parts = {"rank": choice.r or spec.lora_r, "alpha": choice.lora_alpha or spec.lora_alpha}
        now, other = ("rank", "alpha") if self._field == "lora_r" else ("alpha", "rank")
        self._say(
            f"lora, rank {parts['rank']}, alpha {parts['alpha']}:"
            f" digits for another {now}, a for {other}, enter when done"
        )
