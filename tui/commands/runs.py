"""show, attach, pause, resume, stop, checkpoint: living with a run."""

import argparse
import time
from typing import Any

from finetune_tui.core.errors import UserError
from finetune_tui.core.evidence.comparison import list_comparisons
from finetune_tui.core.evidence.summary import summary_words
from finetune_tui.core.runs.curves import Curves
from finetune_tui.core.runs.directory import RunDirectory, find_run
from finetune_tui.core.runs.home import find_home
from finetune_tui.core.runs.interrupted import interrupted_runs
from finetune_tui.core.runs.memory_taken import figures, taken
from finetune_tui.core.runs.reading import read_curves
from finetune_tui.core.runs.requests import drop_request
from finetune_tui.core.runs.slots import visible_gpus
from finetune_tui.core.runs.start import resume_run, start_run
from finetune_tui.core.runs.state import Status
from finetune_tui.core.text import percent
from finetune_tui.tui.commands.following import follow
from finetune_tui.tui.output import say, say_json


def show(options: argparse.Namespace) -> int:
    """One run: where it stands, what came of it, its last words."""
    run = find_run(find_home(options.home), options.run)
    curves = read_curves(run.events_path)
    if options.json:
        say_json(_details(run, curves))
        return 0
    state, liveness = run.state(), run.liveness()
    say(f"{run.id}\n{liveness.told}")
    if state.hint:
        say(state.hint)
    say(f"path      {run.path}")
    if curves.last_step is not None:
        loss = curves.latest("loss")
        say(
            f"step      {curves.last_step}/{curves.total_steps or '?'}"
            + (f"  loss {loss:.4f}" if loss else "")
        )
    if curves.best:
        say(f"held-out  {curves.best[1]:.4f} at step {curves.best[0]} (best)")
    for when, (exact, total) in curves.measured.items():
        say(f"exact     {when} {exact}/{total} ({percent(exact, total)})")
    if found := taken(curves.memory or curves.ending or {}):
        say(f"memory    {found.words}")
    if run.adapter.is_dir():
        say(f"adapter   {run.adapter}")
    if compared := list_comparisons(run):
        say(f"compared  {compared[0].name}: {summary_words(compared[0])}")
    if liveness.status is Status.PAUSED:
        say(f"go on     finetune-tui resume {run.short_id}")
    say()
    for line in list(curves.log)[-8:]:
        say(f"{time.strftime('%H:%M:%S', time.localtime(line.time))} {line.text}")
    return 0


def attach(options: argparse.Namespace) -> int:
    """Follow a run from its first event; ctrl-c leaves it alone."""
    run = find_run(find_home(options.home), options.run)
    return follow(run, options.json, may_stop=False, sentences=options.plain)


def pause(options: argparse.Namespace) -> int:
    """Hold a run with its memory kept, or (`--release`) let it go with a checkpoint."""
    if options.release:
        return _request(options, "release", "is asked to write a checkpoint and let go")
    run = find_run(find_home(options.home), options.run)
    if run.liveness().is_alive and run.state().status is Status.PAUSED:
        hint = f"`finetune-tui resume {run.short_id}` lets it go on"
        raise UserError(f"{run.short_id} is paused already ({run.liveness().words})", hint=hint)
    return _request(options, "pause", "is asked to hold; memory and GPU are kept")


def resume(options: argparse.Namespace) -> int:
    """Let a run that holds go on, else start it again from the newest valid checkpoint."""
    if options.interrupted:
        return _resume_interrupted(options)
    if options.run is None:
        raise UserError("which run is to go on?", hint="name it, or say --interrupted")
    run = find_run(find_home(options.home), options.run)
    resume_run(run)
    if options.detach:
        if options.json:
            say_json({"id": run.id, "path": str(run.path)})
        else:
            say(f"{run.short_id} goes on")
        return 0
    return follow(run, options.json, from_now=not options.json)


def _resume_interrupted(options: argparse.Namespace) -> int:
    """All that a reboot or a kill cut off on this machine; each is said. 1 when one cannot be started."""
    if options.run is not None:
        raise UserError("--interrupted names no run", hint="leave one of them out")
    answers: list[dict[str, Any]] = []
    for one in interrupted_runs(find_home(options.home), visible_gpus(), time.time()):
        left = one.left
        has_failed = False
        if left is None:
            try:
                start_run(one.run, resume=True)
            except UserError as error:
                left, has_failed = str(error), True
        answer = {"id": one.run.id, "why": one.why, "left": left, "failed": has_failed}
        answers.append(answer)
        if not options.json:
            said = f"is left: {left}" if left else "goes on"
            say(f"{one.run.short_id} {said} ({one.why})")
    if options.json:
        say_json({"runs": answers})
    elif not answers:
        say("No run of this machine was cut off.")
    return 1 if any(answer["failed"] for answer in answers) else 0


def stop(options: argparse.Namespace) -> int:
    """Ask a run to write a checkpoint and end; one that is no training just ends."""
    is_training = find_run(find_home(options.home), options.run).state().task == "train"
    return _request(options, "stop", "is asked to stop" + " with a checkpoint" * is_training)


def checkpoint(options: argparse.Namespace) -> int:
    """Ask a run for a checkpoint now."""
    return _request(options, "checkpoint", "is asked for a checkpoint")


def _request(options: argparse.Namespace, kind: str, words: str) -> int:
    run = find_run(find_home(options.home), options.run)
    liveness = run.liveness()
    if not liveness.may_be_alive:
        hint = f"`finetune-tui resume {run.short_id}` goes on" if liveness.is_released else None
        raise UserError(f"{run.short_id} is not running ({liveness.words})", hint=hint)
    drop_request(run, kind)
    if run.state().task != "train":
        words = (
            words.replace("with a checkpoint", "").replace("write a checkpoint and ", "").strip()
        )
    if options.json:
        say_json({"id": run.id, "request": kind})
    else:
        where = f" ({liveness.words})" if liveness.status is Status.ELSEWHERE else ""
        say(f"{run.short_id} {words}{where}")
        if kind in ("pause", "release"):
            say(f"go on with: finetune-tui resume {run.short_id}")
    return 0


def _details(run: RunDirectory, curves: Curves) -> dict[str, Any]:
    state = run.state()
    return run.summary() | {
        "path": str(run.path),
        "words": run.liveness().words,
        "hint": state.hint,
        "best_eval_loss": curves.best[1] if curves.best else None,
        "best_step": curves.best[0] if curves.best else None,
        "measured": {when: list(counts) for when, counts in curves.measured.items()},
        "adapter": str(run.adapter) if run.adapter.is_dir() else None,
        "comparisons": [one.name for one in list_comparisons(run)],
        "memory": figures(curves.memory or curves.ending or {}),
    }
