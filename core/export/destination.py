"""Where an export lands: a folder that is whole or absent. It is made beside and renamed."""

import contextlib
import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from finetune_tui.core.errors import UserError, WorkFailed
from finetune_tui.core.files import sync_folder
from finetune_tui.core.text import plain

_KEY = "out"
_ELSEWHERE = "name a folder that is not there yet"


def check_out(out: Path) -> None:
    """Raises UserError when an export could not land there: something lies there, or nothing can."""
    where = f"{_KEY}: {plain(str(out), 200)}"
    if not out.is_absolute() or not out.name:
        raise UserError("no folder's whole path", where=where, hint=_ELSEWHERE)
    try:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            out.lstat()  # raises for a name that cannot be one, which the others take for absent
        if out.is_symlink():
            raise UserError("a link", where=where, hint="name the folder it leads to, or another")
        if out.exists() and not out.is_dir():
            raise UserError("a file lies there", where=where, hint=_ELSEWHERE)
        if out.is_dir() and any(out.iterdir()):
            raise UserError(
                "the folder is not empty, and an export never writes into what is there",
                where=where,
                hint=f"{_ELSEWHERE}, or empty it first",
            )
        parent = nearest_folder(out)
    except (OSError, ValueError) as error:
        words = getattr(error, "strerror", None) or str(error)
        raise UserError(
            f"cannot be looked at ({plain(words, 80)})", where=where, hint=_ELSEWHERE
        ) from error
    if not parent.is_dir():
        raise UserError(f"{parent} is no folder", where=where, hint=_ELSEWHERE)
    if not os.access(parent, os.W_OK | os.X_OK):
        raise UserError(f"{parent} cannot be written in", where=where, hint=_ELSEWHERE)


def nearest_folder(out: Path) -> Path:
    """What is there of the path above `out`."""
    parent = out.parent
    while not parent.exists() and parent != parent.parent:
        parent = parent.parent
    return parent


def free_beside(out: Path) -> int | None:
    """Bytes that the disk `out` would lie on still takes; None: it cannot be asked."""
    try:
        return shutil.disk_usage(nearest_folder(out)).free
    except OSError:
        return None


@contextmanager
def made_aside(out: Path) -> Iterator[Path]:
    """An empty folder beside `out` to write in; it becomes `out` when the block ends well, else it goes.

    What an export that was killed left there goes first. Raises UserError when another export writes
    there now, or `out` has come to be meanwhile; OSError when there is no room.
    """
    check_out(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    aside = out.with_name(f".{out.name}.partial")
    with _held(aside):
        try:
            yield aside
            _settle(aside)
            check_out(out)
            try:
                aside.rename(out)
            except OSError as error:
                raise WorkFailed(
                    f"the finished folder cannot be put in place ({error.strerror})", where=str(out)
                ) from error
            sync_folder(out.parent)
        finally:
            shutil.rmtree(aside, ignore_errors=True)


@contextmanager
def _held(aside: Path) -> Iterator[None]:
    """The folder, empty and this process's alone: a lock on it goes with the process that dies."""
    if aside.is_symlink() or (aside.exists() and not aside.is_dir()):
        raise UserError("in the way of the export", where=str(aside), hint="move it elsewhere")
    aside.mkdir(exist_ok=True)
    descriptor = os.open(aside, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError("another export writes there now", where=str(aside)) from None
        except OSError:
            pass  # some network disks cannot lock
        for left_behind in aside.iterdir():
            if left_behind.is_dir() and not left_behind.is_symlink():
                shutil.rmtree(left_behind)
            else:
                left_behind.unlink()
        yield
    finally:
        with contextlib.suppress(OSError):
            os.close(descriptor)


def _settle(folder: Path) -> None:
    """Every file may be read by whom this user's own files may, and survives a power cut."""
    mode = folder.stat().st_mode & 0o666
    for path in sorted(folder.rglob("*")):
        if path.is_dir():
            sync_folder(path)
        else:
            path.chmod(mode)
            with path.open("rb") as file:
                os.fsync(file.fileno())
    sync_folder(folder)
