"""What a spec selects on one model, and the spec that means a selection."""

import dataclasses

from finetune_tui.core.errors import UserError
from finetune_tui.core.models.manifest import Manifest, Module
from finetune_tui.core.text import did_you_mean
from finetune_tui.core.tuning.modes import Choice, Mode
from finetune_tui.core.tuning.patterns import expand, fold
from finetune_tui.core.tuning.presets import resolve_preset
from finetune_tui.core.tuning.selection import Selection, refusal
from finetune_tui.core.tuning.spec import Spec


def selection_of(spec: Spec, manifest: Manifest) -> Selection:
    """The selection the spec means on this model; every name checked. Empty: single tokens alone.

    Raises UserError for a pattern that names nothing, a mode that cannot be, an empty selection.
    """
    if not spec.modules:
        if spec.preset is None and spec.trainable_token_indices:
            return Selection()
        if spec.preset is None:
            raise UserError(
                "nothing is selected to train", where="modules", hint="name a preset or modules"
            )
        resolved = resolve_preset(spec.preset, manifest).selection
        for name, choice in resolved.choices.items():
            _refuse_full_on_quantised(spec, manifest.module(name), choice)
        return resolved
    choices: dict[str, Choice] = {}
    for pattern, choice in spec.modules:
        names = expand(pattern)
        missing = next((name for name in names if name not in manifest.by_name), None)
        if missing is not None:
            raise UserError(
                f"'{pattern}' names '{missing}', which {manifest.model} does not have",
                where="modules",
                hint=did_you_mean(missing, manifest.by_name),
            )
        for name in names:
            reason = refusal(manifest, name, choice.mode)
            if reason:
                raise UserError(f"'{name}' cannot be {choice.mode}: {reason}", where="modules")
            _refuse_full_on_quantised(spec, manifest.module(name), choice)
            choices.setdefault(name, choice)  # first matching line wins
    trained = {name: choice for name, choice in choices.items() if choice.mode is not Mode.FROZEN}
    if not trained:
        raise UserError("every module named is frozen: nothing would train", where="modules")
    if spec.preset and not trained.keys() & resolve_preset(spec.preset, manifest).selection.choices:
        raise UserError(
            f"'{spec.preset}' names none of the modules listed",
            where="preset",
            hint="take one of the two out; beside `modules`, a preset only says where they came from",
        )
    return Selection(trained)


def _refuse_full_on_quantised(spec: Spec, module: Module, choice: Choice) -> None:
    quantised = spec.load_in_4bit or spec.load_in_8bit
    if quantised and choice.mode is Mode.FULL and module.is_quantisable:
        raise UserError(
            f"'{module.name}' cannot be full: its weights are quantised and cannot be trained",
            where="modules",
            hint="lora there, or a base that is not quantised",
        )


def with_selection(spec: Spec, selection: Selection, manifest: Manifest) -> Spec:
    """The spec that means exactly this selection: the preset alone when that says it all."""
    if spec.preset and _preset_says(spec.preset, selection, manifest):
        return dataclasses.replace(spec, modules=())
    modules: list[tuple[str, Choice]] = []
    for choice in dict.fromkeys(selection.choices.values()):
        named = [name for name in manifest.by_name if selection.choices.get(name) == choice]
        modules += [(pattern, choice) for pattern in fold(named)]
    return dataclasses.replace(spec, modules=tuple(modules))


def _preset_says(preset: str, selection: Selection, manifest: Manifest) -> bool:
    try:
        return dict(resolve_preset(preset, manifest).selection.choices) == dict(selection.choices)
    except UserError:
        return False
