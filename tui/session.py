"""The session: what the person is working on. No widgets; every screen reads it and changes it."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from finetune_tui.core.errors import UserError
from finetune_tui.core.tuning.counting import trained_numbers
from finetune_tui.core.tuning.modes import LORA, Choice, Mode
from finetune_tui.core.tuning.presets import PRESETS, ResolvedPreset, resolve_preset
from finetune_tui.core.tuning.resolve import selection_of, with_selection
from finetune_tui.core.tuning.selection import Selection
from finetune_tui.core.tuning.spec import Spec
from finetune_tui.tui.history import History

if TYPE_CHECKING:
    from finetune_tui.core.data.report import DataReport
    from finetune_tui.core.data.token_report import TokenQuestion, TokenReport
    from finetune_tui.core.doctor import Finding
    from finetune_tui.core.hardware import Gpu, Hardware
    from finetune_tui.core.memory.estimate import Estimate, Precision, Verdict
    from finetune_tui.core.models.manifest import Manifest
    from finetune_tui.core.models.resolve import ModelReference
    from finetune_tui.core.runs.directory import RunDirectory
    from finetune_tui.tui.simulating import SimulationState


@dataclass(frozen=True, slots=True)
class _Chosen:
    """What undo brings back."""

    selection: Selection
    spec: Spec


class Session:
    """Spec, model, selection with undo, estimates, machine, data, and the run being watched.

    Between changes the selection, not `spec.modules`, holds what is chosen; `spec_to_run` writes it into
    the spec. `estimates` follows every change of model, selection and settings; empty without a model.
    card: the name of the card that memory is held against instead of the GPU here. context: bytes that CUDA
    takes on that GPU, where runs have measured it. counted, simulated: the last count of data in tokens and
    the last simulation; `tokens` and `simulation` are those as long as they hold.
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
        self._before: tuple[Spec, dict[Precision, Estimate]] = (self.spec, {})
        self.card: str | None = None
        self.context: int | None = None
        self.simulated: SimulationState | None = None
        self._history: History[_Chosen] = History()
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
        if self.reference != reference:
            self.card = None  # it was chosen for another model
        self.spec, self.reference, self.manifest = kept, reference, manifest
        self._trainable = None
        self.selection = chosen
        self._history.clear()
        self._estimate()
        self._before = (self.spec, self.estimates)

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
        """Take back the last change of the selection or the settings; whether there was one."""
        return self._go_back_to(self._history.undo(_Chosen(self.selection, self.spec)))

    def redo(self) -> bool:
        return self._go_back_to(self._history.redo(_Chosen(self.selection, self.spec)))

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
        """Set keys of the spec in one step of undo, text read as the field reads it.

        Raises UserError; nothing changes then.
        """
        self._become(self.selection, self.spec.changed(**values))

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
        self._become(chosen, spec)

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
        return self.gpu_of(self.hardware)

    def gpu_of(self, hardware: "Hardware | None") -> "Gpu | None":
        gpus = hardware.gpus if hardware else ()
        named = [gpu for gpu in gpus if gpu.uuid in self.spec.gpus]
        return next(iter(named or gpus), None)

    @property
    def free_bytes(self) -> int | None:
        """Really free memory of that GPU; None when there is none, it does not say, or the CPU trains."""
        return self.gpu.free if self.gpu and not self.spec.use_cpu else None

    @property
    def budget(self) -> int | None:
        """Bytes that memory is held against: of the card compared with, else what is free here."""
        if self.spec.use_cpu:
            return self.hardware.memory_available if self.hardware else None
        if self.card is None:
            return self.free_bytes
        from finetune_tui.core.memory.cards import CARDS

        return CARDS[self.card]

    def use_context(self, context: int | None) -> None:
        """What CUDA takes on the GPU here as runs measured it; None: it is not known."""
        if context != self.context:
            self.context = context
            self._estimate()
            self._before = (self.spec, self.estimates)

    @property
    def precision(self) -> "Precision | None":
        """How the base would be held."""
        return self._precision_of(self.spec) if self.manifest else None

    def _precision_of(self, spec: Spec) -> "Precision":
        from finetune_tui.core.memory.estimate import precision_of

        on_gpu = self.gpu is not None or self.card is not None
        return precision_of(spec, on_gpu)

    @property
    def estimate(self) -> "Estimate | None":
        """The estimate at that precision."""
        precision = self.precision
        return self.estimates.get(precision) if precision else None

    @property
    def verdict(self) -> "Verdict | None":
        """Whether that fits the budget; None when it cannot be said."""
        estimate = self.estimate
        return self.verdict_of(estimate) if estimate else None

    def verdict_of(self, estimate: "Estimate") -> "Verdict | None":
        from finetune_tui.core.memory.estimate import verdict

        return verdict(estimate, self.budget)

    @property
    def estimate_before(self) -> "Estimate | None":
        """The estimate as it was before the last change of selection or settings."""
        spec, estimates = self._before
        return estimates.get(self._precision_of(spec)) if estimates else None

    @property
    def last_change(self) -> int:
        """Bytes on the device that the last change of selection or settings added."""
        before, after = self.estimate_before, self.estimate
        return after.device - before.device if before and after else 0

    @property
    def simulation(self) -> "SimulationState | None":
        """The last simulation, as long as nothing it depends on has changed."""
        state = self.simulated
        if state is None:
            return None
        from finetune_tui.tui.simulating import question_of

        return state if state.question == question_of(self) else None

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
        self._become(selection, replace(self.spec, preset=preset), merge)

    def _become(self, selection: Selection, spec: Spec, merge: object = None) -> None:
        """One step of undo, unless it goes on with the one before or changes nothing but data."""
        if selection == self.selection and spec == self.spec:
            self._before = (self.spec, self.estimates)
            return
        if selection != self.selection or not _alike(spec, self.spec):
            self._history.add(_Chosen(self.selection, self.spec), merge)
        self._apply(selection, spec)

    def _go_back_to(self, chosen: _Chosen | None) -> bool:
        if chosen is not None:
            self._apply(chosen.selection, _with_data_of(self.spec, chosen.spec))
        return chosen is not None

    def _apply(self, selection: Selection, spec: Spec) -> None:
        self._before = (self.spec, self.estimates)
        self.selection, self.spec = selection, spec
        if self.manifest and not self.preset_selection.choices.keys() & selection.choices.keys():
            self.spec = replace(spec, preset=None)
        self._estimate()

    def _estimate(self) -> None:
        if self.manifest is not None:
            from finetune_tui.core.memory.estimate import estimate_all

            self.estimates = estimate_all(self.manifest, self.selection, self.spec, self.context)


def _with_data_of(data: Spec, spec: Spec) -> Spec:
    """`spec` on other data: undo takes back choices and settings, and leaves the data that was read."""
    return replace(spec, train_files=data.train_files, eval_files=data.eval_files)


def _alike(one: Spec, other: Spec) -> bool:
    return _with_data_of(other, one) == other


@lru_cache(maxsize=256)
def resolved(name: str, manifest: "Manifest") -> ResolvedPreset:
    """A preset on a model, resolved once. Raises UserError as `resolve_preset` does."""
    return resolve_preset(name, manifest)
