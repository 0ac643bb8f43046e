"""The rows that a run never trained on, as its worker chose them."""

from pathlib import Path

from finetune_tui.core.data.source import SMALL, OnProgress, Rows, open_rows, split
from finetune_tui.core.errors import UserError
from finetune_tui.core.evidence.conversation import Style, style_of
from finetune_tui.core.models.data_set_name import data_set_name
from finetune_tui.core.runs.directory import RunDirectory
from finetune_tui.core.tuning.spec import Spec


def held_out_rows(spec: Spec, progress: OnProgress | None = None) -> Rows:
    """The files named for evaluation, else the share of the data that the split took away; maybe none.

    progress: gets bytes done and in all; what it raises ends the reading. Raises UserError when the files
    cannot be read any more.
    """
    if spec.eval_files:
        return open_rows(spec.eval_files, spec.strict, progress)
    rows = open_rows(spec.train_files, spec.strict, progress)
    return split(rows, spec.eval_split, spec.seed, progress)[1]


def trained_style(run: RunDirectory) -> Style | None:
    """How this run's rows put a prompt; None where the files are gone, or only a long look would tell."""
    try:
        spec = run.spec()
        sources = spec.eval_files or spec.train_files
        return style_of(open_rows(sources, spec.strict).format) if _are_small(sources) else None
    except (UserError, OSError):
        return None


def _are_small(sources: tuple[str, ...]) -> bool:
    if any(data_set_name(name) for name in sources):
        return False
    paths = [Path(name) for name in sources]
    files = [file for path in paths for file in (path.iterdir() if path.is_dir() else (path,))]
    return sum(file.stat().st_size for file in files) <= SMALL
