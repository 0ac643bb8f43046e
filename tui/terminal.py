"""The terminal itself: whether it is still there, what it is told beside the screen, what it sends."""

import codecs
import errno
import os
import re
import sys
from collections.abc import Mapping

from textual.drivers import linux_driver
from textual.drivers.linux_driver import LinuxDriver

_SCREEN_CHUNK = 512  # bytes that GNU screen lets through at once
_X10_MOUSE = re.compile(rb"\x1b\[M(...)", re.DOTALL)
_X10_MOUSE_BEGUN = re.compile(rb"\x1b\[M.{0,2}\Z", re.DOTALL)


def is_gone() -> bool:
    """Whether the terminal on stdin has hung up.

    A closed window sends SIGHUP, which ends the app, but only to the terminal's own group of processes. In
    any other (started by make, by a script) nothing tells, and reading from what is left spins.
    """
    try:
        os.tcgetpgrp(sys.__stdin__.fileno() if sys.__stdin__ else 0)
    except OSError as error:
        return error.errno == errno.EIO
    except ValueError:  # stdin was closed on purpose
        return False
    return False


def through(sequence: str, environment: Mapping[str, str]) -> str:
    """A sequence for the terminal itself, wrapped so that GNU screen or tmux hands it on.

    tmux does where its `allow-passthrough` is on, and drops it elsewhere.
    """
    if environment.get("TMUX"):
        return "\x1bPtmux;" + sequence.replace("\x1b", "\x1b\x1b") + "\x1b\\"
    if environment.get("STY"):
        chunks = range(0, len(sequence), _SCREEN_CHUNK)
        return "".join(f"\x1bP{sequence[at : at + _SCREEN_CHUNK]}\x1b\\" for at in chunks)
    return sequence


class MouseTolerantDecoder:
    """UTF-8 as Textual reads it, without ending the app on what is none.

    After a tmux client attaches again, its terminal may report the mouse in X10's form, `ESC [ M` and three
    bytes; from column 96 on they are no UTF-8 (textual#6668). They become the reports that were asked for.
    """

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._held = b""

    def decode(self, data: bytes, final: bool = False) -> str:
        data, self._held = self._held + data, b""
        begun = None if final else _X10_MOUSE_BEGUN.search(data)
        if begun:
            data, self._held = data[: begun.start()], data[begun.start() :]
        return self._decoder.decode(_X10_MOUSE.sub(_as_sgr, data), final)


def _as_sgr(report: re.Match[bytes]) -> bytes:
    """X10's `button + 32, column + 32, row + 32` as `ESC [ < button ; column ; row M`."""
    button, column, row = (max(byte - 32, 0) for byte in report.group(1))
    is_release = button & 3 == 3 and not button & (32 | 64)
    if is_release:
        button &= ~3
    return b"\x1b[<%d;%d;%d%s" % (button, column, row, b"m" if is_release else b"M")


class TolerantDriver(LinuxDriver):
    """Textual's driver, reading what arrives with a decoder that lives on."""

    def run_input_thread(self) -> None:
        # The only way in: the loop that reads makes its decoder from this name of its module.
        linux_driver.getincrementaldecoder = lambda _name: MouseTolerantDecoder  # type: ignore[attr-defined,assignment]
        while True:
            try:
                return super().run_input_thread()
            except ValueError:  # a report that Textual cannot parse costs that report, not the app
                continue
