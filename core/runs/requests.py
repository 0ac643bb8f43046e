"""requests/: what a person asks of a worker, dropped as an empty file and taken by deleting it.

An empty file needs no free block, so that a run can be stopped when its disk is full.
"""

import contextlib
import os

from finetune_tui.core.errors import UserError
from finetune_tui.core.runs.directory import RunDirectory
from finetune_tui.core.text import did_you_mean

KINDS = ("stop", "checkpoint")


def drop_request(run: RunDirectory, kind: str) -> None:
    """Ask for `kind`; asking twice before it is taken is asking once. Raises UserError."""
    if kind not in KINDS:
        raise UserError(f"'{kind}' is not a request", hint=did_you_mean(kind, KINDS))
    try:
        run.requests.mkdir(exist_ok=True)
        os.close(os.open(run.requests / kind, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644))
    except OSError as error:
        raise UserError(
            f"the request cannot be written ({error.strerror})", where=str(run.requests)
        ) from error


def take_requests(run: RunDirectory) -> list[str]:
    """What was asked since the last time, each once, in the order of KINDS. Never raises."""
    taken = []
    for kind in KINDS:
        with contextlib.suppress(OSError):
            (run.requests / kind).unlink()
            taken.append(kind)
    return taken
