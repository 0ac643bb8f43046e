"""What the app sends over the wire and how soon it answers, in a pseudo-terminal of 120×40, while a real
training of the demo runs on the same cores.

A run with curves and eight GPUs is written once a second, as a worker does, and its monitor is in front.
Expected before measuring: 1.5 kB/s in the monitor (a braille line and eight changing rows of figures; the
bar is 3), nothing at all from Layers at rest, a key's echo in 15 ms (median), and a lag of the event loop
of 10 ms at p99 (the bar is 20), for the cores are shared with the training and reading is done in threads.
"""

import json
import math
import os
import pty
import select
import signal
import statistics
import struct
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fcntl import ioctl
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.table import Table
from finetune_tui.core.runs.directory import RunDirectory
from finetune_tui.core.runs.processes import boot_id, host_name, pid_namespace, this_process
from finetune_tui.core.runs.state import State, Status, write_state
from finetune_tui.core.tuning.spec import demo_spec
from finetune_tui.core.tuning.spec_file import write_spec

RESULTS = Path(__file__).parent / "results" / "wire.md"
COLUMNS, ROWS = 120, 40
SETTLE, WATCH, IDLE = 6.0, 30.0, 20.0  # seconds
STEPS = 5000
KEYS = 120
GPUS = 8
GIB = 2**30

# The app as it is; beside it a task that notes how late the event loop wakes it, once it has settled.
APP = """
import asyncio, sys, time
from pathlib import Path
from finetune_tui.tui import app as module
late, begins = [], time.monotonic() + float(sys.argv[3])
async def note():
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + 0.01
        await asyncio.sleep(0.01)
        if time.monotonic() > begins:
            late.append(loop.time() - due)
class Measured(module.FinetuneApp):
    def on_ready(self):
        self.noting = asyncio.create_task(note())
module.FinetuneApp = Measured
module.run_app(Path(sys.argv[1]))
Path(sys.argv[2]).write_text("\\n".join(map(str, late)))
"""


class Wire:
    """The app in a pseudo-terminal: keys in, bytes out."""

    def __init__(self, home: Path) -> None:
        self._late = home / "late.txt"
        self._pid, self._end = pty.fork()
        if self._pid == 0:
            command = (sys.executable, "-c", APP, str(home), str(self._late), str(SETTLE))
            settings = str(home / "settings.yaml")
            os.execve(
                command[0],
                command,
                {**os.environ, "TERM": "xterm-256color", "FINETUNE_TUI_SETTINGS": settings},
            )
        ioctl(self._end, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))

    def read(self, seconds: float) -> int:
        """Bytes that arrive within this time."""
        count, until = 0, time.perf_counter() + seconds
        while (left := until - time.perf_counter()) > 0:
            if select.select([self._end], [], [], left)[0]:
                count += len(os.read(self._end, 65536))
        return count

    def press(self, key: bytes) -> None:
        os.write(self._end, key)

    def echo(self, key: bytes) -> float:
        """Seconds from a key to the first byte that answers it."""
        began = time.perf_counter()
        self.press(key)
        if not select.select([self._end], [], [], 5.0)[0]:
            raise TimeoutError(f"no answer to {key!r}")
        took = time.perf_counter() - began
        self.read(0.1)
        return took

    def leave(self) -> list[float]:
        """How late the event loop was, in seconds."""
        self.press(b"q")
        with suppress(OSError):
            while os.read(self._end, 65536):
                pass
        os.waitpid(self._pid, 0)
        return [float(word) for word in self._late.read_text().split()]


