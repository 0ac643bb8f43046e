"""Runs that end while the app is open, each end found once."""

from collections.abc import Callable, Iterable
from pathlib import Path

from finetune_tui.core.runs.directory import RunDirectory, task_words
from finetune_tui.core.runs.liveness import Liveness, derived_status
from finetune_tui.core.runs.state import State, Status
from finetune_tui.core.text import plain
from finetune_tui.tui.returning import ending_words

_NEWEST = 50
_LIST_EVERY = 5  # looks between two lists of all runs


class Ends:
    """Looks at the runs that were alive, at those in view and, now and then, at the newest ones.

    since: when the app was opened; what ended before is told by "while you were away".
    """

    def __init__(self, list_runs: Callable[[], Iterable[RunDirectory]], since: float) -> None:
        self._list_runs = list_runs
        self._since = since
        self._alive: dict[Path, RunDirectory] = {}
        self._told: set[Path] = set()
        self._looks = 0

    def look(self, in_view: Iterable[RunDirectory], now: float) -> list[str]:
        """In words, what has ended since the last look; reads files."""
        runs = {run.path: run for run in (*in_view, *self._newest())} | self._alive
        found = []
        for path, run in runs.items():
            state = run.state()
            liveness = derived_status(state, now)
            if liveness.may_be_alive or liveness.status is Status.PAUSED:
                self._alive[path] = run
                continue
            was_alive = self._alive.pop(path, None) is not None
            if was_alive or (path not in self._told and self._ended_meanwhile(state)):
                self._told.add(path)
                found.append(_words(run, state, liveness, now))
        return found

    def _newest(self) -> list[RunDirectory]:
        self._looks += 1
        if self._looks % _LIST_EVERY != 1:
            return []
        return [run for _, run in zip(range(_NEWEST), self._list_runs(), strict=False)]

    def _ended_meanwhile(self, state: State) -> bool:
        """Short runs begin and end between two lists."""
        return state.ended is not None and state.ended >= self._since


def _words(run: RunDirectory, state: State, liveness: Liveness, now: float) -> str:
    state = state.changed(why=state.why or liveness.words)
    name = f"{plain(run.short_id, 40)} {task_words(state.task, state.target)}".strip()
    return f"{name} {ending_words(state, liveness.status, now)}"
