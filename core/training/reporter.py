"""What the worker says while it lives: events, the state with its heartbeat, and what is asked of it."""

import contextlib
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from finetune_tui.core.errors import UserError
from finetune_tui.core.hardware import Hardware, read_hardware
from finetune_tui.core.runs.directory import RunDirectory
from finetune_tui.core.runs.endings import ending_of, final_state
from finetune_tui.core.runs.events import Event, EventWriter, as_event, is_ending
from finetune_tui.core.runs.processes import boot_id, host_name, pid_namespace, this_process
from finetune_tui.core.runs.requests import take_requests
from finetune_tui.core.runs.state import State, Status, write_state
from finetune_tui.core.runs.untold import tell_end
from finetune_tui.core.text import size
from finetune_tui.core.training.room import Ballast, free_bytes, is_disk_full

HEARTBEAT = 1.0  # seconds; a reader calls a run silent after many of these
HARDWARE_EVERY = 10.0
_LOOK_EVERY = 0.1  # seconds between two looks while the worker waits
_UNWRITTEN = 10_000  # events kept while the disk is full
_WORDS = 2**16  # bytes: room for some hundred events

_OF_A_GPU = ("index", "uuid", "name", "total", "used", "utilization", "temperature", "power")
_OF_A_MACHINE = ("memory_used", "memory_total", "cpu_percent", "disk_free")

T = TypeVar("T")


class StopRequested(Exception):  # a request, not an error
    """Somebody asked the worker to stop; `str()` says who."""


class ReleaseRequested(StopRequested):
    """Somebody asked the worker to let go of the machine and to be resumed later."""


