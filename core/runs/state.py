"""state.json: where a run stands, small and replaced as a whole.

One writer at a time: the supervisor before the worker starts and after it is reaped, the worker in
between (and at the end, when its supervisor is gone).
"""

import dataclasses
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from finetune_tui.core.errors import UserError
from finetune_tui.core.files import read_json, write_atomically
from finetune_tui.core.runs.processes import ProcessId
from finetune_tui.core.text import plain

VERSION = 1
"""Of the file. It grows when an older reader would get a state wrong, not with every new key."""

_LARGEST = 2**20  # bytes; a state is under 2 KiB


class Status(StrEnum):
    """The last five are derived by the reader and never written. FOREIGN: a folder that is no run. NEWER:
    written by a later version than this one.

    PAUSED is written by a worker that holds, and stays when it wrote a checkpoint and let go.
    """

    STARTING = "starting"
    PREPARING = "preparing"
    RUNNING = "running"
    PAUSED = "paused"
    FINISHED = "finished"
    STOPPED = "stopped"
    FAILED = "failed"
    KILLED = "killed"
    BROKEN = "broken"
    DEAD = "dead"
    ELSEWHERE = "elsewhere"
    FOREIGN = "foreign"
    NEWER = "newer"

    @property
    def is_active(self) -> bool:
        """Work goes on or is held, as far as the status alone can tell."""
        return self in (Status.STARTING, Status.PREPARING, Status.RUNNING, Status.PAUSED)


@dataclass(frozen=True, slots=True)
class State:
    """Times are seconds since 1970. `why` and `hint` are words for people; `signal` is a number.

    task: the piece of work, as in the spec. target: the id of the run it works on, where that is another.
    """

    status: Status = Status.STARTING
    phase: str | None = None
    step: int | None = None
    total_steps: int | None = None
    epoch: float | None = None
    loss: float | None = None
    eval_loss: float | None = None
    best_eval_loss: float | None = None
    best_step: int | None = None
    task: str = "train"
    target: str | None = None
    model: str | None = None
    preset: str | None = None
    created: float | None = None
    started: float | None = None
    ended: float | None = None
    why: str | None = None
    hint: str | None = None
    exit_code: int | None = None
    signal: int | None = None
    host: str | None = None
    boot_id: str | None = None
    pid_namespace: str | None = None
    supervisor: ProcessId | None = None
    worker: ProcessId | None = None
    heartbeat: float | None = None
    attempt: int = 0
    adapter_bytes: int | None = None

    def changed(self, **values: Any) -> "State":
        return dataclasses.replace(self, **values)

    @property
    def is_released(self) -> bool:
        """Paused, with the worker gone: it wrote a checkpoint and let go of the machine."""
        return self.status is Status.PAUSED and self.ended is not None

    def to_json(self) -> dict[str, Any]:
        values = {name: getattr(self, name) for name in _FIELDS}
        for name in ("supervisor", "worker"):
            process = values[name]
            values[name] = process.to_json() if process else None
        return {"version": VERSION} | {name: _finite(value) for name, value in values.items()}

    @staticmethod
    def from_json(value: Any) -> "State":
        """Never raises: a value of the wrong type is unknown, an unknown key is ignored."""
        if not isinstance(value, dict):
            return broken_state("state.json holds no JSON object")
        known: dict[str, Any] = {
            name: read(value.get(name)) for name, read in _FIELDS.items() if name != "status"
        }
        known["attempt"] = known["attempt"] or 0
        known["task"] = known["task"] or "train"
        version = _integer(value.get("version"))
        if version is not None and version > VERSION:
            known["why"] = "written by a newer version of finetune-tui"
            return State(status=Status.NEWER, **known)
        status = value.get("status")
        if not isinstance(status, str) or status not in _WRITTEN:
            known["why"] = plain(f"state.json has the status {status!r}, which means nothing", 200)
            return State(status=Status.BROKEN, **known)
        return State(status=Status(status), **known)


def broken_state(why: str) -> State:
    return State(status=Status.BROKEN, why=plain(why, 500))


def read_state(path: Path) -> State:
    """Never raises: what cannot be read has the status `broken` and says why."""
    try:
        return State.from_json(read_json(path, limit=_LARGEST))
    except UserError as error:
        return broken_state(f"{path.name}: {error.message}")
    except ValueError as error:  # a number of more digits than Python converts
        return broken_state(f"{path.name}: not JSON ({error})")


def write_state(path: Path, state: State, durable: bool = False) -> None:
    """Replace the file as a whole. `durable` also survives a power cut. Raises OSError."""
    text = json.dumps(state.to_json(), indent=1, allow_nan=False, ensure_ascii=True)
    write_atomically(path, text + "\n", durable=durable)


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _integer(value: Any) -> int | None:
    return value if type(value) is int and abs(value) < 2**63 else None


def _float(value: Any) -> float | None:
    if type(value) not in (int, float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def _text(value: Any) -> str | None:
    return plain(value, 2000) if isinstance(value, str) else None


_READERS: dict[Any, Callable[[Any], Any]] = {
    Status: lambda value: value,
    int: _integer,
    int | None: _integer,
    float | None: _float,
    str: _text,
    str | None: _text,
    ProcessId | None: ProcessId.from_json,
}
_FIELDS = {field.name: _READERS[field.type] for field in dataclasses.fields(State)}
_DERIVED = {Status.BROKEN, Status.DEAD, Status.ELSEWHERE, Status.FOREIGN, Status.NEWER}
_WRITTEN = frozenset(Status) - _DERIVED
