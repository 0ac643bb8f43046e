"""From a spec to a run that is under way: everything that can be wrong is found before it starts."""

import dataclasses
from pathlib import Path

from finetune_tui.core.data.finding import look_up
from finetune_tui.core.errors import UserError
from finetune_tui.core.models.resolve import Inspect, ModelReference, find_model, load_manifest
from finetune_tui.core.models.weights import require_whole
from finetune_tui.core.runs.adapter_check import require_sound
from finetune_tui.core.runs.directory import RunDirectory, create_run
from finetune_tui.core.runs.labels import labels_of
from finetune_tui.core.runs.machine import machine_for
from finetune_tui.core.runs.queue import QueueItem, enqueue
from finetune_tui.core.runs.running_queue import start_runner
from finetune_tui.core.runs.start import start_run
from finetune_tui.core.runs.targets import find_target
from finetune_tui.core.text import plain
from finetune_tui.core.tuning.refusals import refuse_impossible
from finetune_tui.core.tuning.resolve import selection_of
from finetune_tui.core.tuning.spec import Spec
from finetune_tui.core.tuning.spec_file import write_spec
from finetune_tui.core.tuning.task_spec import AnySpec, ExportSpec, TaskSpec, write_task_spec


def launch(home: Path, spec: Spec, inspect: Inspect) -> RunDirectory:
    """Check the spec, make its run directory and start it detached.

    Raises UserError before anything is written when the spec cannot work on this machine.
    """
    run = make_run(home, spec, inspect)
    start_run(run)
    return run


def launch_later(home: Path, spec: Spec, inspect: Inspect) -> QueueItem:
    """Check the spec as `launch` does, put it at the end of the queue and see that it is worked off."""
    check(spec, inspect)
    item = enqueue(home, spec)
    start_runner(home)
    return item


def launch_task(home: Path, spec: TaskSpec) -> RunDirectory:
    """Start a comparison or an export of a run as a run of its own, detached.

    Raises UserError before anything is written when there is no such run, or it has no result.
    """
    run = make_task_run(home, spec)
    start_run(run)
    return run


def launch_task_later(home: Path, spec: TaskSpec) -> QueueItem:
    """Check the spec as `launch_task` does, put it at the end of the queue and see that it is worked off."""
    target, spec = check_task(home, spec)
    state = target.state()
    item = enqueue(home, spec, model=state.model, preset=state.preset)
    start_runner(home)
    return item


def make_task_run(home: Path, spec: TaskSpec) -> RunDirectory:
    """The same as `launch_task` without starting it."""
    target, spec = check_task(home, spec)
    state = target.state()
    return create_run(
        home,
        write_task_spec(spec),
        spec.name or f"{spec.task}-{target.short_id}",
        model=state.model,
        preset=state.preset,
        labels=labels_of(spec),
        task=spec.task,
        target=plain(target.id),
    )


def make_any_run(home: Path, spec: AnySpec, inspect: Inspect) -> RunDirectory:
    """A run of whatever work, not yet started; for the queue's runner."""
    return make_run(home, spec, inspect) if isinstance(spec, Spec) else make_task_run(home, spec)


def check_task(home: Path, spec: TaskSpec) -> tuple[RunDirectory, TaskSpec]:
    """The trained run, and the spec with whole paths and that run's own choice of CPU or GPU.

    Raises UserError when the work cannot be done; looks at this disk alone, without torch.
    """
    labels_of(spec)
    target = find_target(home, spec.run)
    trained = target.spec()
    reference = find_model(trained.model_name_or_path)
    if reference.folder is not None:
        require_whole(reference.folder)
    require_sound(target)
    _check_files(spec)
    on_cpu = spec.use_cpu or (trained.use_cpu and not spec.gpus)
    whole = dataclasses.replace(spec, run=str(target.path.absolute()), use_cpu=on_cpu)
    return target, whole.anchored(Path.cwd())


def make_run(home: Path, spec: Spec, inspect: Inspect) -> RunDirectory:
    """The same as `launch` without starting it."""
    reference = check(spec, inspect)
    slug = spec.name or "-".join(part for part in (reference.short_title, spec.preset) if part)
    return create_run(
        home,
        write_spec(spec),
        slug,
        model=reference.name,
        preset=spec.preset,
        labels=labels_of(spec),
    )


def check(spec: Spec, inspect: Inspect) -> ModelReference:
    """The spec's model. Raises UserError when the spec cannot work on this machine."""
    reference = find_model(spec.model_name_or_path)
    manifest = load_manifest(reference, inspect)
    refuse_impossible(spec, manifest, selection_of(spec, manifest), machine_for(spec))
    if reference.folder is not None:
        require_whole(reference.folder)
    if not spec.train_files:
        raise UserError(
            "no training data is named", where="train_files", hint="name a file or a folder"
        )
    for key, files in (("train_files", spec.train_files), ("eval_files", spec.eval_files)):
        for file in files:
            _check_file(key, file)
    labels_of(spec)
    return reference


def _check_files(spec: TaskSpec) -> None:
    if isinstance(spec, ExportSpec):
        if not spec.out:
            raise UserError("no folder to write is named", where="out", hint="say `--out DIR`")
        return
    for key, files in (("compare_files", spec.compare_files), ("forget_files", spec.forget_files)):
        for file in files:
            _check_file(key, file)


def _check_file(key: str, source: str) -> None:
    """Raises UserError when a source on this disk cannot be data; the Hub is not asked."""
    try:
        look_up(source)
    except UserError as error:
        where = f": {error.where}" if error.where else ""
        raise UserError(f"{error.message}{where}", where=key, hint=error.hint) from error
