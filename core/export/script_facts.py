"""What is known of a run when its script is written: spec, selection, rows, and how it went."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from finetune_tui.core.calls.client import inspect_folder
from finetune_tui.core.data.kinds import is_parquet
from finetune_tui.core.data.rows import Format
from finetune_tui.core.data.source import Rows, open_rows
from finetune_tui.core.errors import UserError
from finetune_tui.core.models.manifest import Manifest
from finetune_tui.core.models.resolve import ModelReference, find_model, load_manifest
from finetune_tui.core.runs.directory import RunDirectory
from finetune_tui.core.runs.events import Event, read_events
from finetune_tui.core.tuning.modes import Mode
from finetune_tui.core.tuning.refusals import DIRECTED
from finetune_tui.core.tuning.resolve import selection_of
from finetune_tui.core.tuning.selection import Selection
from finetune_tui.core.tuning.spec import Spec

_MOST_BAD = 10_000  # lines that are named one by one
_TABLES = (".csv", ".tsv")


@dataclass(frozen=True, slots=True)
class Facts:
    """started: the run's event of that kind, empty before it ran. stock_loss: the model's own loss was
    taken. recovered: the run ran out of memory and took fewer rows at once. travels: no folder of this
    machine is named."""

    run: RunDirectory
    spec: Spec
    reference: ModelReference
    manifest: Manifest
    selection: Selection
    train: Rows
    held_out: Rows | None
    started: Event
    stock_loss: bool
    recovered: bool
    travels: bool

    @property
    def on_gpu(self) -> bool:
        device = self.started.get("device")
        if device:
            return str(device).startswith("cuda")
        return not self.spec.use_cpu and self.reference.kind != "demo"

    @property
    def is_chat(self) -> bool:
        return self.train[0].messages is not None

    @property
    def is_text(self) -> bool:
        return self.train.format is Format.TEXT

    @property
    def is_directed(self) -> bool:
        """Whether LoRA starts from the weights' own directions."""
        return self.spec.init_lora_weights in DIRECTED

    @property
    def splits(self) -> bool:
        """Whether a share of the training rows is held out."""
        return bool(self.spec.eval_split) and not self.spec.eval_files

    @property
    def other_format(self) -> bool:
        """Whether the held-out files are of another format than those trained on."""
        return self.held_out is not None and self.held_out.format is not self.train.format

    @property
    def judges(self) -> bool:
        """Whether the held-out loss is measured on the way."""
        if not self.spec.eval_steps or self.other_format:
            return False
        return bool(self.spec.eval_files or self.spec.eval_split)

    @property
    def saves_own(self) -> bool:
        """Whether parameters of the model itself are a result."""
        if self.selection.names(Mode.BIAS):
            return True
        return bool(self.selection.names(Mode.FULL)) and not self.selection.names(Mode.LORA)

    @property
    def max_length(self) -> int:
        context = self.manifest.config.context
        return min(self.spec.max_length, context or self.spec.max_length)

    def files(self, rows: Rows) -> list[str]:
        """Whose rows they are, as the script calls them."""
        return [self._called(path) for path in rows.files]

    def _called(self, path: Path) -> str:
        return path.name if self.travels else str(path)

    @property
    def skipped(self) -> dict[str, list[int]]:
        """Lines that are no rows, by file."""
        found: dict[str, list[int]] = {}
        for rows in (self.train, self.held_out):
            for bad in rows.bad_rows if rows else ():
                found.setdefault(self._called(bad.path), []).append(bad.line)
        return {path: sorted(set(lines)) for path, lines in found.items()}


def facts_of(run: RunDirectory, manifest: Manifest | None, travels: bool) -> Facts:
    """manifest: of the run's model, when it is at hand. Raises UserError when its data or model is gone,
    or when no plain script can hold what it did."""
    spec = run.spec()
    reference = find_model(spec.model_name_or_path)
    manifest = manifest or load_manifest(reference, inspect_folder)
    if not spec.train_files:
        raise UserError("no training data is named", where="train_files")
    train = open_rows(spec.train_files, spec.strict)
    held_out = open_rows(spec.eval_files, spec.strict) if spec.eval_files else None
    for rows in (train, held_out):
        if rows is not None:
            _refuse(rows)
    events = list(read_events(run.events_path)) if run.events_path.exists() else []
    return Facts(
        run=run,
        spec=spec,
        reference=reference,
        manifest=manifest,
        selection=selection_of(spec, manifest),
        train=train,
        held_out=held_out,
        started=next((event for event in events if event.get("kind") == "started"), {}),
        stock_loss=not spec.chunked_loss or spec.use_liger_kernel or _kept_its_loss(events),
        recovered=any(event.get("kind") == "recovered" for event in events),
        travels=travels,
    )


def _kept_its_loss(events: Iterable[Event]) -> bool:
    return any(
        event.get("kind") == "warning" and event.get("where") == "chunked_loss" for event in events
    )


def _refuse(rows: Rows) -> None:
    for path in rows.files:
        if is_parquet(path) or path.suffix.lower() in _TABLES:
            raise UserError(
                "a script reads JSON lines, and this is a table",
                where=str(path),
                hint="write it as one JSON object a line, in the same order, and train on that",
            )
    if rows.is_large:
        raise UserError(
            "the data is too large for a plain script: the run reads it row by row from the disk",
            where=str(rows.files[0]),
        )
    if len(rows.bad_rows) > _MOST_BAD:
        raise UserError(
            f"{len(rows.bad_rows)} lines are no rows, too many to name in a script",
            where=str(rows.files[0]),
            hint="take them out of the file",
        )
