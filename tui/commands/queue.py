"""queue: what waits to be trained, its order, and the runner that works it off."""

import argparse
import time
from pathlib import Path

from finetune_tui.core.errors import UserError
from finetune_tui.core.runs.directory import RunDirectory
from finetune_tui.core.runs.home import find_home
from finetune_tui.core.runs.queue import (
    ItemStatus,
    Queue,
    QueueItem,
    hold,
    list_queue,
    move,
    release,
    remove,
    retry,
)
from finetune_tui.core.runs.running_queue import keep_running, runner_state, start_runner
from finetune_tui.core.text import did_you_mean, duration
from finetune_tui.tui.output import say, say_json, say_table

_ACTIONS = ("list", "move", "remove", "retry", "hold", "start")


def queue(options: argparse.Namespace) -> int:
    """List the queue, or do one thing to it; then say how it stands."""
    home, (action, *words) = find_home(options.home), options.words or ["list"]
    if action not in _ACTIONS:
        hint = did_you_mean(action, _ACTIONS) or f"one of {', '.join(_ACTIONS)}"
        raise UserError(f"'{action[:60]}' is nothing to do with a queue", hint=hint)
    if options.stop_on_failure is not None and action != "start":
        raise UserError("--stop-on-failure and --keep-going belong to `queue start`")
    said = None
    if action == "list":
        _refuse_more(words, 0, "queue")
        said = keep_running(home)
    elif action == "move":
        _move(home, words)
    elif action in ("remove", "retry"):
        item_id = _refuse_more(words, 1, f"queue {action} Q3")[0]
        said = _remove(home, item_id) if action == "remove" else _retry(home, item_id)
    elif action == "hold":
        _refuse_more(words, 0, "queue hold")
        hold(home)
        said = "no more is started; what runs goes on"
    else:
        _refuse_more(words, 0, "queue start")
        if release(home, options.stop_on_failure).items:
            start_runner(home)
    _say(home, options.json, said)
    return 0


def _move(home: Path, words: list[str]) -> None:
    """`Q3 first`, `Q3 last`, `Q3 before Q1`, `Q3 after Q1`."""
    how = "queue move Q3 first|last|before Q1|after Q1"
    if len(words) not in (2, 3) or (len(words) == 3) != (words[1] in ("before", "after")):
        raise UserError("where to is not clear", hint=f"finetune-tui {how}")
    found = list_queue(home)
    item = found.item(words[0])
    others = [other for other in found.items if other.id != item.id]
    if words[1] == "first":
        index = 0
    elif words[1] == "last":
        index = len(others)
    elif len(words) == 3:
        index = others.index(_other(found, words[2], item)) + (words[1] == "after")
    else:
        raise UserError("where to is not clear", hint=f"finetune-tui {how}")
    move(home, item.id, index)


def _other(found: Queue, name: str, item: QueueItem) -> QueueItem:
    other = found.item(name)
    if other.id == item.id:
        raise UserError(f"{item.id} cannot be moved beside itself")
    return other


def _remove(home: Path, item_id: str) -> str:
    removed = remove(home, item_id)
    return f"{removed.item.id} ({removed.item.title}) is taken out"


def _retry(home: Path, item_id: str) -> str:
    retry(home, item_id)
    start_runner(home)
    return f"{item_id} waits again, as the last"


def _refuse_more(words: list[str], wanted: int, usage: str) -> list[str]:
    if len(words) != wanted:
        raise UserError(
            "too many words" if wanted == 0 else "one of the queue is wanted", hint=usage
        )
    return words


def _say(home: Path, as_json: bool, said: str | None) -> None:
    found, runner = list_queue(home), runner_state(home)
    if as_json:
        answer = found.to_json()
        del answer["last_number"]
        state = {"is_alive": runner.is_alive, "words": runner.words}
        say_json(answer | {"runner": state, "said": said})
        return
    if said:
        say(said)
    if not found.items:
        say("The queue is empty. `finetune-tui train … --queue` puts something in.")
        return
    now = time.time()
    rows = (
        (item.id, item.title, _status(home, item), _gpus(item), _age(item, now))
        for item in found.items
    )
    say_table(("ITEM", "WHAT", "STATUS", "GPUS", "ADDED"), rows, right=frozenset())
    for item in found.of(ItemStatus.FAILED):
        say(f"{item.id} failed: {item.why or 'for no known reason'}")
    say(f"runner: {runner.words}")
    if found.stops_on_failure:
        say("a failure holds the queue")


def _status(home: Path, item: QueueItem) -> str:
    """`waiting`; of a run what it is: `r3 running`, after a reboot `r3 dead`."""
    if item.status is not ItemStatus.RUNNING or item.run is None:
        return item.status.value
    run = RunDirectory(home / "runs" / item.run)
    return f"{run.short_id} {run.liveness().status.value}"


def _gpus(item: QueueItem) -> str:
    return ", ".join(item.gpus) or "any"


def _age(item: QueueItem, now: float) -> str:
    return f"{duration(now - item.added)} ago" if item.added else ""
