"""The session: what the person is working on. No widgets; every screen reads it and changes it."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetune_tui.core.errors import UserError
from finetune_tui.core.tuning.modes import LORA, Choice
from finetune_tui.core.tuning.presets import resolve_preset
from finetune_tui.core.tuning.selection import Selection, toggled, trainable_parameters
from finetune_tui.core.tuning.spec import Spec, selection_of, with_selection

if TYPE_CHECKING:
    from finetune_tui.core.data.report import DataReport
    from finetune_tui.core.hardware import Gpu, Hardware
    from finetune_tui.core.memory.estimate import Estimate, Precision
    from finetune_tui.core.models.manifest import Manifest
    from finetune_tui.core.models.resolve import ModelReference
    from finetune_tui.core.runs.directory import RunDirectory

_MOST_UNDO = 200


class Session:
    """Spec, model, selection with undo, estimates, hardware, data and the run being watched.

    `spec.modules` is only up to date in `spec_to_run`: between, the selection holds what is chosen.
    `estimates` follows every change of model, selection and settings; empty without a model.
    """

    def __init__(self) -> None:
        self.spec = Spec()
        self.reference: ModelReference | None = None
        self.manifest: Manifest | None = None
        self.selection = Selection()
        self.hardware: Hardware | None = None
        self.data: DataReport | None = None
        self.monitored: RunDirectory | None = None
        self.estimates: dict[Precision, Estimate] = {}
        self.last_change = 0  # bytes the last change of the selection added on the device
        self._past: list[tuple[Selection, str | None]] = []
        self._future: list[tuple[Selection, str | None]] = []
        self._merging: object = None

    # The model

    def open_model(
        self, reference: "ModelReference", manifest: "Manifest", spec: Spec | None = None
    ) -> None:
        """Work on this model; with `spec`, on what that spec selects. Undo starts afresh.

        Raises UserError when the spec does not fit the model; nothing has changed then.
        """
        spec = (spec or self.spec).changed(model_name_or_path=reference.name)
        selection = Selection()
        if spec.preset or spec.modules:
            try:
                selection = selection_of(spec, manifest)
            except UserError:
                if spec.modules:  # modules of the model before mean nothing here
                    spec = spec.changed(modules=())
                raise_if = spec.preset is None
                if not raise_if:
                    selection = _preset_or_nothing(spec, manifest)
        self.spec, self.reference, self.manifest = spec, reference, manifest
        self.selection = selection
        self._past.clear()
        self._future.clear()
        self._estimate()
        self.last_change = 0

    @property
    def title(self) -> str | None:
        return self.reference.title if self.reference else None

    # The selection

    @property
    def preset(self) -> str | None:
        return self.spec.preset

    def choose_preset(self, name: str) -> tuple[str, ...]:
        """The preset's selection; what a person must know about how it resolved. Raises UserError."""
        resolved = resolve_preset(name, self._opened())
        self._select(resolved.selection, preset=resolved.preset.id)
        return resolved.notes

    def toggle(self, names: Iterable[str], choice: Choice = LORA) -> None:
        """Any of them without the choice's mode: all get it. All have it: all frozen."""
        self._select(toggled(self._opened(), self.selection, names, choice))

    def choose(self, names: Iterable[str], choice: Choice | None, merge: object = None) -> None:
        """Give all of them this choice. Calls in a row with one `merge` key are one step of undo."""
        self._select(self.selection.set(names, choice), merge=merge)

    def undo(self) -> bool:
        """Whether there was something to take back."""
        return self._travel(self._past, self._future)

    def redo(self) -> bool:
        return self._travel(self._future, self._past)

    @property
    def trainable(self) -> int:
        """How many numbers train now."""
        if self.manifest is None:
            return 0
        return trainable_parameters(self.manifest, self.selection, self.spec.lora_r)

    # The settings and the data

    def change_spec(self, **values: Any) -> None:
        """Set keys of the spec, text read as the field reads it. Raises UserError; nothing changes then."""
        self.spec = self.spec.changed(**values)
        self._estimate()

    def use_data(self, report: "DataReport") -> None:
        """Train on these files, which have been read."""
        self.spec = self.spec.changed(train_files=[str(file) for file in report.files])
        self.data = report

    @property
    def data_files(self) -> tuple[Path, ...]:
        return tuple(Path(file) for file in self.spec.train_files)

    def spec_to_run(self) -> Spec:
        """The spec with the selection written into it. Raises UserError when it cannot run yet."""
        manifest = self._opened()
        if not self.selection.choices:
            raise UserError(
                "nothing is selected to train", hint="choose a preset or modules in Layers"
            )
        if not self.spec.train_files:
            raise UserError("there is no data to train on", hint="choose a file in Data")
        return with_selection(self.spec, self.selection, manifest)

    # The machine

    def see_hardware(self, hardware: "Hardware") -> None:
        self.hardware = hardware

    @property
    def gpu(self) -> "Gpu | None":
        """The GPU a run would use: the first the spec names, else the first there is."""
        gpus = self.hardware.gpus if self.hardware else ()
        named = [gpu for gpu in gpus if gpu.uuid in self.spec.gpus]
        return (named or list(gpus) or [None])[0]

    @property
    def free_bytes(self) -> int | None:
        """Really free memory of that GPU; None without one, or when it does not say."""
        return self.gpu.free if self.gpu else None

    @property
    def precision(self) -> "Precision | None":
        """In which precision the base would be loaded."""
        if self.manifest is None:
            return None
        from finetune_tui.core.memory.estimate import precision_of

        return precision_of(self.spec, self.hardware)

    @property
    def estimate(self) -> "Estimate | None":
        """The estimate at that precision."""
        precision = self.precision
        return self.estimates.get(precision) if precision else None

    # Inside

    def _opened(self) -> "Manifest":
        if self.manifest is None:
            raise UserError("no model is open", hint="choose one in the Model place")
        return self.manifest

    def _select(
        self, selection: Selection, preset: str | None = None, merge: object = None
    ) -> None:
        if selection == self.selection and preset == self.spec.preset:
            return
        if merge is None or merge != self._merging:
            self._past.append((self.selection, self.spec.preset))
            del self._past[:-_MOST_UNDO]
        self._merging = merge
        self._future.clear()
        self._apply(selection, preset or self.spec.preset)

    def _travel(
        self,
        source: list[tuple[Selection, str | None]],
        target: list[tuple[Selection, str | None]],
    ) -> bool:
        self._merging = None
        if not source:
            return False
        target.append((self.selection, self.spec.preset))
        self._apply(*source.pop())
        return True

    def _apply(self, selection: Selection, preset: str | None) -> None:
        before = self.estimate
        self.selection = selection
        self.spec = self.spec.changed(preset=preset)
        self._estimate()
        after = self.estimate
        self.last_change = after.device - before.device if after and before else 0

    def _estimate(self) -> None:
        if self.manifest is None:
            return
        from finetune_tui.core.memory.estimate import Precision, estimate

        self.estimates = {
            precision: estimate(self.manifest, self.selection, self.spec, precision)
            for precision in Precision
        }


def _preset_or_nothing(spec: Spec, manifest: "Manifest") -> Selection:
    try:
        return resolve_preset(str(spec.preset), manifest).selection
    except UserError:
        return Selection()
