"""Coming back: which run is live, which was the last, and what ended while the app was closed."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from finetune_tui.core.errors import UserError
from finetune_tui.core.files import read_json, write_atomically
from finetune_tui.core.runs.directory import RunDirectory
from finetune_tui.core.runs.liveness import Liveness, derived_status
from finetune_tui.core.runs.state import State, Status
from finetune_tui.core.text import duration, plain, size

_LOOKED_AT = 50  # newest runs; older ones did not end while anybody was away for a coffee


@dataclass(frozen=True, slots=True)
class Returning:
    """live: a run that goes on now. last: the newest run. away: what ended meanwhile, in one line."""

    live: RunDirectory | None
    last: RunDirectory | None
    last_words: str | None
    away: str | None


def look_back(runs: Iterable[RunDirectory], seen: float | None, now: float) -> Returning:
    """Look at the newest runs, given newest first. seen: when the app was last open."""
    live = last = ended = None
    last_words = None
    for _, run in zip(range(_LOOKED_AT), runs, strict=False):
        state = run.state()
        liveness = derived_status(state, now)
        if last is None:
            last, last_words = run, f"{plain(run.id)}, {_when(state, liveness.status, now)}"
        if liveness.is_alive and live is None:
            live = run
        elif ended is None and seen is not None and _ended_after(state, liveness, seen):
            ended = f"{plain(run.id)} {ending_words(state, liveness.status, now)}"
    return Returning(live, last, last_words, ended)


def ending_words(state: State, status: Status, now: float) -> str:
    """`finished 2h10 ago · best .447 at step 560 · adapter 3.4M`."""
    words = [_when(state, status, now)]
    if state.why and status is not Status.FINISHED:
        words.append(plain(state.why, 60))
    if state.best_eval_loss is not None and state.best_step is not None:
        loss = f"{state.best_eval_loss:.3f}".removeprefix("0")
        words.append(f"best {loss} at step {state.best_step}")
    if state.adapter_bytes:
        words.append(f"adapter {size(state.adapter_bytes)}")
    return " · ".join(words)


def _when(state: State, status: Status, now: float) -> str:
    return f"{status.value} {duration(now - state.ended)} ago" if state.ended else status.value


def _ended_after(state: State, liveness: Liveness, seen: float) -> bool:
    ended = state.ended or (state.heartbeat if liveness.status is Status.DEAD else None)
    return ended is not None and ended > seen and not liveness.is_alive


def last_seen(home: Path) -> float | None:
    """When the app was last open, in seconds since 1970; None on the first start."""
    try:
        seen = read_json(home / "app.json", limit=2**16)["seen"]
    except (UserError, KeyError, TypeError, IndexError):
        return None
    return float(seen) if isinstance(seen, int | float) else None


def write_seen(home: Path, now: float) -> None:
    """Remember that the app is open now; a home that cannot be written is no reason to fail."""
    try:
        home.mkdir(parents=True, exist_ok=True)
        write_atomically(home / "app.json", f'{{"seen": {now:.0f}}}\n', durable=False)
    except OSError:
        pass