@contextmanager
def real_training(home: Path) -> Iterator[None]:
    """The demo training on all cores, over and over, until the measurement is over."""
    spec = home / "load.yaml"
    spec.write_text(write_spec(demo_spec().changed(max_steps=100_000, eval_replies=0)))
    command = [
        sys.executable,
        "-m",
        "finetune_tui.tui.cli",
        "train",
        str(spec),
        "--home",
        str(home),
    ]
    with subprocess.Popen(
        [*command, "--json"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as training:
        assert training.stdout is not None
        for line in training.stdout:
            if '"step"' in line and json.loads(line)["kind"] == "step":
                break
        else:
            raise RuntimeError("the training did not begin")
        try:
            yield
        finally:
            run = next((home / "runs").iterdir())
            (run / "requests" / "stop").touch()
            training.send_signal(signal.SIGINT)
            with suppress(subprocess.TimeoutExpired):
                training.communicate(timeout=60)


class LiveRun:
    """A run that this process writes, as a worker would; a second in it is a second."""

    def __init__(self, home: Path) -> None:
        self.run = RunDirectory(home / "runs" / "r900-wire")
        for folder in (self.run.requests, self.run.checkpoints):
            folder.mkdir(parents=True)
        self.run.spec_path.write_text(write_spec(demo_spec()))
        self.run.log_path.write_text("")
        self._began = time.time() - 600
        self._step = 0
        self._write(
            {"kind": "started", "model": "demo", "preset": "structured-output", "attempt": 1},
            {"kind": "phase", "phase": "training"},
        )
        self.go_on(1200)

    def go_on(self, steps: int = 2) -> None:
        """These steps, the machine's figures and a heartbeat."""
        events = []
        for step in range(self._step + 1, self._step + steps + 1):
            loss = 2.5 * math.exp(-step / 400) + 0.4 + 0.05 * math.sin(step * 7.3)
            events.append(
                {
                    "kind": "step",
                    "step": step,
                    "total_steps": STEPS,
                    "loss": loss,
                    "learning_rate": 5e-4 * (1 - step / STEPS),
                    "grad_norm": 0.5 + 0.2 * math.sin(step),
                    "tokens_per_second": 1950 + 40 * math.sin(step * 3.1),
                    "tokens": step * 900,
                }
            )
            if step % 50 == 0:
                events.append(
                    {"kind": "eval", "step": step, "eval_loss": loss + 0.03, "best": True}
                )
        self._step += steps
        self._write(*events, self._hardware())
        now = time.time()
        state = State(
            status=Status.RUNNING,
            model="demo",
            preset="structured-output",
            step=self._step,
            total_steps=STEPS,
            loss=0.5,
            created=self._began,
            started=self._began,
            host=host_name(),
            boot_id=boot_id(),
            pid_namespace=pid_namespace(),
            worker=this_process(),
            heartbeat=now,
            attempt=1,
        )
        write_state(self.run.state_path, state)

    def _hardware(self) -> dict[str, object]:
        gpus = [
            {
                "index": index,
                "name": "NVIDIA H100",
                "total": 80 * GIB,
                "used": int((60 + 2 * math.sin(self._step + index)) * GIB),
                "own": int(59.0 * GIB),
                "utilization": 95 + (self._step + index) % 5,
                "temperature": 65 + (self._step + index) % 7,
                "power": 650.0 + (self._step * 7 + index) % 40,
            }
            for index in range(GPUS)
        ]
        return {"kind": "hardware", "gpus": gpus, "memory_used": 31 * GIB, "memory_total": 64 * GIB}

    def _write(self, *events: dict[str, object]) -> None:
        now = time.time()
        with self.run.events_path.open("a") as file:
            file.writelines(json.dumps({"t": now, **event}) + "\n" for event in events)


def measure() -> Table:
    rows = []
    with tempfile.TemporaryDirectory() as load, real_training(Path(load)):
        rows += [_monitor(), *_layers()]
    return Table(
        f"The wire, {COLUMNS}×{ROWS}, the demo training on the same {os.cpu_count()} cores",
        "1.5 kB/s, 0, 15 ms, 10 ms; the bars are 3 kB/s, 0 and 20 ms of lag",
        ("", "bytes a second", "event loop late, p50", "p99", "longest"),
        rows,
    )


def _monitor() -> tuple[str, ...]:
    """The run that is live opens by itself."""
    with tempfile.TemporaryDirectory() as home:
        run, wire = LiveRun(Path(home)), Wire(Path(home))
        for _ in range(int(SETTLE)):
            run.go_on()
            wire.read(1.0)
        count = 0
        for _ in range(int(WATCH)):
            run.go_on()
            count += wire.read(1.0)
        return (f"monitor, {GPUS} GPUs, 1 Hz", f"{count / WATCH:,.0f}", *_lag(wire.leave()))


def _layers() -> list[tuple[str, ...]]:
    """The demo open: at rest, then a key at a time."""
    with tempfile.TemporaryDirectory() as home:
        wire = Wire(Path(home))
        wire.read(SETTLE)
        wire.press(b"d")
        wire.read(SETTLE)
        idle = wire.read(IDLE)
        echoes = [wire.echo(b"jk"[turn % 2 : turn % 2 + 1]) for turn in range(KEYS)]
        at_rest = ("Layers at rest, then keys", f"{idle / IDLE:,.0f} at rest", *_lag(wire.leave()))
    spread = statistics.quantiles(echoes, n=100)
    words = [f"{1000 * value:.1f} ms" for value in (spread[49], spread[98], max(echoes))]
    return [at_rest, ("a key's first byte", "", *words)]


def _lag(late: list[float]) -> list[str]:
    spread = statistics.quantiles(late, n=100)
    return [f"{1000 * value:.1f} ms" for value in (spread[49], spread[98], max(late))]


def record() -> str:
    """Measure, and write the table to its file."""
    table = str(measure())
    load = f"Load average of the last minute: {os.getloadavg()[0]:.1f}, the training included."
    RESULTS.write_text(f"# The wire\n\n{table}\n{load}\n")
    return table


if __name__ == "__main__":
    print(record())
