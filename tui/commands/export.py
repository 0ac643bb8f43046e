"""export: a run's result as a folder that anybody can load, and on the Hub."""

import argparse
from pathlib import Path
from typing import Any

from finetune_tui.core.calls.client import inspect_folder
from finetune_tui.core.errors import UserError
from finetune_tui.core.export.exported import Exported
from finetune_tui.core.export.plan import ExportPlan, plan_export, refuse_without_room
from finetune_tui.core.export.push_plan import PushPlan, check_push, plan_push
from finetune_tui.core.runs.directory import RunDirectory
from finetune_tui.core.runs.home import find_home
from finetune_tui.core.runs.launch import launch_task
from finetune_tui.core.runs.state import Status
from finetune_tui.core.text import plain, size
from finetune_tui.core.tuning.task_spec import ExportSpec
from finetune_tui.tui.commands.following import follow
from finetune_tui.tui.commands.task_runs import (
    last_event,
    queue_task,
    say_detached,
    say_unfinished,
    wait_for,
)
from finetune_tui.tui.output import say, say_json, say_table


def export(options: argparse.Namespace) -> int:
    """Start an export and follow it, or say what it would do."""
    home, spec = find_home(options.home), asked_spec(options)
    plan = plan_export(spec, home, inspect_folder)
    if spec.push_to:
        check_push(spec.push_to)
    if options.dry_run:
        return _dry_run(plan, spec, options.json)
    if options.queue:  # memory may be free by then
        return queue_task(home, spec, options.json)
    refuse_without_room(plan)
    run = launch_task(home, spec)
    if options.detach:
        return say_detached(run, options.json)
    if options.json:
        return _say_json(run)
    for note in plan.notes:
        say(f"note: {note}")
    say(f"{run.id} in {run.path}")
    code = follow(run, as_json=False)
    exported = _made_by(run)
    if code == 0 and exported is not None:
        _say_exported(exported, run)
    return code


def asked_spec(options: argparse.Namespace) -> ExportSpec:
    """What the flags describe. Raises UserError."""
    if options.dtype and not options.merge:
        raise UserError(
            "an adapter keeps the numbers it has",
            where="--dtype",
            hint="add --merge, or leave it out",
        )
    if (options.public or options.private) and not options.push:
        raise UserError("nothing is sent anywhere", where="--public", hint="add --push OWNER/NAME")
    values: dict[str, Any] = {
        "run": options.run,
        "out": options.out,
        "merge": options.merge or None,
        "dtype": options.dtype,
        "push_to": options.push,
        "private": False if options.public else None,
        "use_cpu": options.cpu or None,
    }
    given = {name: value for name, value in values.items() if value is not None}
    return ExportSpec().changed(**given).anchored(Path.cwd())


def _dry_run(plan: ExportPlan, spec: ExportSpec, as_json: bool) -> int:
    sent = None
    if spec.push_to:
        sizes = {file.name: file.bytes for file in plan.files}
        sent = plan_push(sizes, spec.push_to, spec.private)
    if as_json:
        say_json({"writes": plan.to_json(), "sends": sent.to_json() if sent else None})
        return 0
    _say_plan(plan)
    if sent is not None:
        _say_push(sent)
    say("nothing was written or sent")
    return 0


def _say_plan(plan: ExportPlan) -> None:
    what = f"a merged model ({plan.dtype})" if plan.merge else "the adapter"
    say(f"writes {what} to {plain(str(plan.out), 300)}")
    rows = [[file.name, size(file.bytes)] for file in plan.files]
    say_table(["file", "about"], rows, right=frozenset({1}))
    free = "" if plan.disk_free is None else f" of {size(plan.disk_free)} free"
    say(f"disk    {size(plan.bytes)}{free}")
    if plan.memory:
        free = "" if plan.memory_free is None else f" of {size(plan.memory_free)} free"
        say(f"memory  {size(plan.memory)}{free} ({plain(plan.device, 40)})")
    for note in plan.notes:
        say(f"note: {note}")


def _say_push(plan: PushPlan) -> None:
    for line in plan.lines():
        say(line)


def _say_exported(exported: Exported, run: RunDirectory) -> None:
    """Where it is, how it was checked, what to do with it."""
    say(f"exported  {plain(str(exported.out), 300)}")
    say(f"holds     {exported.files} files, {size(exported.bytes)}")
    say(f"checked   {exported.check_words}")
    if (exported.out / "README.md").is_file():
        say("load it   README.md there has the lines, for plain Transformers")
    sent = (last_event(run, "finished") or {}).get("pushed")
    if isinstance(sent, dict):
        say(f"sent to   {plain(str(sent.get('url')), 200)}")


def _say_json(run: RunDirectory) -> int:
    """One object: what was exported and pushed, or why it was not."""
    wait_for(run)
    exported = _made_by(run)
    if run.state().status is not Status.FINISHED or exported is None:
        return say_unfinished(run)
    finished = last_event(run, "finished") or {}
    about = {"id": run.id, "path": str(run.path), "status": Status.FINISHED.value}
    say_json({**about, **exported.to_json(), "pushed": finished.get("pushed")})
    return 0


def _made_by(run: RunDirectory) -> Exported | None:
    event = last_event(run, "exported")
    return Exported.from_event(event) if event else None
