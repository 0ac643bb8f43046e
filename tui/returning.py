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
from finetune_tui.tui.widgets.plot import number

_LOOKED_AT = 50  # newest runs; older ones did not end while anybody was away for a coffee
_TOLD = 3  # runs that are told of one by one


@dataclass(frozen=True, slots=True)
class Returning:
    """live: a run that goes on now. last: the newest run. away: what ended meanwhile, and the keys to it."""

    live: RunDirectory | None
    last: RunDirectory | None
    last_words: str | None
    away: str | None


def look_back(runs: Iterable[RunDirectory], seen: float | None, now: float) -> Returning:
    """Look at the newest runs, given newest first. seen: when the app was last open."""
    live = last = None
    last_words = None
    ended: list[_Ended] = []
    for _, run in zip(range(_LOOKED_AT), runs, strict=False):
        state = run.state()
        liveness = derived_status(state, now)
        if last is None:
            last, last_words = run, f"{plain(run.id)}, {_when(state, liveness.status, now)}"
        if liveness.is_alive and live is None:
            live = run
        elif seen is not None and (end := _end_of(state, liveness)) is not None and end > seen:
            ended.append(_Ended(end, run, state.changed(why=liveness.words), liveness.status))
    return Returning(live, last, last_words, _away(ended, last, now) if ended else None)


@dataclass(frozen=True, slots=True)
class _Ended:
    end: float
    run: RunDirectory
    state: State
    status: Status


def _away(ended: list[_Ended], last: RunDirectory | None, now: float) -> str:
    """One run in full; of several the latest, in short. Then the keys that show it."""
    if len(ended) == 1:
        (one,) = ended
        shows = "c shows it" if one.run == last else "5 shows runs"
        return f"{plain(one.run.id)} {ending_words(one.state, one.status, now)} · {shows}"
    ended = sorted(ended, key=lambda one: one.end, reverse=True)
    told = [f"{plain(one.run.short_id, 40)} {_short(one)}" for one in ended[:_TOLD]]
    told += [f"{len(ended) - _TOLD} more"] if len(ended) > _TOLD else []
    return "; ".join(told) + " · 5 shows runs"


def _short(one: _Ended) -> str:
    """`finished, best .447, 3.4M`; of any other end the reason."""
    if one.status is not Status.FINISHED:
        why = plain(one.state.why or "", 50)
        return why if why.startswith(one.status.value) else f"{one.status.value}: {why}"
    words = [one.status.value]
    if one.state.why and one.state.task != "train":
        words.append(plain(one.state.why, 60))
    if one.state.best_eval_loss is not None:
        words.append(f"best {number(one.state.best_eval_loss)}")
    if one.state.adapter_bytes:
        words.append(size(one.state.adapter_bytes))
    return ", ".join(words)


def ending_words(state: State, status: Status, now: float) -> str:
    """`finished 2h10 ago · best .447 at step 560 · adapter 3.4M`."""
    words = [_when(state, status, now)]
    if state.why and state.task != "train":  # what it found or wrote
        words.append(plain(state.why, 120))
    elif state.why and status is not Status.FINISHED:
        why = plain(state.why, 60)
        said = why.startswith(status.value)  # `stopped on request …`: not told twice
        ago = _ago(state, now)
        words = [f"{why},{ago}" if ago else why] if said else [*words, why]
    if state.best_eval_loss is not None and state.best_step is not None:
        words.append(f"best {number(state.best_eval_loss)} at step {state.best_step}")
    if state.adapter_bytes:
        words.append(f"adapter {size(state.adapter_bytes)}")
    return " · ".join(words)


def _when(state: State, status: Status, now: float) -> str:
    return status.value + _ago(state, now)


def _ago(state: State, now: float) -> str:
    return f" {duration(now - state.ended)} ago" if state.ended else ""


def _end_of(state: State, liveness: Liveness) -> float | None:
    """When it ended, as near as is known; None while it may go on."""
    if liveness.may_be_alive:
        return None
    return state.ended or (state.heartbeat if liveness.status is Status.DEAD else None)


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
