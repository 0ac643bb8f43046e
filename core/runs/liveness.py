"""Whether a run that calls itself running is running: judged by the reader, from its processes."""

import time
from dataclasses import dataclass

from finetune_tui.core.runs.processes import boot_id, host_name, is_alive, pid_namespace
from finetune_tui.core.runs.state import State, Status
from finetune_tui.core.text import duration, plain

# A new run has no process in its state until its supervisor has started.
_TIME_TO_START = 60.0
# A worker writes a heartbeat every 2 s; where its pids mean nothing, silence this long is an end.
_SILENCE = 60.0


@dataclass(frozen=True, slots=True)
class Liveness:
    """status: what to show. words: one line for a person, already plain.

    is_released: paused, and nobody there any more.
    """

    status: Status
    words: str
    is_released: bool = False

    @property
    def is_alive(self) -> bool:
        return self.status.is_active and not self.is_released

    @property
    def told(self) -> str:
        """Status and words where the words do not begin with it: `killed by signal 9`, `dead: …`."""
        said = self.words.startswith(self.status.value)
        return self.words if said else f"{self.status.value}: {self.words}"

    @property
    def may_be_alive(self) -> bool:
        """Also where only another machine knows: what is asked of it in its folder is heard there."""
        return self.is_alive or self.status is Status.ELSEWHERE


def derived_status(state: State, now: float | None = None) -> Liveness:
    """What the state file says, corrected by what this machine knows. Never raises.

    A run on another machine is never called dead: it is elsewhere, last heard some time ago.
    """
    now = time.time() if now is None else now
    if state.is_released:
        return Liveness(state.status, plain(state.why or state.status.value), is_released=True)
    if not state.status.is_active:
        return Liveness(state.status, plain(state.why or state.status.value))
    if state.host is not None and state.host != host_name():
        return Liveness(Status.ELSEWHERE, f"on {plain(state.host)}, {last_heard(state, now)}")
    if state.boot_id is not None and state.boot_id != boot_id():
        return Liveness(Status.DEAD, f"the machine was restarted; {last_heard(state, now)}")
    if state.pid_namespace is not None and state.pid_namespace != pid_namespace():
        return _in_another_container(state, now)
    processes = [process for process in (state.supervisor, state.worker) if process]
    if any(is_alive(process) for process in processes):
        return Liveness(state.status, _progress(state))
    if not processes:
        return _not_started(state, now)
    return Liveness(Status.DEAD, f"supervisor and worker are gone; {last_heard(state, now)}")


def silence(state: State, now: float) -> float | None:
    """Seconds since anything was heard of the run, or None when nothing ever was."""
    heard = state.heartbeat or state.started or state.created
    return None if heard is None else max(now - heard, 0.0)


def last_heard(state: State, now: float) -> str:
    quiet = silence(state, now)
    return "never heard of" if quiet is None else f"last heard {duration(quiet)} ago"


def _in_another_container(state: State, now: float) -> Liveness:
    quiet = silence(state, now)
    if quiet is not None and quiet < _SILENCE:
        return Liveness(Status.ELSEWHERE, f"in another container, {last_heard(state, now)}")
    return Liveness(Status.DEAD, f"its container is gone; {last_heard(state, now)}")


def _not_started(state: State, now: float) -> Liveness:
    quiet = silence(state, now)
    if quiet is not None and quiet < _TIME_TO_START:
        return Liveness(state.status, "waiting for its supervisor")
    return Liveness(Status.DEAD, "it was made and never started")


def _progress(state: State) -> str:
    if state.status is Status.PAUSED:
        return _pause(state)
    if state.status is not Status.RUNNING or state.step is None:
        return plain(state.phase or state.status.value, 60)
    return f"step {state.step}" + (f" of {state.total_steps}" if state.total_steps else "")


def _pause(state: State) -> str:
    at = f"paused at step {state.step}" if state.step is not None else "paused"
    return plain(f"{at}: {state.why}" if state.why else at, 200)
