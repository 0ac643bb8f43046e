"""Copying out of the app: to the clipboard as far as the terminal allows, and always to a file."""

import base64
import os
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from finetune_tui.core.files import write_atomically
from finetune_tui.core.text import plain
from finetune_tui.tui.terminal import through

if TYPE_CHECKING:
    from finetune_tui.tui.app import FinetuneApp

_LARGEST = 74_994  # bytes of base64 that xterm, and hterm with it, takes in one piece
_LONGEST_TOLD = 60  # characters
_PATIENCE = 2.0  # seconds


def copy(app: "FinetuneApp", text: str, what: str = "") -> None:
    """Copy, and say so. what: names a text that is too long to be told."""
    told = plain(what or text, _LONGEST_TOLD)
    reaches = app.telling.send(clipboard_sequence(text, os.environ))

    def kept(path: Path | None) -> None:
        where = f" · also in {plain(str(path))}" if path else ""
        if reaches or path:
            app.say(f"copied {told}{where}" if reaches else f"copied into {path}: {told}")
        else:
            app.say("not copied: the terminal does not take it, nor can a file be written", True)

    def keep() -> Path | None:
        _give_to_tmux(text, os.environ)
        return _write(text, app.services.home / "copied.txt")

    app.in_thread(keep, kept, group="copy")


def clipboard_sequence(text: str, environment: Mapping[str, str]) -> str:
    """OSC 52 for whatever stands between here and the terminal; empty when the text is too long for it."""
    encoded = base64.b64encode(text.encode()).decode()
    if len(encoded) > _LARGEST:
        return ""
    sequence = f"\x1b]52;c;{encoded}\x07"
    if environment.get("TMUX"):  # which takes it itself where `set-clipboard` is on
        return sequence + through(sequence, environment)
    return through(sequence, environment)


def _give_to_tmux(text: str, environment: Mapping[str, str]) -> None:
    """Into tmux's own buffer and from there to the terminal: works with tmux as it comes, from 3.2 on."""
    if environment.get("TMUX"):
        with suppress(OSError, subprocess.TimeoutExpired):
            subprocess.run(
                ["tmux", "load-buffer", "-w", "-"],
                input=text.encode(),
                timeout=_PATIENCE,
                capture_output=True,
                check=False,
            )


def _write(text: str, path: Path) -> Path | None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, text + "\n", durable=False)
    except OSError:
        return None
    return path
