"""Runs that a reboot or a kill cut off, and that can go on: a training from a checkpoint."""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from finetune_tui.core.errors import UserError
from finetune_tui.core.runs.directory import RunDirectory, list_runs
from finetune_tui.core.runs.endings import OUT_OF_MEMORY
from finetune_tui.core.runs.labels import read_labels
from finetune_tui.core.runs.processes import host_name
from finetune_tui.core.runs.slots import slots_of
from finetune_tui.core.runs.start import resumable
from finetune_tui.core.runs.state import Status
from finetune_tui.core.runs.untold import runs_under_way
from finetune_tui.core.text import plain


@dataclass(frozen=True, slots=True)
class Interrupted:
    """why: how it was cut off. left: why it is left alone, None when it can go on now."""

    run: RunDirectory
    why: str
    left: str | None = None


def interrupted_runs(home: Path, gpus: Sequence[str], now: float) -> list[Interrupted]:
    """This machine's, the oldest first. Archived ones are nobody's worry any more.

    Two that want one GPU do not start together: the second is left, and says so.
    """
    busy: dict[str, RunDirectory] = {}
    for run in runs_under_way(home):
        with contextlib.suppress(UserError):
            busy |= dict.fromkeys(slots_of(run.task_spec(), gpus), run)
    found = []
    for run in reversed(list_runs(home)):
        state, liveness = run.state(), run.liveness(now)
        is_cut_off = liveness.status in (Status.DEAD, Status.KILLED) and state.host == host_name()
        if not is_cut_off or read_labels(run).archived:
            continue
        left = _left(run, state.task, state.why, gpus, busy, now)
        if left is None:
            busy |= dict.fromkeys(slots_of(run.task_spec(), gpus), run)
        found.append(Interrupted(run, liveness.words, left))
    return found


def _left(
    run: RunDirectory,
    task: str,
    why: str | None,
    gpus: Sequence[str],
    busy: dict[str, RunDirectory],
    now: float,
) -> str | None:
    """Why a run is left alone, or None."""
    name = plain(run.short_id)
    if (why or "").startswith(OUT_OF_MEMORY):
        return "it would run out of memory again"
    if task == "train" and run.newest_checkpoint_step() is None:
        return f"it has no checkpoint; `finetune-tui resume {name}` begins again"
    if refused := resumable(run, now):
        return refused
    try:
        taken = [busy[slot] for slot in slots_of(run.task_spec(), gpus) if slot in busy]
    except UserError as error:
        return str(error)
    if taken:
        return f"{plain(taken[0].short_id)} has its place; `finetune-tui resume {name}` goes on"
    return None
