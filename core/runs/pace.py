"""How long a run will take, told before it starts: from its rehearsal, else from past runs like it."""

from dataclasses import dataclass
from pathlib import Path

from finetune_tui.core.errors import UserError
from finetune_tui.core.runs.directory import RunDirectory, list_runs
from finetune_tui.core.runs.likeness import likeness
from finetune_tui.core.runs.processes import host_name
from finetune_tui.core.runs.rehearsal import kept_rehearsal
from finetune_tui.core.runs.state import State, Status
from finetune_tui.core.tuning.spec import Spec

_RUNS_LOOKED_AT = 100  # the newest: a home may hold thousands
_REHEARSAL_SPREAD = 0.15  # a few steps stand for thousands
_PAST_SPREAD = 0.1


@dataclass(frozen=True, slots=True)
class Prediction:
    """seconds ± spread (seconds) for the whole run, and where that comes from, in words."""

    seconds: float
    spread: float
    source: str


def predict(home: Path, spec: Spec) -> Prediction | None:
    """None when nothing like this spec ran on this machine. Reads small files only; never raises."""
    rehearsal = kept_rehearsal(home, spec)
    if rehearsal is not None:
        seconds = rehearsal.seconds(spec)
        return Prediction(
            seconds, seconds * max(rehearsal.spread, _REHEARSAL_SPREAD), "from the rehearsal"
        )
    alike = likeness(spec)
    for run in list_runs(home)[:_RUNS_LOOKED_AT]:
        past = _from_past(run, run.state(), spec, alike)
        if past is not None:
            return Prediction(past, past * _PAST_SPREAD, f"from {run.short_id}")
    return None


def _from_past(run: RunDirectory, state: State, spec: Spec, alike: str) -> float | None:
    if state.status is not Status.FINISHED or state.attempt != 1 or state.host != host_name():
        return None
    if not state.step or state.started is None or state.ended is None:
        return None
    try:
        past = run.spec()
    except UserError:
        return None
    if likeness(past) != alike:
        return None
    steps = _steps(spec, state)
    return None if steps is None else (state.ended - state.started) * steps / state.step


def _steps(spec: Spec, past: State) -> float | None:
    """Optimizer steps of a spec on the data of a past run."""
    if spec.max_steps > 0:
        return float(spec.max_steps)
    if not past.epoch or not past.step:
        return None
    return spec.num_train_epochs * past.step / past.epoch
