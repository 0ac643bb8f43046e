"""Typing a mode: `m`, then `l` or `0`, then digits for the rank. Each digit takes effect at once."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from finetune_tui.core.tuning.modes import Mode
from finetune_tui.core.tuning.selection import refusal
from finetune_tui.core.tuning.spec import FIELDS

if TYPE_CHECKING:
    from finetune_tui.tui.session import Session

_LARGEST_RANK = int(FIELDS["lora_r"].maximum)
_MODES = {"f": Mode.FULL, "b": Mode.BIAS}


class ModeEntry:
    """Hears keys until the mode is set; `changed(done)` is called after each that took effect."""

    def __init__(
        self,
        session: "Session",
        names: tuple[str, ...],
        say: Callable[[str], None],
        changed: Callable[[bool], None],
    ) -> None:
        self._session = session
        self._names = names
        self._say = say
        self._changed = changed
        self._rank: str | None = None  # digits typed so far; None: no mode chosen yet
        say("mode: l lora · 0 frozen · esc as it was")

    def press(self, key: str) -> bool:
        """Whether the key belonged to the entry; any other key ends it and is still to be handled."""
        taken = self._press_mode(key) if self._rank is None else self._press_rank(key)
        if not taken:
            self._changed(True)
        return taken

    def _press_mode(self, key: str) -> bool:
        if key == "l":
            self._rank = ""
            self._choose()
        elif key == "0":
            self._session.choose(self._names, Mode.FROZEN)
            self._changed(True)
        elif key in _MODES and self._session.manifest is not None:
            self._changed(True)
            self._say(refusal(self._session.manifest, self._names[0], _MODES[key]) or "not yet")
        elif key in ("escape", "\x1b"):
            self._changed(True)
        else:
            return False
        return True

    def _press_rank(self, key: str) -> bool:
        assert self._rank is not None  # asked only then
        if key.isdecimal() and key.isascii():
            typed = (self._rank + key).lstrip("0")
            if typed and int(typed) <= _LARGEST_RANK:
                self._rank = typed
            self._choose()
        elif key in ("backspace", "\x7f", "\x08"):
            self._rank = self._rank[:-1]
            self._choose()
        elif key in ("enter", "escape", "\r", "\n", "\x1b"):
            self._changed(True)
        else:
            return False
        return True

    def _choose(self) -> None:
        r = int(self._rank) if self._rank else None
        self._session.choose(self._names, Mode.LORA, r, merge=self)
        self._changed(False)
        shown = r or self._session.spec.lora_r
        self._say(f"lora, rank {shown}: digits for another rank, enter when done")
