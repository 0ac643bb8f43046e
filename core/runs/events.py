"""events.jsonl: append-only, one JSON object a line, each with `t` (seconds since 1970) and `kind`.

Writers may die in the middle of a line and disks fill up, so a reader takes what is whole and a
writer begins a new line when the last one is torn.
"""

import contextlib
import json
import math
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

from finetune_tui.core.files import open_plain
from finetune_tui.core.runs.directory import RunDirectory

Event = dict[str, Any]

ENDINGS = ("finished", "stopped", "failed")
_CHUNK = 2**20  # bytes read at once: bounds what a poll of a long history holds
_LONGEST = 2**20  # bytes of a line; a longer one is no event of ours
_TAIL = 2**16  # bytes in which the last step is looked for
_SAY_THE_STEP = frozenset({"step", "resumed", "recovered"})


class EventWriter:
    """Appends events; safe from several threads. Raises OSError (a full disk) from `write`."""

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        self._file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        self._torn = _ends_torn(self._file)

    def write(self, /, kind: str, **fields: Any) -> Event:
        """One line in one system call: lines of two writers never mix. Returns the event."""
        event = as_event(kind, fields)
        self.append(event)
        return event

    def append(self, event: Event) -> None:
        """Write an event that was made before: when there was no room for it. Raises OSError."""
        line = json.dumps(event, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        data = line.encode("utf-8", "replace") + b"\n"
        with self._lock:
            if self._torn:
                data = b"\n" + data
            before = os.fstat(self._file).st_size
            self._torn = True  # until every byte is out
            try:
                while data:
                    data = data[os.write(self._file, data) :]
            except OSError:
                self._take_back(before)
                raise
            self._torn = False

    def _take_back(self, size: int) -> None:
        """Cut off the half of a line that a full disk took. Nobody else writes while a worker does."""
        with contextlib.suppress(OSError):
            os.ftruncate(self._file, size)
            self._torn = _ends_torn(self._file)

    def close(self) -> None:
        with self._lock:
            if self._file >= 0:
                os.close(self._file)
            self._file = -1

    def __enter__(self) -> "EventWriter":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def append_event(run: RunDirectory, kind: str, **fields: Any) -> Event:
    """One event to a run, by whoever writes only now and then. Raises OSError."""
    with EventWriter(run.events_path) as writer:
        return writer.write(kind, **fields)


def as_event(kind: str, fields: dict[str, Any]) -> Event:
    """The event as JSON holds it: now, the kind, and fields whose NaN and infinities are null."""
    cleaned = {name: _jsonable(value) for name, value in fields.items() if name != "t"}
    return {"t": round(time.time(), 3), "kind": kind, **cleaned}


class EventReader:
    """Follows one file from a line's start by byte offset, whatever happens to the file meanwhile."""

    def __init__(self, path: Path, offset: int = 0) -> None:
        self.path = path
        self.offset = offset
        self.broken_lines = 0
        self._file_id: tuple[int, int] | None = None
        self._skipping = False  # inside a line that is too long

    def poll(self, limit: int = _CHUNK) -> list[Event]:
        """The events written since the last poll, at most about `limit` bytes of them, one at least.

        Call again while it returns events. A line without its end is left for the next poll. A file
        that shrank or was replaced is read again from its start. Never raises.
        """
        try:
            with open_plain(self.path) as file:
                self._notice_change(os.fstat(file.fileno()))
                return self._read_on(file.fileno(), limit)
        except OSError:
            return []

    def _notice_change(self, stat: os.stat_result) -> None:
        file_id = (stat.st_dev, stat.st_ino)
        if stat.st_size < self.offset or self._file_id not in (None, file_id):
            self.offset = 0
            self._skipping = False
        self._file_id = file_id

    def _read_on(self, file: int, limit: int) -> list[Event]:
        while data := os.pread(file, limit, self.offset):
            end = data.rfind(b"\n") + 1
            if end == 0 and len(data) < limit:
                return []
            if end == 0 and limit < _LONGEST:
                limit = _LONGEST
                continue
            lines = data[:end].split(b"\n")[:-1]
            if self._skipping and lines:
                del lines[0]
            self.offset += end or len(data)
            if end == 0:
                self.broken_lines += not self._skipping
            self._skipping = end == 0
            events = [event for line in lines if (event := self._parse(line))]
            if events:
                return events
        return []

    def _parse(self, line: bytes) -> Event | None:
        if not line.strip():
            return None
        event = parse_event(line)
        self.broken_lines += event is None
        return event


def read_events(path: Path) -> Iterator[Event]:
    """Every whole event of a file, a bounded piece at a time."""
    reader = EventReader(path)
    while events := reader.poll():
        yield from events


def last_ending(path: Path, since: int) -> Event | None:
    """The last event at or after the byte offset `since` that ends a worker's work."""
    with contextlib.suppress(OSError), open_plain(path) as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(since, size - _CHUNK))
        for line in reversed(file.read().split(b"\n")):
            event = parse_event(line)
            if event and is_ending(event):
                return event
    return None


def last_step(path: Path) -> int | None:
    """The optimizer step that the end of a file says was reached; None when it tells of none."""
    with contextlib.suppress(OSError), open_plain(path) as file:
        file.seek(max(file.seek(0, os.SEEK_END) - _TAIL, 0))
        for line in reversed(file.read().split(b"\n")):
            event = parse_event(line)
            if event and event["kind"] in _SAY_THE_STEP and type(event.get("step")) is int:
                step: int = event["step"]
                return step
    return None


def is_ending(event: Event) -> bool:
    """Whether a worker's work is over with it. A pause that holds is none: the worker stays."""
    return event["kind"] in ENDINGS or (event["kind"] == "paused" and event.get("how") == "release")


def parse_event(line: bytes) -> Event | None:
    """The event in a line, or None when the line is torn or is not one."""
    try:
        event = _DECODER.decode(line.decode())
    except (ValueError, RecursionError):
        return None
    if not isinstance(event, dict) or not isinstance(event.get("kind"), str):
        return None
    return event


def _no_number(_: str) -> None:
    """NaN and Infinity are not JSON; other writers leave them in all the same."""


_DECODER = json.JSONDecoder(parse_constant=_no_number)  # made once: that is most of reading a line


def _ends_torn(file: int) -> bool:
    size = os.fstat(file).st_size
    return size > 0 and os.pread(file, 1, size - 1) != b"\n"


def _jsonable(value: Any) -> Any:
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): _jsonable(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_jsonable(inner) for inner in value]
    if hasattr(value, "item"):  # a number of numpy or torch, neither of which is imported here
        with contextlib.suppress(TypeError, ValueError, RuntimeError):
            return _jsonable(value.item())
    return str(value)
