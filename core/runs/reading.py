"""Opening a run of any length at once: a skim of its events first, every single one beside it.

Reading a million events one by one takes ten seconds. A skim finds the lines that are no steps by their
bytes, reads all of these, and of the steps only some thousands, evenly spaced: half a second for
200 MB, of which the exact pass then needs nothing. No copy is kept on the disk that could be wrong.
"""

import os
import re
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from finetune_tui.core.files import open_plain
from finetune_tui.core.runs.curves import Curves
from finetune_tui.core.runs.events import Event, EventReader, parse_event, read_events

_CHUNK = 2**20  # bytes looked at together
_SHORT = 2**20  # bytes of a file that is read as a whole: some 20 ms
_TAIL = 2**16  # bytes at the end that are read event by event: the newest steps are all there
_STEPS = 4_000  # read of a long file: some ten for each column of a wide screen
_OTHERS = 100_000  # events that are no steps: of more than these some are left out
_PIECE = 2**16  # bytes of new events that are handed over together: some 3 ms to take in

# What comes with the clock or the steps; the rest is rare. An event's kind is never inside a text of
# an event, where the quotes would be escaped.
_NOT_A_STEP = re.compile(rb'"kind": ?"(?!step"|hardware")')


@dataclass(frozen=True, slots=True)
class Skimmed:
    """events: in order. offset: of the byte that comes after them. is_whole: no event was left out.
    has_all_but_steps: of steps and measurements of the machine alone."""

    events: list[Event]
    offset: int
    is_whole: bool
    has_all_but_steps: bool = True


def skim(path: Path) -> Skimmed:
    """What an event file of any size says, in under a second for 200 MB. Never raises."""
    try:
        with open_plain(path) as file:
            size = os.fstat(file.fileno()).st_size
            return _skim(file.fileno(), size) if size > _SHORT else _whole(path)
    except OSError:
        return Skimmed([], 0, is_whole=True)


def read_curves(path: Path) -> Curves:
    """The curves of a run of any size; of a long one, of some thousands of its steps. Never raises."""
    skimmed = skim(path)
    curves = Curves()
    curves.feed(skimmed.events if skimmed.has_all_but_steps else read_events(path))
    return curves


class Fed(Protocol):
    """What events add up to."""

    def feed(self, events: Iterable[Event]) -> None: ...


F = TypeVar("F", bound=Fed)


@dataclass(frozen=True, slots=True)
class Look(Generic[F]):
    """One look at a run's events. whole: what takes the place of all that was read before, else None.
    events: what is new since, to be fed to it. more: look again at once."""

    whole: F | None
    events: list[Event]
    more: bool = False


class Opening(Generic[F]):
    """Follows an event file from its beginning into what `make` makes; used from one thread at a time.

    The first look gives a skim of everything. Later ones give what is new, and meanwhile read every
    event into another one; when that has caught up it takes the place of the skim.
    """

    def __init__(self, path: Path, make: Callable[[], F]) -> None:
        self._path = path
        self._make = make
        self._new: EventReader | None = None
        self._exact: tuple[F, EventReader] | None = None  # while it catches up

    @property
    def is_exact(self) -> bool:
        """Whether what was handed over holds every event."""
        return self._new is not None and self._exact is None

    def look(self, seconds: float = 0.5) -> Look[F]:
        """seconds: so long this goes on with the exact pass, where there is one. Never raises."""
        if self._new is None:
            return self._first_look()
        events = self._new.poll(_PIECE)
        if self._exact is None or events:
            return Look(None, events, more=bool(events))
        return Look(self._read_on(*self._exact, seconds), [])

    def _first_look(self) -> Look[F]:
        skimmed = skim(self._path)
        self._new = EventReader(self._path, skimmed.offset)
        if not skimmed.is_whole:
            self._exact = self._make(), EventReader(self._path)
        made = self._make()
        made.feed(skimmed.events)
        return Look(made, [])

    def _read_on(self, exact: F, reader: EventReader, seconds: float) -> F | None:
        """The exact one once it has caught up with the file."""
        until = time.perf_counter() + seconds
        while time.perf_counter() < until:
            events = reader.poll(_PIECE)
            exact.feed(events)
            if not events:
                self._exact, self._new = None, reader
                return exact
        return None


def _whole(path: Path) -> Skimmed:
    reader = EventReader(path)
    events: list[Event] = []
    while found := reader.poll():
        events += found
    return Skimmed(events, reader.offset, is_whole=True)


def _skim(file: int, size: int) -> Skimmed:
    """Piece by piece; only the tail is read as a whole."""
    end = size - _TAIL
    chunks = end // _CHUNK + 1
    events: list[Event] = []
    offset, has_all, is_torn = 0, True, False  # torn: inside a line that is longer than a chunk
    while data := os.pread(file, min(_CHUNK, max(end - offset, 0)), offset):
        cut = data.rfind(b"\n") + 1
        if not cut and len(data) < _CHUNK:
            break  # the tail begins with this line
        others, most = _line_starts(data, cut), _OTHERS // chunks + 1
        has_all = has_all and len(others) <= most
        starts = {*_evenly(others, most), *_some_steps(data, cut, _STEPS // chunks + 1)}
        events += _events_at(data, sorted(starts - {0} if is_torn else starts))
        is_torn = not cut
        offset += cut or len(data)
    tail, offset = _tail(file, offset, is_torn)
    return Skimmed(events + tail, offset, is_whole=False, has_all_but_steps=has_all)


def _line_starts(data: bytes, cut: int) -> list[int]:
    """Where the lines begin that hold an event of another kind."""
    found = _NOT_A_STEP.finditer(data, 0, cut)
    return list(dict.fromkeys(data.rfind(b"\n", 0, match.start()) + 1 for match in found))


def _some_steps(data: bytes, cut: int, wanted: int) -> set[int]:
    """Where about so many lines begin, evenly spaced; any kind may lie there."""
    places = range(0, cut, max(cut // wanted, 1))
    return {data.rfind(b"\n", 0, place) + 1 for place in places}


def _evenly(starts: list[int], most: int) -> list[int]:
    return starts if len(starts) <= most else starts[:: len(starts) // most + 1]


def _events_at(data: bytes, starts: list[int]) -> list[Event]:
    lines = (data[start : data.index(b"\n", start)] for start in starts)
    return [event for line in lines if (event := parse_event(line))]


def _tail(file: int, offset: int, is_torn: bool) -> tuple[list[Event], int]:
    """Every event from there on, and where they end."""
    data = b""
    while piece := os.pread(file, _CHUNK, offset + len(data)):
        data += piece
    cut = data.rfind(b"\n") + 1
    lines = data[:cut].split(b"\n")[is_torn:]
    return [event for line in lines if (event := parse_event(line))], offset + cut
