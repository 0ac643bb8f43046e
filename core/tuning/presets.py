"""Presets: named selections written in roles, so that they resolve on any model.

The nine of the guide are folk wisdom and are shown as such (`evidence="guide"`).
"""

from dataclasses import dataclass

from finetune_tui.core.errors import UserError
from finetune_tui.core.models.manifest import Manifest
from finetune_tui.core.models.roles import Role
from finetune_tui.core.text import did_you_mean
from finetune_tui.core.tuning.modes import LORA, Mode
from finetune_tui.core.tuning.selection import Selection, refusal

_TRIO = frozenset({Role.QUERY, Role.KEY, Role.VALUE, Role.QKV})
_OUTPUT = frozenset({Role.ATTENTION_OUTPUT})
_MLP = frozenset({Role.MLP_IN, Role.MLP_GATE, Role.GATE_IN, Role.MLP_OUT})
_SIX = _TRIO | _OUTPUT | _MLP
_EMBEDDING = frozenset({Role.EMBEDDING})
_HEAD = frozenset({Role.HEAD})


@dataclass(frozen=True, slots=True)
class Preset:
    """goal: the task it is for. why: the reason the guide gives. evidence: where the advice comes from."""

    id: str
    title: str
    goal: str
    why: str
    roles: frozenset[Role]
    evidence: str = "guide"


PRESETS: dict[str, Preset] = {
    preset.id: preset
    for preset in (
        Preset(
            "attention-refinement",
            "Attention refinement",
            "better focus on key information",
            "controls what attends to what",
            _TRIO,
        ),
        Preset(
            "concept-learning",
            "Concept learning",
            "link new (scientific) concepts",
            "strengthens relations between concepts",
            _SIX,
        ),
        Preset(
            "new-knowledge",
            "New knowledge",
            "teach new topics",
            "new words need embeddings, relations need all six",
            _SIX | _EMBEDDING,
        ),
        Preset(
            "knowledge-update",
            "Knowledge update",
            "correct outdated or wrong facts",
            "adjusts relations that are already stored",
            _SIX,
        ),
        Preset(
            "response-fluency",
            "Response fluency",
            "more natural text",
            "shapes how language flows out",
            _OUTPUT | _MLP | _HEAD,
        ),
        Preset(
            "domain-specialization",
            "Domain specialization",
            "finance, law, medicine",
            "a domain brings relations and a vocabulary",
            _SIX | _EMBEDDING,
        ),
        Preset(
            "logical-reasoning",
            "Logical reasoning",
            "deduction in several steps",
            "strengthens structured reasoning",
            _SIX,
        ),
        Preset(
            "structured-output",
            "Structured output",
            "JSON and tables",
            "controls the structure of the response",
            _OUTPUT | _MLP | _HEAD,
        ),
        Preset(
            "personas",
            "Personas",
            "switch between characters",
            "keeps a persona consistent",
            _TRIO | _OUTPUT | _HEAD,
        ),
    )
}


@dataclass(frozen=True, slots=True)
class ResolvedPreset:
    """A preset on one model. notes: what a person must know about how it resolved."""

    preset: Preset
    selection: Selection
    notes: tuple[str, ...]


def find_preset(name: str) -> Preset:
    """Raises UserError naming the nearest preset."""
    if name not in PRESETS:
        raise UserError(
            f"unknown preset '{name}'",
            where="preset",
            hint=did_you_mean(name, PRESETS) or "`finetune-tui presets` lists them",
        )
    return PRESETS[name]


def resolve_preset(name: str, manifest: Manifest) -> ResolvedPreset:
    """The preset's selection on this model.

    Raises UserError for an unknown preset and for a model on which it means nothing.
    """
    preset = find_preset(name)
    wanted = [module.name for module in manifest.modules if module.role in preset.roles]
    possible = [name for name in wanted if refusal(manifest, name, Mode.LORA) is None]
    if not possible:
        raise UserError(
            f"preset '{preset.id}' means nothing on {manifest.architecture}: its roles are not known there",
            where="preset",
            hint="choose modules by hand",
        )
    return ResolvedPreset(
        preset, Selection(dict.fromkeys(possible, LORA)), _notes(manifest, preset, wanted, possible)
    )


def _notes(
    manifest: Manifest, preset: Preset, wanted: list[str], possible: list[str]
) -> tuple[str, ...]:
    notes = []
    if any(manifest.module(name).role is Role.QKV for name in possible):
        notes.append("query, key and value are one fused matrix here")
    left_out = sorted(set(wanted) - set(possible))
    if left_out:
        reason = refusal(manifest, left_out[0], Mode.LORA)
        notes.append(f"left out: {', '.join(left_out)} ({reason})")
    if Role.HEAD in preset.roles and any(manifest.module(n).role is Role.HEAD for n in possible):
        notes.append(
            "adapts the head; some servers refuse such adapters, merge before serving there"
        )
    return tuple(notes)
