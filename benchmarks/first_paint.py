"""How long from the command to the first whole screen, against a bare Textual app with a tree and a footer.

Both are started in a pseudo-terminal, in turn, and timed from `exec` to the moment their last line is on
the wire. Expected before measuring: 1.5 times the bare app (the catalog, PyYAML and our own widgets).
"""

import os
import pty
import select
import signal
import statistics
import struct
import sys
import tempfile
import termios
import time
from fcntl import ioctl

from benchmarks.table import Table

RUNS = 9
_TIMEOUT = 30.0

BARE = """
from textual.app import App
from textual.widgets import Footer, Tree
class Bare(App):
    BINDINGS = [("q", "quit", "leave-marker")]
    def compose(self):
        tree = Tree("model")
        tree.root.expand()
        for n in range(20):
            tree.root.add(f"module {n}")
        yield tree
        yield Footer()
Bare().run()
"""


def seconds_to(marker: bytes, command: list[str], home: str) -> float:
    """Seconds until `marker` appears in what the command writes to its terminal."""
    began = time.perf_counter()
    pid, terminal = pty.fork()
    if pid == 0:
        environment = {**os.environ, "TERM": "xterm-256color", "FINETUNE_TUI_HOME": home}
        os.execve(command[0], command, environment)
    ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 36, 120, 0, 0))
    seen = b""
    try:
        while marker not in seen:
            if time.perf_counter() - began > _TIMEOUT:
                raise TimeoutError(f"no {marker!r} from {command}")
            if select.select([terminal], [], [], 0.5)[0]:
                seen += os.read(terminal, 65536)
        return time.perf_counter() - began
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(terminal)


def measure() -> Table:
    """Medians over interleaved starts, and the ratio."""
    ours, bare = [], []
    app = [sys.executable, "-c", "from finetune_tui.tui.cli import main; main([])"]
    with tempfile.TemporaryDirectory() as home:
        for turn in range(RUNS + 1):
            times = (
                seconds_to(b"leave-marker", [sys.executable, "-c", BARE], home),
                seconds_to(b"keys", app, home),
            )
            if turn:  # the first warms the disk cache
                bare.append(times[0])
                ours.append(times[1])
    ratios = [mine / theirs for mine, theirs in zip(ours, bare, strict=True)]
    rows = [
        ("bare Textual app, tree and footer", _spread(bare, " s")),
        ("finetune-tui, first screen whole", _spread(ours, " s")),
        ("ratio", _spread(ratios, "")),
    ]
    return Table("First paint", "1.5; the bar is 2", ("", "median (min to max)"), rows)


def _spread(values: list[float], unit: str) -> str:
    return f"{statistics.median(values):.3f}{unit} ({min(values):.3f} to {max(values):.3f})"


if __name__ == "__main__":
    print(measure())
