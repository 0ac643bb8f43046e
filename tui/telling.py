"""What the terminal is told beside the screen: its title, a bell, a notification, the clipboard."""

import os
import sys
from typing import TYPE_CHECKING

from finetune_tui.core.text import plain
from finetune_tui.tui.terminal import through

if TYPE_CHECKING:
    from finetune_tui.core.settings import Settings
    from finetune_tui.tui.app import FinetuneApp

_LONGEST = 200  # characters of a title or a notification
_NO_TITLE = ("", "dumb", "linux")  # terminals that have none
_PUSH_TITLE, _POP_TITLE = "\x1b[22;2t", "\x1b[23;2t"


class Telling:
    """Says nothing where there is no terminal, nor what the settings switch off."""

    def __init__(self, app: "FinetuneApp", settings: "Settings") -> None:
        self._app = app
        self._settings = settings
        self._title = ""

    def send(self, sequence: str) -> bool:
        """Whether there is a terminal that it went to."""
        driver = self._app._driver
        if not sequence or driver is None or self._app.is_headless or not _is_terminal():
            return False
        driver.write(sequence)
        return True

    def show_title(self, words: str) -> None:
        """The terminal's title, sent when it changes; `restore` brings back what it was."""
        title = plain(f"finetune-tui {words}".strip(), _LONGEST)
        if not self._settings.title or os.environ.get("TERM", "") in _NO_TITLE:
            return
        if title != self._title:
            before = "" if self._title else _PUSH_TITLE
            if self.send(f"{before}\x1b]2;{title}\x07"):
                self._title = title

    def restore(self) -> None:
        """After the app: the title that was there before."""
        if self._title and sys.__stderr__:
            self._title = ""
            print(_POP_TITLE, end="", file=sys.__stderr__, flush=True)

    def run_ended(self, words: str) -> None:
        """A bell, which tmux and screen hand on as they are set, and a notification by OSC 9."""
        if self._settings.bell:
            self.send("\x07")
        if self._settings.notify:
            self.send(through(f"\x1b]9;{plain(words, _LONGEST)}\x07", os.environ))


def _is_terminal() -> bool:
    try:
        return sys.__stderr__ is not None and sys.__stderr__.isatty()
    except ValueError:  # closed
        return False
