"""The session: what the person is working on. No widgets; every screen reads it and changes it."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from finetune_tui.core.errors import UserError
from finetune_tui.core.tuning.counting import trained_numbers
from finetune_tui.core.tuning.modes import LORA, Choice, Mode
from finetune_tui.core.tuning.presets import PRESETS, ResolvedPreset, resolve_preset
from finetune_tui.core.tuning.resolve import selection_of, with_selection
from finetune_tui.core.tuning.selection import Selection
from finetune_tui.core.tuning.spec import Spec

if TYPE_CHECKING:
    from finetune_tui.core.data.report import DataReport
    from finetune_tui.core.data.token_report import TokenQuestion, TokenReport
    from finetune_tui.core.doctor import Finding
    from finetune_tui.core.hardware import Gpu, Hardware
    from finetune_tui.core.memory.estimate import Estimate, Precision
    from finetune_tui.core.models.manifest import Manifest
    from finetune_tui.core.models.resolve import ModelReference
    from finetune_tui.core.runs.directory import RunDirectory

_MOST_UNDO = 200


@dataclass(frozen=True, slots=True)
class _Chosen:
    """What undo brings back."""

    selection: Selection
    preset: str | None


class Session:
    """Spec, model, selection with undo, estimates, machine, data, and the run being watched.

    Between changes the selection, not `spec.modules`, holds what is chosen; `spec_to_run` writes it into
    the spec. `estimates` follows every change of model, selection and settings; empty without a model.
    last_change: bytes on the device that the last change of the selection added. counted: the last count
    of data in tokens; `tokens` is that as long as it holds.
    """

    def __init__(self) -> None:
        self.spec = Spec()
        self.reference: ModelReference | None = None
        self.manifest: Manifest | None = None
        self.selection = Selection()
        self.hardware: Hardware | None = None
        self.findings: tuple[Finding, ...] | None = None
        self.data: DataReport | None = None
        self.counted: TokenReport | None = None
        self.monitored: RunDirectory | None = None
        self.estimates: dict[Precision, Estimate] = {}
        self.last_change = 0
        self._past: list[_Chosen] = []
        self._future: list[_Chosen] = []
        self._merging: object = None
        self._trainable: tuple[Selection, Spec, int] | None = None

    # The model

    def open_model(
        self, reference: "ModelReference", manifest: "Manifest", spec: Spec | None = None
    ) -> None:
        """Work on this model, undo starting afresh.

        With `spec`, on what it selects; without, settings, data and preset stay as far as they mean
        something here. Raises UserError when the given spec does not fit the model; nothing changes then.
        """
        kept = spec or self._kept_for(reference)
        kept = kept.changed(model_name_or_path=reference.name)
        chosen = Selection()
        if spec is not None and (spec.preset or spec.modules):
            chosen = selection_of(kept, manifest)
        elif kept.preset:
            try:
                chosen = resolved(kept.preset, manifest).selection
            except UserError:
                kept = kept.changed(preset=None)
        if kept.train_files != self.spec.train_files:
            self.data = None
        self.spec, self.reference, self.manifest = kept, reference, manifest
        self._trainable = None
        self.selection = chosen
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
        """Where the selection came from, as long as something of it is left."""
        return self.spec.preset

    @property
    def preset_selection(self) -> Selection:
        """What that preset alone selects; nothing without one."""
        if self.preset is None or self.manifest is None:
            return Selection()
        return resolved(self.preset, self.manifest).selection

    @property
    def is_changed(self) -> bool:
        """The selection is no longer what the preset says."""
        return self.preset is not None and self.selection != self.preset_selection

    def presets(self) -> list[ResolvedPreset]:
        """Every preset that means something on this model."""
        found = []
        for name in PRESETS if self.manifest else ():
            try:
                found.append(resolved(name, self._opened()))
            except UserError:
                continue
        return found

    def choose_preset(self, name: str) -> tuple[str, ...]:
        """Select what it says; what a person must know about how it resolved. Raises UserError."""
        found = resolved(name, self._opened())
        self._select(found.selection, preset=found.preset.id)
        return found.notes

    def toggle(self, names: Iterable[str], choice: Choice = LORA) -> None:
        """Any of them without the choice's mode: all get it. All have it: all frozen.

        The names are of modules that can have this mode, as the tree's rows give them.
        """
        self._opened()
        wanted = tuple(names)
        get = self.selection.choices.get
        every = all((now := get(name)) and now.mode is choice.mode for name in wanted)
        self._select(self.selection.set(wanted, None if every else choice), self.preset)

    def choose(
        self,
        names: Iterable[str],
        mode: Mode,
        r: int | None = None,
        lora_alpha: float | None = None,
        merge: object = None,
    ) -> Choice:
        """Give all of them a mode; for LoRA a rank of their own, whose alpha keeps the spec's scale.

        Calls in a row with the same `merge` are one step of undo. Returns what they were given.
        """
        choice = self.choice_for(mode, r, lora_alpha)
        self._select(self.selection.set(names, choice), self.preset, merge)
        return choice

    def choice_for(
        self, mode: Mode, r: int | None = None, lora_alpha: float | None = None
    ) -> Choice:
        """The choice in which only what differs from the spec is written."""
        if mode is not Mode.LORA:
            return Choice(mode)
        if r == self.spec.lora_r:
            r = None
        if r is not None and lora_alpha is None:
            lora_alpha = round(self.spec.lora_alpha * r / self.spec.lora_r)
        if lora_alpha == self.spec.lora_alpha and r is None:
            lora_alpha = None
        return Choice(mode, r, lora_alpha)

    def undo(self) -> bool:
        """Whether there was something to take back."""
        return self._travel(self._past, self._future)

    def redo(self) -> bool:
        return self._travel(self._future, self._past)

    @property
    def trainable(self) -> int:
        """How many numbers train now."""
        told = self._trainable
        if told is None or told[0] is not self.selection or told[1] is not self.spec:
            told = self._trainable = (self.selection, self.spec, self.trainable_of(self.selection))
        return told[2]

    def trainable_of(self, selection: Selection) -> int:
        if self.manifest is None:
            return 0
        return trained_numbers(self.manifest, selection, self.spec)

    # The settings and the data

    def change_spec(self, **values: Any) -> None:
        """Set keys of the spec, text read as the field reads it. Raises UserError; nothing changes then."""
        self.spec = self.spec.changed(**values)
        self._estimate()

    def use_data(self, report: "DataReport") -> None:
        """Train on what has been read; held-out rows of other data are forgotten."""
        self.spec = self.spec.changed(train_files=list(report.sources), eval_files=())
        self.data = report

    @property
    def has_read_data(self) -> bool:
        """Whether `data` speaks of what the spec names."""
        return self.data is not None and self.data.sources == self.spec.train_files

    @property
    def token_question(self) -> "TokenQuestion | None":
        """What can be asked of the data in tokens; None without a model or data."""
        if self.manifest is None or not self.spec.train_files:
            return None
        from finetune_tui.tui.counting import question_of

        return question_of(self.spec, self.manifest)

    @property
    def tokens(self) -> "TokenReport | None":
        """The data in the model's tokens, as long as no setting has changed what was asked."""
        counted = self.counted
        return counted if counted and counted.question == self.token_question else None

    def change_all(self, spec: Spec) -> None:
        """Take a whole spec of the same model. Raises UserError when it does not fit it."""
        manifest = self._opened()
        chosen = selection_of(spec, manifest) if spec.preset or spec.modules else Selection()
        if spec.train_files != self.spec.train_files:
            self.data = None
        self.spec = spec.changed(preset=self.preset)
        self._select(chosen, spec.preset)
        self._estimate()

    def current_spec(self) -> Spec:
        """The spec with the selection written into it, whether or not it can run."""
        if not self.selection.choices:
            return self.spec.changed(preset=None, modules=())
        return with_selection(self.spec, self.selection, self._opened())

    def spec_to_run(self) -> Spec:
        """The same. Raises UserError when it cannot run yet."""
        self._opened()
        if not self.selection.choices and not self.spec.trainable_token_indices:
            raise UserError(
                "nothing is chosen to train", hint="choose a preset or modules in Layers"
            )
        if not self.spec.train_files:
            raise UserError("there is no data to train on", hint="choose a file in Data")
        return self.current_spec()

    # The machine

    @property
    def gpu(self) -> "Gpu | None":
        """The GPU a run would use: the first that the spec names, else the first there is."""
        gpus = self.hardware.gpus if self.hardware else ()
        named = [gpu for gpu in gpus if gpu.uuid in self.spec.gpus]
        return next(iter(named or gpus), None)

    @property
    def free_bytes(self) -> int | None:
        """Really free memory of that GPU; None when there is none, it does not say, or the CPU trains."""
        return self.gpu.free if self.gpu and not self.spec.use_cpu else None

    @property
    def precision(self) -> "Precision | None":
        """How the base would be held."""
        if self.manifest is None:
            return None
        from finetune_tui.core.memory.estimate import precision_of

        return precision_of(self.spec, on_gpu=self.gpu is not None)

    @property
    def estimate(self) -> "Estimate | None":
        """The estimate at that precision."""
        precision = self.precision
        return self.estimates.get(precision) if precision else None

    @property
    def fits(self) -> bool | None:
        """Whether that fits the GPU; None when it cannot be said."""
        estimate = self.estimate
        return self.verdict(estimate) if estimate else None

    def verdict(self, estimate: "Estimate") -> bool | None:
        from finetune_tui.core.memory.estimate import fits

        return fits(estimate, self.free_bytes)

    # Inside

    def _opened(self) -> "Manifest":
        if self.manifest is None:
            raise UserError("no model is open", hint="choose one in Model")
        return self.manifest

    def _kept_for(self, reference: "ModelReference") -> Spec:
        """The settings so far; those of the demo, a toy with its own data, do not leave it."""
        if self.reference and self.reference.kind == "demo" and reference.kind != "demo":
            return Spec(preset=self.spec.preset)
        return self.spec.changed(modules=())

    def _select(self, selection: Selection, preset: str | None, merge: object = None) -> None:
        if preset == self.preset and selection == self.selection:
            return
        if merge is None or merge != self._merging:
            self._past.append(_Chosen(self.selection, self.preset))
            del self._past[:-_MOST_UNDO]
        self._merging = merge
        self._future.clear()
        self._apply(selection, preset)

    def _travel(self, source: list[_Chosen], target: list[_Chosen]) -> bool:
        self._merging = None
        if not source:
            return False
        target.append(_Chosen(self.selection, self.preset))
        back = source.pop()
        self._apply(back.selection, back.preset)
        return True

    def _apply(self, selection: Selection, preset: str | None) -> None:
        before = self.estimate
        self.selection = selection
        self.spec = self.spec.changed(preset=preset)
        if not self.preset_selection.choices.keys() & selection.choices.keys():
            self.spec = self.spec.changed(preset=None)
        self._estimate()
        after = self.estimate
        self.last_change = after.device - before.device if after and before else 0

    def _estimate(self) -> None:
        if self.manifest is not None:
            from finetune_tui.core.memory.estimate import estimate_all

            self.estimates = estimate_all(self.manifest, self.selection, self.spec)


@lru_cache(maxsize=256)
def resolved(name: str, manifest: "Manifest") -> ResolvedPreset:
    """A preset on a model, resolved once. Raises UserError as `resolve_preset` does."""
    return resolve_preset(name, manifest)
