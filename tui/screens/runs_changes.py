"""Changes to runs that can be taken back: labels, the bin, the queue."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from finetune_tui.core.errors import UserError
from finetune_tui.core.runs.bin import Binned, delete_run, restore_run
from finetune_tui.core.runs.directory import RunDirectory
from finetune_tui.core.text import plain
from finetune_tui.tui.screens.place import Place

_MOST = 200


class Change(Protocol):
    """`do` and `undo` block and raise UserError; `words` say what the last of them did."""

    @property
    def words(self) -> str: ...

    def do(self) -> None: ...

    def undo(self) -> None: ...


class History:
    """What was changed, done beside the screen one after another. changed: called after each."""

    def __init__(self, place: Place, changed: Callable[[], object]) -> None:
        self._place = place
        self._changed = changed
        self._past: list[Change] = []
        self._future: list[Change] = []
        self._is_busy = False

    def make(self, change: Change) -> None:
        def done() -> None:
            self._past.append(change)
            del self._past[:-_MOST]
            self._future.clear()
            self._place.finetune.say(f"{change.words}; u takes this back")

        self._work(change.do, done)

    def undo(self) -> None:
        self._travel(self._past, self._future, "nothing to take back", lambda change: change.undo)

    def redo(self) -> None:
        self._travel(self._future, self._past, "nothing was taken back", lambda change: change.do)

    def _travel(
        self,
        source: list[Change],
        target: list[Change],
        empty: str,
        work: Callable[[Change], Callable[[], None]],
    ) -> None:
        if not source:
            self._place.finetune.say(empty)
            return
        change = source[-1]

        def done() -> None:
            source.remove(change)
            target.append(change)
            self._place.finetune.say(change.words)

        self._work(work(change), done)

    def _work(self, work: Callable[[], None], done: Callable[[], None]) -> None:
        if self._is_busy:
            return  # a key that came before the disk had answered
        self._is_busy = True

        def ended(then: Callable[[], object]) -> None:
            self._is_busy = False
            then()
            self._changed()

        finetune = self._place.finetune
        finetune.in_thread(
            work,
            lambda _: ended(done),
            "change of runs",
            lambda error: ended(lambda: finetune.say_error(error)),
        )


def names_of(runs: Sequence[RunDirectory]) -> str:
    """`r7`, `r7 and r9`, `4 runs`."""
    names = [plain(run.short_id, 60) for run in runs]
    return " and ".join(names) if len(names) < 3 else f"{len(names)} runs"


@dataclass(slots=True)
class Deletion:
    """Runs into the bin. Those that cannot go stay, and why is said."""

    home: Path
    runs: Sequence[RunDirectory]
    words: str = ""
    _binned: list[Binned] = field(default_factory=list)

    def do(self) -> None:
        self._binned, gone, errors = [], [], []
        for run in self.runs:
            try:
                self._binned.append(delete_run(self.home, run))
                gone.append(run)
            except UserError as error:
                errors.append(error)
        if errors and not gone:
            raise errors[0]
        self.words = f"{names_of(gone)} in the bin" + (
            f", {len(errors)} not: {errors[0].message}" if errors else ""
        )

    def undo(self) -> None:
        for binned in list(self._binned):
            restore_run(self.home, binned)
            self._binned.remove(binned)
        self.words = f"{names_of(self.runs)} back from the bin"


@dataclass(slots=True)
class Restoring:
    """A run out of the bin."""

    home: Path
    binned: Binned
    words: str = ""
    _run: RunDirectory | None = None

    def do(self) -> None:
        self._run = restore_run(self.home, self.binned)
        self.words = f"{plain(self._run.short_id, 60)} back from the bin"

    def undo(self) -> None:
        if self._run:
            self.binned = delete_run(self.home, self._run)
            self.words = f"{plain(self._run.short_id, 60)} in the bin"
