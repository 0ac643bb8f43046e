"""Deleted runs: moved aside as they are, brought back under their name, taken away only on request.

<home>/bin/<seconds since 1970>/<id>/
"""

import contextlib
import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from finetune_tui.core.errors import UserError, WorkFailed
from finetune_tui.core.runs.directory import RunDirectory
from finetune_tui.core.runs.lock import take_lock
from finetune_tui.core.runs.state import Status
from finetune_tui.core.runs.untold import runs_under_way
from finetune_tui.core.text import did_you_mean, plain
from finetune_tui.core.tuning.tasks import OTHER_TASKS

_DAY = 86400.0


@dataclass(frozen=True, slots=True)
class Binned:
    """A deleted run. deleted: seconds since 1970."""

    path: Path
    id: str
    deleted: float


def delete_run(home: Path, run: RunDirectory) -> Binned:
    """Move a run of this home into the bin.

    Raises UserError for a run that goes on, here or elsewhere, for a link and for what is no run of this
    home; WorkFailed when it cannot be moved.
    """
    _refuse(home, run)
    now = int(time.time())
    with contextlib.ExitStack() as held:
        if run.lock_path.exists():  # so that nobody starts it meanwhile
            held.callback(take_lock(run).close)
        try:
            place = _new_place(home / "bin", now)
            run.path.rename(place / run.id)
        except OSError as error:
            with contextlib.suppress(OSError, UnboundLocalError):
                place.rmdir()
            raise WorkFailed(
                f"{plain(run.short_id)} cannot be moved into the bin ({error.strerror})",
                where=str(home / "bin"),
            ) from error
    return Binned(place / run.id, run.id, float(place.name.partition("-")[0]))


def list_bin(home: Path) -> list[Binned]:
    """What can be brought back, the newest first. Never raises."""
    found = []
    for place in _entries(home / "bin"):
        when = place.name.partition("-")[0]
        if when.isascii() and when.isdigit() and not place.is_symlink():
            found += [Binned(path, path.name, float(when)) for path in _entries(place)]
    return sorted(found, key=lambda binned: (binned.deleted, binned.path.parent.name), reverse=True)


def find_binned(home: Path, text: str) -> Binned:
    """The run that was deleted last among those called `text`: `r7`, `7` or a whole id. Raises UserError."""
    binned = list_bin(home)
    for each in binned:
        run = RunDirectory(each.path)
        if text.lower() in (run.id.lower(), run.short_id.lower(), str(run.number)):
            return each
    hint = did_you_mean(text, [each.id for each in binned])
    hint = hint or (f"the last deleted is {plain(binned[0].id)}" if binned else "the bin is empty")
    raise UserError(f"no deleted run is called '{plain(text, 60)}'", hint=hint)


def restore_run(home: Path, binned: Binned) -> RunDirectory:
    """Back to where it was. Raises UserError when its name is taken, WorkFailed when it cannot be moved."""
    run = RunDirectory(home / "runs" / binned.id)
    if os.path.lexists(run.path):
        raise UserError(
            f"there is a run called {plain(binned.id)} now", hint="move one of them by hand"
        )
    try:
        run.path.parent.mkdir(parents=True, exist_ok=True)
        binned.path.rename(run.path)
    except OSError as error:
        raise WorkFailed(
            f"{plain(binned.id)} cannot be brought back ({error.strerror})", where=str(binned.path)
        ) from error
    _forget(binned)
    return run


def empty_bin(home: Path, days: float = 0.0, now: float | None = None) -> list[Binned]:
    """Take away for good what was deleted more than `days` ago; returns what went.

    Links in a run are taken away, never what they lead to. Raises WorkFailed when something stays.
    """
    now = time.time() if now is None else now
    gone = []
    for binned in list_bin(home):
        if days and now - binned.deleted < days * _DAY:
            continue
        try:
            if binned.path.is_symlink():
                binned.path.unlink()
            else:
                shutil.rmtree(binned.path)
        except OSError as error:
            raise WorkFailed(
                f"{plain(binned.id)} cannot be taken away ({error.strerror})",
                where=str(binned.path),
            ) from error
        _forget(binned)
        gone.append(binned)
    return gone


def _refuse(home: Path, run: RunDirectory) -> None:
    name = plain(run.short_id)
    if run.path.is_symlink():
        raise UserError(
            f"{name} is a link, not a run", where=str(run.path), hint="remove it by hand"
        )
    if run.path.absolute().parent != (home / "runs").absolute():
        raise UserError(f"{name} is no run of this home", where=str(run.path))
    liveness = run.liveness()
    if liveness.is_alive:
        hint = f"`finetune-tui stop {name}` ends it"
        raise UserError(f"{name} is running ({liveness.words})", hint=hint)
    working = [one for one in runs_under_way(home) if one.state().target == run.id]
    if working:
        other = plain(working[0].short_id)
        what = OTHER_TASKS.get(working[0].state().task, "a run")
        hint = f"`finetune-tui stop {other}` ends that first"
        raise UserError(f"{other}, {what}, works on {name}", hint=hint)
    if liveness.status is Status.NEWER:
        raise UserError(f"{name} was {liveness.words}", hint="delete it with that version")
    if liveness.status is Status.ELSEWHERE:
        raise UserError(f"{name} may be running ({liveness.words})", hint="delete it there")


def _new_place(folder: Path, now: int) -> Path:
    """A folder of its own in the bin. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in (str(now), *(f"{now}-{again}" for again in range(1, 10_000))):
        with contextlib.suppress(FileExistsError):
            (folder / name).mkdir()
            return folder / name
    raise OSError(0, "too many at once")


def _forget(binned: Binned) -> None:
    with contextlib.suppress(OSError):
        binned.path.parent.rmdir()


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []
