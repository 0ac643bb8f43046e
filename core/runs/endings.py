"""How a worker ended, in words: judged from its exit, its last event, its log and the kernel."""

import contextlib
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finetune_tui.core.files import open_plain
from finetune_tui.core.limits import LONGEST, TOO_LONG
from finetune_tui.core.runs.directory import RunDirectory
from finetune_tui.core.runs.events import Event
from finetune_tui.core.runs.state import State, Status
from finetune_tui.core.text import plain

_LOG_TAIL = 8192  # bytes in which the log's last line is looked for
_DOES_NOT_END = f"one row took longer than {LONGEST:.0f} s to turn into tokens"
_DOES_NOT_END_HINT = (
    "shorten that row, or do not use this model: its tokenizer or chat template loops"
)
OUT_OF_MEMORY = "killed by the kernel: out of memory"
_OUT_OF_MEMORY_HINT = "free memory on this machine, or load the model in fewer bits"


@dataclass(frozen=True, slots=True)
class Ending:
    """status: finished, stopped, paused, failed or killed. why, hint: words for people. where: file or key.

    is_told: the worker wrote the event that says so itself.
    """

    status: Status
    why: str
    hint: str | None = None
    where: str | None = None
    exit_code: int | None = None
    signal: int | None = None
    is_told: bool = False
    event: Event | None = None


def ending_of(
    run: RunDirectory, exit_code: int, last_event: Event | None, out_of_memory: bool
) -> Ending:
    """The ending of a worker that was reaped.

    exit_code: as subprocess says it, negative for a signal. last_event: the last it wrote that
    `is_ending`. What the worker said comes first: a crash on the way out, after the adapter was
    written, does not undo the adapter.
    """
    code, number = (exit_code, None) if exit_code >= 0 else (None, -exit_code)
    if last_event is not None:
        return _told(run, last_event, code, number)
    if number is not None:
        return _killed(run, number, out_of_memory)
    said = last_log_line(run.log_path)
    why = f"the worker ended with exit code {code} and no word of why"
    if code == 0:
        why = "the worker ended without finishing"
    return Ending(
        Status.FAILED,
        f"{why}; its log ends with: {said}" if said else why,
        hint=how_to_go_on(run),
        where=str(run.log_path),
        exit_code=code,
    )


def not_started(run: RunDirectory, error: Exception) -> Ending:
    """The worker could not be started, or the supervisor itself went wrong."""
    why = plain(f"the worker could not be started: {error}", 500)
    return Ending(Status.FAILED, why, hint=how_to_go_on(run))


def final_state(state: State, ending: Ending, now: float | None = None) -> State:
    """The state to write when all is over, from the worker's last one."""
    now = time.time() if now is None else now
    ended = state.changed(
        status=ending.status,
        ended=now,
        heartbeat=now,
        why=ending.why,
        hint=ending.hint,
        exit_code=ending.exit_code,
        signal=ending.signal,
    )
    return _with_results(ended, ending.event or {})


def how_to_go_on(run: RunDirectory) -> str:
    """The one command that continues an ended run, and from where."""
    step = run.newest_checkpoint_step()
    command = f"finetune-tui resume {plain(run.short_id)}"
    if run.state().task != "train":
        return f"{command} starts it again"
    if step is None:
        return f"{command} begins again at step 0"
    return f"{command} goes on from step {step}"


def _told(run: RunDirectory, event: Event, code: int | None, number: int | None) -> Ending:
    kind = event["kind"]
    afterwards = ""
    if number is not None:
        afterwards = f"; the worker then died of {_signal_words(number)}"
    elif kind != "failed" and code:
        afterwards = f"; the worker then ended with exit code {code}"
    if kind == "failed":
        status, why = Status.FAILED, _text(event, "message") or "the worker failed"
        hint = _text(event, "hint")
        hint = f"{hint}; {how_to_go_on(run)}" if hint else how_to_go_on(run)
    elif kind == "stopped":
        status, hint = Status.STOPPED, how_to_go_on(run)
        why = "stopped on request" + _at_step(event)
    elif kind == "paused":
        status, hint = Status.PAUSED, how_to_go_on(run)
        why = f"paused{_at_step(event)}, memory and GPU are free"
    else:
        status, why, hint = Status.FINISHED, _text(event, "why") or "finished", None
    return Ending(
        status,
        why + afterwards,
        hint=hint,
        where=_text(event, "where"),
        exit_code=code,
        signal=number,
        is_told=True,
        event=event,
    )


def _killed(run: RunDirectory, number: int, out_of_memory: bool) -> Ending:
    if number == signal.SIGKILL and out_of_memory:
        why = OUT_OF_MEMORY
        hint = f"{_OUT_OF_MEMORY_HINT}; {how_to_go_on(run)}"
    elif number == TOO_LONG:
        return Ending(Status.FAILED, _DOES_NOT_END, hint=_DOES_NOT_END_HINT, signal=number)
    else:
        why, hint = f"killed by {_signal_words(number)}", how_to_go_on(run)
    return Ending(Status.KILLED, why, hint=hint, signal=number)


def _at_step(event: Event) -> str:
    step = _integer(event, "step")
    return "" if step is None else f" at step {step}"


def _signal_words(number: int) -> str:
    with contextlib.suppress(ValueError):
        return f"signal {number} ({signal.Signals(number).name})"
    return f"signal {number}"


def _with_results(state: State, event: Event) -> State:
    steps = _integer(event, "steps")
    if steps is None:
        steps = _integer(event, "step")
    eval_loss = event.get("eval_loss")
    values: dict[str, Any] = {}
    if steps is not None:
        values["step"] = steps
    if isinstance(eval_loss, float):
        values["eval_loss"] = eval_loss
    return state.changed(**values)


def last_log_line(path: Path) -> str | None:
    """The last line of a log that says anything, plain; None when there is none."""
    with contextlib.suppress(OSError), open_plain(path) as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(size - _LOG_TAIL, 0))
        lines = file.read().decode("utf-8", "replace").splitlines()
        said = [words for line in lines if (words := plain(line, 200).strip())]
        return said[-1] if said else None
    return None


def _text(event: Event, name: str) -> str | None:
    value = event.get(name)
    return plain(value, 500) if isinstance(value, str) and value else None


def _integer(event: Event, name: str) -> int | None:
    value = event.get(name)
    return value if type(value) is int else None
