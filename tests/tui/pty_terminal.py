"""The real app in a pseudo-terminal: what a person types goes in as bytes, what comes out is kept."""

import os
import pty
import select
import signal
import struct
import sys
import termios
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from fcntl import ioctl
from pathlib import Path

_PATIENCE = 40.0  # seconds, on a busy machine
_APP = (sys.executable, "-c", "from finetune_tui.tui.cli import main; raise SystemExit(main([]))")


class Terminal:
    """A running app and all that it has written so far."""

    def __init__(self, pid: int, end: int) -> None:
        self.pid = pid
        self._end = end
        self.seen = b""
        self.is_over = False

    def type(self, keys: bytes) -> None:
        os.write(self._end, keys)

    def read(self, seconds: float) -> bytes:
        """What arrives within this time; b"" after the end."""
        came, until = b"", time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            if not select.select([self._end], [], [], left)[0]:
                break
            try:
                came += os.read(self._end, 65536)
            except OSError:  # the other end is closed
                self.is_over = True
                break
        self.seen += came
        return came

    def wait_for(self, *words: bytes) -> bytes:
        """Until one of these is in what has come since this call; fails loudly after a long while."""
        start, until = len(self.seen), time.monotonic() + _PATIENCE
        while not any(word in self.seen[start:] for word in words):
            is_late = self.is_over or time.monotonic() > until
            assert not is_late, f"no {words!r} in {self.seen[start:][-3000:]!r}"
            self.read(0.05)
        return self.seen[start:]

    def resize(self, columns: int, rows: int) -> None:
        ioctl(self._end, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def exit_code(self) -> int:
        """Waits for the app to leave."""
        until = time.monotonic() + _PATIENCE
        while time.monotonic() < until:
            self.read(0.05)
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.pid = 0
                return os.waitstatus_to_exitcode(status)
        raise AssertionError("the app did not leave")


@contextmanager
def app_in_a_terminal(
    home: Path, size: tuple[int, int] = (80, 24), environment: Mapping[str, str] | None = None
) -> Iterator[Terminal]:
    """size: columns and rows."""
    wanted = {
        **{name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "TMUX")},
        "TERM": "xterm-256color",
        "FINETUNE_TUI_HOME": str(home),
        "FINETUNE_TUI_SETTINGS": str(home / "settings.yaml"),
        **(environment or {}),
    }
    pid, end = pty.fork()
    if pid == 0:
        os.execve(_APP[0], _APP, wanted)
    terminal = Terminal(pid, end)
    terminal.resize(*size)
    try:
        yield terminal
    finally:
        if terminal.pid:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        os.close(end)
