"""What `compare` and `export` have in common: runs that follow a training are started, queued and awaited."""

import time
from pathlib import Path

from finetune_tui.core.runs.directory import RunDirectory
from finetune_tui.core.runs.events import Event, read_events
from finetune_tui.core.runs.launch import launch_task_later
from finetune_tui.core.runs.requests import drop_request
from finetune_tui.core.runs.state import Status
from finetune_tui.core.tuning.task_spec import TaskSpec
from finetune_tui.tui.output import say, say_json

_POLL = 0.2  # seconds


def queue_task(home: Path, spec: TaskSpec, as_json: bool) -> int:
    """Put it at the end of the queue and say so. Raises UserError."""
    item = launch_task_later(home, spec)
    if as_json:
        say_json(item.to_json())
    else:
        say(f"{item.id} ({item.title}) is in the queue: `finetune-tui queue` shows it")
    return 0


def say_detached(run: RunDirectory, as_json: bool) -> int:
    """It was started and is not followed."""
    if as_json:
        say_json({"id": run.id, "path": str(run.path)})
    else:
        say(f"{run.short_id} is under way in {run.path}")
        say(f"follow it with: finetune-tui attach {run.short_id}")
    return 0


def wait_for(run: RunDirectory) -> None:
    """Without a word until it ends. ctrl-c asks for a stop, a second one leaves it to itself."""
    asked = False
    while run.liveness().may_be_alive:
        try:
            time.sleep(_POLL)
        except KeyboardInterrupt:
            if asked:
                return
            asked = True
            drop_request(run, "stop")


def say_unfinished(run: RunDirectory) -> int:
    """One JSON object about a run that did not finish: where it stands, or why it failed; the exit code."""
    liveness = run.liveness()
    if liveness.may_be_alive or liveness.status in (Status.STOPPED, Status.PAUSED):
        say_json({"id": run.id, "path": str(run.path), "status": liveness.status.value})
        return 0
    failed = last_event(run, "failed") or {}
    error = {name: failed.get(name) for name in ("message", "hint", "where")}
    error["message"] = error["message"] or liveness.words
    say_json({"error": error})
    return 1


def last_event(run: RunDirectory, kind: str) -> Event | None:
    """The last of this kind that the run told."""
    found = None
    for event in read_events(run.events_path):
        found = event if event["kind"] == kind else found
    return found
