"""From a spec to a run that is under way: everything that can be wrong is found before it starts."""

from pathlib import Path

from finetune_tui.core.data.finding import look_up
from finetune_tui.core.errors import UserError
from finetune_tui.core.models.resolve import Inspect, ModelReference, find_model, load_manifest
from finetune_tui.core.models.weights import require_whole
from finetune_tui.core.runs.directory import RunDirectory, create_run
from finetune_tui.core.runs.labels import labels_of
from finetune_tui.core.runs.machine import machine_for
from finetune_tui.core.runs.queue import QueueItem, enqueue
from finetune_tui.core.runs.running_queue import start_runner
from finetune_tui.core.runs.start import start_run
from finetune_tui.core.tuning.refusals import refuse_impossible
from finetune_tui.core.tuning.resolve import selection_of
from finetune_tui.core.tuning.spec import Spec
from finetune_tui.core.tuning.spec_file import write_spec


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


def _check_file(key: str, source: str) -> None:
    """Raises UserError when a source on this disk cannot be data; the Hub is not asked."""
    try:
        look_up(source)
    except UserError as error:
        where = f": {error.where}" if error.where else ""
        raise UserError(f"{error.message}{where}", where=key, hint=error.hint) from error
