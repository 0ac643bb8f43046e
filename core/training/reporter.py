"""What the worker says while it lives: events, the state with its heartbeat, and what is asked of it."""

import os
import threading
import time
from dataclasses import asdict
from typing import Any

from finetune_tui.core.errors import UserError
from finetune_tui.core.hardware import read_hardware
from finetune_tui.core.runs.directory import RunDirectory
from finetune_tui.core.runs.endings import ending_of, final_state
from finetune_tui.core.runs.events import Event, EventWriter
from finetune_tui.core.runs.processes import boot_id, host_name, pid_namespace, this_process
from finetune_tui.core.runs.requests import take_requests
from finetune_tui.core.runs.state import State, Status, write_state

HEARTBEAT = 1.0  # seconds; a reader calls a run silent after many of these
HARDWARE_EVERY = 10.0


class StopRequested(Exception):  # a request, not an error
    """Somebody asked the worker to stop; `str()` says who."""


class Reporter:
    """One voice for the whole worker: its own thread keeps the heartbeat while the main one computes."""

    def __init__(self, run: RunDirectory) -> None:
        self.run = run
        self._events = EventWriter(run.events_path)
        self._state_lock = threading.Lock()
        self._state = run.state().changed(
            status=Status.PREPARING,
            host=host_name(),
            boot_id=boot_id(),
            pid_namespace=pid_namespace(),
            worker=this_process(),
        )
        self._parent = os.getppid()
        self._last_event: Event | None = None
        self._stop_asked: str | None = None
        self._stop_told = False
        self._telling = threading.Lock()
        self._checkpoint_asked = False
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)

    def start(self) -> None:
        self._write()
        self._thread.start()

    def event(self, kind: str, **fields: Any) -> None:
        """Append an event. Raises OSError when the disk is full: a run must not lose its record."""
        self._last_event = self._events.write(kind, **fields)

    def phase(
        self,
        phase: str,
        done: int | None = None,
        total: int | None = None,
        words: str | None = None,
    ) -> None:
        """Say what happens now; `done` of `total` in the unit of that phase (bytes of a download)."""
        self.event("phase", phase=phase, done=done, total=total, words=words)
        with self._state_lock:
            self._state = self._state.changed(phase=phase)

    def update(self, **values: Any) -> None:
        """Change the state; it reaches the disk with the next heartbeat."""
        with self._state_lock:
            self._state = self._state.changed(**values)

    @property
    def state(self) -> State:
        return self._state

    def ask_to_stop(self, why: str) -> None:
        """From a signal handler or a request; taken up at the next safe point."""
        self._stop_asked = self._stop_asked or why

    def stop_asked(self) -> str | None:
        return self._stop_asked

    def take_checkpoint_request(self) -> bool:
        asked, self._checkpoint_asked = self._checkpoint_asked, False
        return asked

    def check(self) -> None:
        """A safe point outside training. Raises StopRequested."""
        if self._stop_asked:
            raise StopRequested(self._stop_asked)

    def end(self) -> None:
        """After the last event. The supervisor writes the final state; when it is gone, the worker does."""
        self._over.set()
        self._thread.join(timeout=10)
        self._write()
        self._events.close()
        if os.getppid() != self._parent:
            ending = ending_of(self.run, 0, self._last_event, out_of_memory=False)
            write_state(self.run.state_path, final_state(self._state, ending), durable=True)

    def look_for_requests(self) -> None:
        """Take what was dropped in requests/."""
        for kind in take_requests(self.run):
            if kind == "stop":
                self.ask_to_stop("a stop was requested")
            elif kind == "checkpoint":
                self._checkpoint_asked = True
        with self._telling:  # a signal handler may not write: it could interrupt a write
            if self._stop_asked and not self._stop_told:
                self._stop_told = True
                self.event("stopping", why=self._stop_asked)

    def _beat(self) -> None:
        next_hardware = 0.0
        while not self._over.wait(HEARTBEAT):
            self.look_for_requests()
            self._write()
            if time.monotonic() >= next_hardware:
                next_hardware = time.monotonic() + HARDWARE_EVERY
                self._say_hardware()

    def _write(self) -> None:
        """On a full disk the heartbeat is skipped: the events say what is wrong."""
        with self._state_lock:
            self._state = self._state.changed(heartbeat=time.time())
            state = self._state
        try:
            write_state(self.run.state_path, state)
        except OSError:
            return

    def _say_hardware(self) -> None:
        try:
            hardware = read_hardware(self.run.path)
            self.event("hardware", **_numbers(asdict(hardware)))
        except (OSError, UserError):
            return


def _numbers(hardware: dict[str, Any]) -> dict[str, Any]:
    """What a curve or a line on a screen needs of a snapshot."""
    gpus = [
        {
            key: gpu[key]
            for key in (
                "index",
                "uuid",
                "name",
                "total",
                "used",
                "utilization",
                "temperature",
                "power",
            )
        }
        for gpu in hardware["gpus"]
    ]
    keys = ("memory_used", "memory_total", "cpu_percent", "disk_free")
    return {"gpus": gpus, **{key: hardware[key] for key in keys}}
