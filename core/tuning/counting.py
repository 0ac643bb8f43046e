"""How many numbers a spec trains: its selection, DoRA's magnitudes, single tokens."""

from finetune_tui.core.models.manifest import Manifest, Module
from finetune_tui.core.models.roles import Role
from finetune_tui.core.tuning.modes import Mode
from finetune_tui.core.tuning.selection import Selection, trainable_parameters
from finetune_tui.core.tuning.spec import Spec
from finetune_tui.core.tuning.tally import tally


def trained_numbers(manifest: Manifest, selection: Selection, spec: Spec) -> int:
    """What torch will count as trainable when this selection is applied with these settings."""
    counted = trainable_parameters(manifest, selection, spec.lora_r)
    if spec.use_dora:
        counted += sum(
            times * _magnitudes(module)
            for module, choice, times in tally(manifest, selection.choices)
            if choice.mode is Mode.LORA
        )
    return counted + len(spec.trainable_token_indices) * manifest.config.hidden_size


def embedding_of(manifest: Manifest) -> Module | None:
    """The dictionary from token to vector; None where the roles do not say which it is."""
    found = (module for module in manifest.modules if module.role is Role.EMBEDDING)
    return next((module for module in found if module.features), None)


def _magnitudes(module: Module) -> int:
    """One number for each output (DoRA, arXiv 2402.09353)."""
    return module.features[1] if module.features else 0
