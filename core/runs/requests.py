"""requests/: what a person asks of a worker, dropped as an empty file and taken by deleting it.

An empty file needs no free block, so that a run can be stopped when its disk is full.
"""

import contextlib
import os

from finetune_tui.core.errors import UserError
from finetune_tui.core.runs.directory import RunDirectory
from finetune_tui.core.text import did_you_mean, plain
from finetune_tui.core.tuning.tasks import OTHER_TASKS

KINDS = ("pause", "release", "resume", "checkpoint", "stop")
"""pause: hold, memory kept. release: checkpoint and exit. resume: end a hold, or take back a pause."""


def drop_request(run: RunDirectory, kind: str) -> None:
    """Ask for `kind`; asking twice before it is taken is asking once, at the later time.

    Raises UserError, also for a checkpoint of what has none.
    """
    if kind not in KINDS:
        raise UserError(f"'{kind}' is not a request", hint=did_you_mean(kind, KINDS))
    if kind == "checkpoint" and (words := OTHER_TASKS.get(run.state().task)):
        raise UserError(f"{plain(run.short_id)} is {words}: it has no checkpoints")
    try:
        run.requests.mkdir(exist_ok=True)
        file = os.open(
            run.requests / kind, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK, 0o644
        )
        try:
            os.utime(file)
        finally:
            os.close(file)
    except OSError as error:
        raise UserError(
            f"the request cannot be written ({error.strerror})", where=str(run.requests)
        ) from error


def take_requests(run: RunDirectory) -> list[str]:
    """What was asked since the last time, each once, in the order of asking. Never raises.

    Asked at the same moment, as far as the disk can tell: in the order of KINDS.
    """
    taken: list[tuple[int, int, str]] = []
    for kind in set(_names(run)) & set(KINDS):
        path = run.requests / kind
        with contextlib.suppress(OSError):
            asked = path.stat().st_mtime_ns
            path.unlink()
            taken.append((asked, KINDS.index(kind), kind))
    return [kind for _, _, kind in sorted(taken)]


def is_asked(run: RunDirectory, kind: str) -> bool:
    """Whether `kind` was asked and not yet taken. Never raises."""
    return kind in _names(run)


def _names(run: RunDirectory) -> list[str]:
    try:
        return os.listdir(run.requests)  # noqa: PTH208 - a worker asks often
    except OSError:
        return []
