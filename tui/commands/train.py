"""train: from a spec, or from a model, a preset and data, to a run."""

import argparse
from pathlib import Path

from finetune_tui.core.calls.client import inspect_folder
from finetune_tui.core.errors import UserError
from finetune_tui.core.models.catalog import DEMO
from finetune_tui.core.runs.home import find_home
from finetune_tui.core.runs.launch import launch, launch_later
from finetune_tui.core.tuning.spec import Spec, demo_spec
from finetune_tui.core.tuning.spec_file import read_spec
from finetune_tui.tui.commands.following import follow
from finetune_tui.tui.commands.models import pairs
from finetune_tui.tui.commands.rehearsal import rehearse_spec
from finetune_tui.tui.output import say, say_json


def train(options: argparse.Namespace) -> int:
    """Start a run and follow it; ctrl-c asks for a stop with checkpoint, a second one detaches."""
    spec, home = asked_spec(options), find_home(options.home)
    if options.rehearse:
        return rehearse_spec(spec, home, as_json=options.json)
    if options.queue:
        return _queue_spec(spec, home, as_json=options.json)
    return train_spec(spec, home, detach=options.detach, as_json=options.json)


def train_spec(spec: Spec, home: Path, detach: bool = False, as_json: bool = False) -> int:
    """Run a spec. Raises UserError before anything starts when it cannot work."""
    run = launch(home, spec, inspect_folder)
    if detach:
        if as_json:
            say_json({"id": run.id, "path": str(run.path)})
        else:
            say(f"{run.short_id} is under way in {run.path}")
            say(f"follow it with: finetune-tui attach {run.short_id}")
        return 0
    if not as_json:
        say(f"{run.id} in {run.path}")
    return follow(run, as_json)


def _queue_spec(spec: Spec, home: Path, as_json: bool) -> int:
    item = launch_later(home, spec, inspect_folder)
    if as_json:
        say_json(item.to_json())
    else:
        say(f"{item.id} ({item.title}) is in the queue: `finetune-tui queue` shows it")
    return 0


def asked_spec(options: argparse.Namespace) -> Spec:
    """The spec that the flags describe: a file first, then what is set beside it."""
    if options.spec:
        spec = _read_spec(Path(options.spec))
    elif options.model == DEMO:
        spec = demo_spec()
    elif options.model:
        spec = Spec()
    else:
        raise UserError(
            "nothing to train", hint="give SPEC.yaml, or --model and --preset and --data"
        )
    values: dict[str, object] = dict(pairs(options.set))
    if options.model:
        values["model_name_or_path"] = options.model
    if options.preset:
        values |= {"preset": options.preset, "modules": []}
    if options.data:
        values["train_files"] = list(options.data)
        if options.model == DEMO:  # the demo's held-out rows say nothing about other data
            values |= {"eval_files": [], "eval_replies": 0} | values
    if options.strict:
        values["strict"] = True
    return spec.changed(**values).anchored(Path.cwd())


def _read_spec(path: Path) -> Spec:
    """Raises UserError; for a file of another tool it says how that becomes a spec."""
    try:
        return read_spec(path)
    except UserError:
        from finetune_tui.core.tuning.importing.importing import other_tool, title_of

        tool = other_tool(path)
        if tool is None:
            raise
        raise UserError(
            f"this is a file of {title_of(tool)}",
            where=str(path),
            hint=f"`finetune-tui import {path} --out SPEC.yaml` makes a spec of it",
        ) from None