class Reporter:
    """One voice for the whole worker: its own thread keeps the heartbeat while the main one computes.

    save: writes a checkpoint of the last optimizer step, or says None when there was no step yet; set
    while a training goes on. held: seconds spent waiting for people and for room.
    """

    def __init__(self, run: RunDirectory) -> None:
        self.run = run
        self.save: Callable[[], object] | None = None
        self.held = 0.0
        self._events = EventWriter(run.events_path)
        self._unwritten: deque[Event] = deque(maxlen=_UNWRITTEN)
        self._writing = threading.RLock()
        self._ballast = Ballast(run.path / ".ballast")
        self._disk_is_full = False
        self._state_lock = threading.Lock()
        self._state_writing = threading.Lock()
        self._state = run.state().changed(
            status=Status.PREPARING,
            host=host_name(),
            boot_id=boot_id(),
            pid_namespace=pid_namespace(),
            worker=this_process(),
        )
        self._changes: dict[str, Any] = {}  # not yet in it
        self._parent = os.getppid()
        self._ending: Event | None = None
        self._asking = threading.RLock()
        self._stop_asked: str | None = None
        self._stop_told = False
        self._hold_asked = False
        self._release_asked = False
        self._checkpoint_asked = False
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)

    def start(self) -> None:
        self._ballast.lay()
        self._write()
        self._thread.start()

    def event(self, kind: str, **fields: Any) -> None:
        """Append an event. On a full disk it is kept, and the next safe point waits for room."""
        event = as_event(kind, fields)
        with self._writing:
            if is_ending(event):
                self._ending = event
            self._unwritten.append(event)
            if not self._flush():
                self._notice_full_disk()
                self._flush()

    def phase(
        self,
        phase: str,
        done: int | None = None,
        total: int | None = None,
        words: str | None = None,
    ) -> None:
        """Say what happens now; `done` of `total` in the unit of that phase (bytes of a download)."""
        self.event("phase", phase=phase, done=done, total=total, words=words)
        self.update(phase=phase)

    def say(
        self,
        phase: str,
        done: int | None = None,
        total: int | None = None,
        words: str | None = None,
    ) -> None:
        """`phase` at a safe point: for what takes long and tells how far it is. Raises like `check`."""
        self.check()
        self.phase(phase, done, total, words)

    def update(self, **values: Any) -> None:
        """Change the state; it reaches the disk with the next heartbeat. Cheap: told at every step."""
        with self._state_lock:
            self._changes.update(values)

    @property
    def state(self) -> State:
        with self._state_lock:
            self._state = self._state.changed(**self._changes)
            self._changes.clear()
            return self._state

    def ask_to_stop(self, why: str) -> None:
        """From a signal handler or a request; taken up at the next safe point."""
        self._stop_asked = self._stop_asked or why

    def check(self) -> None:
        """A safe point: what was asked is done here. The main thread passes one every micro-step.

        Holds as long as somebody wants that or the disk is full. Raises StopRequested, or
        ReleaseRequested.
        """
        self.look_for_requests()
        if self._disk_is_full:
            self._wait_for_room("the run's record", _WORDS)
        self._save_if_asked()
        if self._hold_asked:
            self._hold()
        self._leave_if_asked()

    def with_room(self, write: Callable[[], T], what: str, needed: int) -> T:
        """The result of `write`, tried again whenever there may be room on a disk that is full.

        what: for people. needed: about how many bytes. Raises what `write` raises otherwise, and
        StopRequested while it waits.
        """
        patience = 2.0
        while True:
            try:
                return write()
            except Exception as error:
                if not is_disk_full(error):
                    raise
            self._leave_if_asked()
            self._notice_full_disk()
            self._wait_for_room(what, needed, patience)
            patience = min(2 * patience, 60.0)

    def end(self) -> None:
        """After the last event. The supervisor writes the final state; when it is gone, the worker does."""
        self._over.set()
        self._thread.join(timeout=10)
        self._ballast.free()
        with self._writing:
            self._flush()
        self._write()
        self._events.close()
        if os.getppid() != self._parent:
            ending = ending_of(self.run, 0, self._ending, out_of_memory=False)
            write_state(self.run.state_path, final_state(self.state, ending), durable=True)
            tell_end(self.run)

    def look_for_requests(self) -> None:
        """Take what was dropped in requests/; what was asked last counts."""
        with self._asking:
            for kind in take_requests(self.run):
                self._take(kind)
            # A signal handler may not write: it could interrupt a write.
            if self._stop_asked and not self._stop_told:
                self._stop_told = True
                self.event("stopping", why=self._stop_asked)

    def _take(self, kind: str) -> None:
        if kind == "stop":
            self.ask_to_stop("a stop was requested")
        elif kind == "checkpoint":
            self._checkpoint_asked = True
        elif kind == "pause":
            self._hold_asked, self._release_asked = True, False
        elif kind == "release":
            self._release_asked = True
        elif kind == "resume":
            self._hold_asked = self._release_asked = False

    def _save_if_asked(self) -> None:
        """Before the first step there is nothing to save: it stays asked."""
        if self._checkpoint_asked and self.save is not None and self.save() is not None:
            self._checkpoint_asked = False

    def _leave_if_asked(self) -> None:
        if self._stop_asked:
            raise StopRequested(self._stop_asked)
        if self._release_asked:
            raise ReleaseRequested("a release was requested")

    def _hold(self) -> None:
        """Wait, with everything kept in memory, for `resume`, `release` or a stop."""
        with self._paused("hold", "holding", "held on request, memory and GPU are kept"):
            while self._hold_asked and not self._stop_asked and not self._release_asked:
                self._save_if_asked()
                if self._disk_is_full and self._has_room(_WORDS):
                    self._take_room()
                time.sleep(_LOOK_EVERY)
                self.look_for_requests()

    def _wait_for_room(self, what: str, needed: int, patience: float = 2.0) -> None:
        """Wait until there seems to be room for `needed` bytes. Raises StopRequested."""
        free = free_bytes(self.run.path)
        why = f"the disk is full: {what} needs {size(needed)}"
        why += "" if free is None else f", {size(free)} is free"
        next_try = time.monotonic() + patience
        with self._paused("disk full", "disk full", why):
            while time.monotonic() < next_try or not self._has_room(needed):
                time.sleep(_LOOK_EVERY)
                self.look_for_requests()
                self._leave_if_asked()
            self._take_room()

    def _has_room(self, needed: int) -> bool:
        free = free_bytes(self.run.path)
        return free is None or free >= needed + self._ballast.bytes

    def _take_room(self) -> None:
        with self._writing:
            self._disk_is_full = not (self._ballast.lay() and self._flush())
            if self._disk_is_full:
                self._ballast.free()

    @contextmanager
    def _paused(self, how: str, phase: str, why: str) -> Iterator[None]:
        """Say that the worker waits, and afterwards that it goes on; when it leaves instead, the state
        is the ending's."""
        before, began = self.state, time.monotonic()
        self.update(status=Status.PAUSED, phase=phase, why=why)
        self.event("paused", step=before.step, how=how, why=why)
        self._write()
        try:
            yield
            if not self._stop_asked and not self._release_asked:
                self.event("continued", step=before.step)
        finally:
            self.held += time.monotonic() - began
            self.update(status=before.status, phase=before.phase, why=before.why)
            self._write()

    def _beat(self) -> None:
        next_hardware = 0.0
        while not self._over.wait(HEARTBEAT):
            with contextlib.suppress(OSError):  # a broken disk is the main thread's to report
                self.look_for_requests()
            self._write()
            if time.monotonic() >= next_hardware:
                next_hardware = time.monotonic() + HARDWARE_EVERY
                self._say_hardware()

    def _write(self) -> None:
        """The state to disk. On a full one the next safe point waits for room."""
        with self._state_writing:  # so that an older one never comes to lie over a newer one
            self.update(heartbeat=time.time())
            for _ in range(2):
                try:
                    return write_state(self.run.state_path, self.state)
                except OSError as error:
                    if not is_disk_full(error):
                        return None
                    self._notice_full_disk()
            return None

    def _notice_full_disk(self) -> None:
        """The ballast's room is for the words that say so."""
        self._disk_is_full = True
        self._ballast.free()

    def _flush(self) -> bool:
        """Write what is not yet written, in order; False when the disk is full."""
        while self._unwritten:
            try:
                self._events.append(self._unwritten[0])
            except OSError as error:
                if not is_disk_full(error):
                    raise
                return False
            self._unwritten.popleft()
        return True

    def _say_hardware(self) -> None:
        try:
            hardware = read_hardware(self.run.path)
            self.event("hardware", **_numbers(hardware))
        except (OSError, UserError):
            return


def _numbers(hardware: Hardware) -> dict[str, Any]:
    """What a curve or a line on a screen needs of a snapshot. own: bytes that this worker holds."""
    gpus = [
        {name: getattr(gpu, name) for name in _OF_A_GPU}
        | {"own": gpu.used_by(frozenset({os.getpid()}))}
        for gpu in hardware.gpus
    ]
    return {"gpus": gpus, **{name: getattr(hardware, name) for name in _OF_A_MACHINE}}
