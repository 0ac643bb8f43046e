"""A run as the beginning of another."""

from dataclasses import replace

from finetune_tui.core.runs.directory import RunDirectory
from finetune_tui.core.runs.labels import read_labels
from finetune_tui.core.tuning.spec import Spec


def spec_to_edit(run: RunDirectory) -> Spec:
    """What the run was asked, with its labels of today and every path absolute. Raises UserError.

    The note stays behind: it is about that run.
    """
    spec, labels = run.spec(), read_labels(run)
    return replace(spec, name=labels.name or spec.name, tags=labels.tags or spec.tags, note=None)
