"""Ends that are still to be told: each run under way leaves a token, and whoever takes it away tells the end.

    python -m finetune_tui.core.runs.untold RUNS_FOLDER

The supervisor takes its own token. When it was killed, its worker sees to it, and when both were,
whoever looks next on the same machine. Taking a file away succeeds for one alone, so that nothing is
told twice. The tokens of all runs lie in one folder: a look costs no more with ten thousand runs that
are over.
"""

import contextlib
import os
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from finetune_tui.core.runs.detached import spawn_detached
from finetune_tui.core.runs.directory import RunDirectory
from finetune_tui.core.runs.hook import run_hook
from finetune_tui.core.runs.liveness import derived_status
from finetune_tui.core.runs.processes import host_name
from finetune_tui.core.runs.state import State, Status
from finetune_tui.core.settings import read_settings

_THIS = "finetune_tui.core.runs.untold"
_FOLDER = ".untold"
_ENDS = (Status.FINISHED, Status.STOPPED, Status.FAILED, Status.KILLED)
_TOKEN = re.compile(r"(.+)\.([0-9]{1,9})", re.DOTALL)


def expect_end(run: RunDirectory, attempt: int) -> bool:
    """Before a worker starts: the end of this attempt is to be told. False when no token can be left."""
    _take(run, attempt - 1)  # whoever goes on knows how the attempt before ended
    path = _path(run, attempt)
    try:
        path.parent.mkdir(exist_ok=True)
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK, 0o644))
    except OSError:
        return False
    return True


def tell_own_end(run: RunDirectory, state: State, is_expected: bool) -> None:
    """The supervisor's last act. is_expected: as `expect_end` answered. A pause is no end. Never raises."""
    is_mine = _take(run, state.attempt) or not is_expected
    if is_mine and not state.is_released:
        _tell(run, state)


def tell_end(run: RunDirectory) -> None:
    """A worker's last act when its supervisor is gone: another process tells. Never waits or raises."""
    _start_teller(run.path.parent)


def notice_ends(home: Path) -> list[RunDirectory]:
    """Runs of this machine and this person that ended and nobody told; another process tells them now."""
    folder = home / "runs"
    noticed = _untold(folder)
    if noticed:
        _start_teller(folder)
    return [untold.run for untold in noticed]


def runs_under_way(home: Path) -> list[RunDirectory]:
    """The runs whose end is still to come, as far as is known here, with no look at any other."""
    return [run for run, _ in _tokens(home / "runs") if run.liveness().is_alive]


def main(arguments: Sequence[str] | None = None) -> int:
    words = list(sys.argv[1:] if arguments is None else arguments)
    for untold in _untold(Path(words[0])):
        if _take(untold.run, untold.attempt):
            _tell(untold.run, untold.state)
    return 0


@dataclass(frozen=True, slots=True)
class _Untold:
    run: RunDirectory
    attempt: int
    state: State


def _tell(run: RunDirectory, state: State) -> None:
    command = read_settings().on_end
    if command:
        run_hook(run, state, command)


def _untold(folder: Path) -> list[_Untold]:
    found = []
    for run, attempt in _tokens(folder):
        state = run.state()
        if not run.path.is_dir() or state.attempt > attempt or state.is_released:
            _take(run, attempt)
        elif state.attempt == attempt and (ended := _ended_here(state)):
            found.append(_Untold(run, attempt, ended))
    return found


def _ended_here(state: State) -> State | None:
    """The state to tell, when the run was on this machine and is over. A run elsewhere is told there."""
    if state.host != host_name():
        return None
    if state.status in _ENDS:
        return state
    liveness = derived_status(state)
    if liveness.status is not Status.DEAD:
        return None
    return state.changed(status=Status.DEAD, why=liveness.words)


def _tokens(folder: Path) -> list[tuple[RunDirectory, int]]:
    """Those of this person: another one's runs are told by another one's hook."""
    found = []
    try:
        with os.scandir(folder / _FOLDER) as entries:
            for entry in entries:
                match = _TOKEN.fullmatch(entry.name)
                if match and entry.stat(follow_symlinks=False).st_uid == os.getuid():
                    found.append((RunDirectory(folder / match[1]), int(match[2])))
    except OSError:
        return []
    return sorted(found, key=lambda token: (token[0].number or 0, token[0].id))


def _take(run: RunDirectory, attempt: int) -> bool:
    """Whether this very call took the token away."""
    with contextlib.suppress(OSError):
        _path(run, attempt).unlink()
        return True
    return False


def _path(run: RunDirectory, attempt: int) -> Path:
    return run.path.parent / _FOLDER / f"{run.id}.{attempt}"


def _start_teller(folder: Path) -> None:
    with contextlib.suppress(OSError):
        spawn_detached([sys.executable, "-m", _THIS, str(folder.absolute())])


if __name__ == "__main__":
    raise SystemExit(main())
