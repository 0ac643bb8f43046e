"""What every preset comes to on a model; for a large one too much to work out between two frames."""

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from finetune_tui.core.errors import UserError
from finetune_tui.core.tuning.counting import trained_numbers
from finetune_tui.core.tuning.presets import PRESETS, ResolvedPreset
from finetune_tui.core.tuning.spec import Spec
from finetune_tui.tui.session import resolved

if TYPE_CHECKING:
    from finetune_tui.core.memory.estimate import Precision
    from finetune_tui.core.models.manifest import Manifest
    from finetune_tui.tui.session import Session


class PresetRow(NamedTuple):
    """A preset on the open model: the numbers it trains, and bytes on the device."""

    resolved: ResolvedPreset
    trainable: int
    device: int


class PresetsKey(NamedTuple):
    """What the rows depend on: the model, the settings without the selection, the precision."""

    manifest: "Manifest"
    spec: Spec
    precision: "Precision"


def presets_key(session: "Session") -> PresetsKey | None:
    """None while no model is open."""
    if session.manifest is None or session.precision is None:
        return None
    settings = replace(session.spec, preset=None, modules=(), train_files=(), eval_files=())
    return PresetsKey(session.manifest, settings, session.precision)


def preset_rows(key: PresetsKey) -> list[PresetRow]:
    """Every preset that means something on this model."""
    from finetune_tui.core.memory.estimate import estimate

    rows = []
    for name in PRESETS:
        try:
            found = resolved(name, key.manifest)
        except UserError:
            continue
        trainable = trained_numbers(key.manifest, found.selection, key.spec)
        device = estimate(key.manifest, found.selection, key.spec, key.precision).device
        rows.append(PresetRow(found, trainable, device))
    return rows
