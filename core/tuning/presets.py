"""Presets: named selections written in roles, so that they resolve on any model.

The nine of the guide are folk wisdom and are shown as such (`evidence="guide"`). Beside them stand
methods that papers and tools use by name (`evidence="method"`): the last blocks in full or by their
biases alone, the two usual defaults of LoRA, and full fine-tuning.
"""

import re
from dataclasses import dataclass, replace
from typing import Literal

from finetune_tui.core.errors import UserError
from finetune_tui.core.models.manifest import Manifest, Module
from finetune_tui.core.models.roles import FUSED, Role
from finetune_tui.core.text import did_you_mean
from finetune_tui.core.tuning.modes import Choice, Mode
from finetune_tui.core.tuning.selection import LINEAR_CLASSES, Selection, refusal

_TRIO = frozenset({Role.QUERY, Role.KEY, Role.VALUE, Role.QKV})
_OUTPUT = frozenset({Role.ATTENTION_OUTPUT})
_MLP = frozenset({Role.MLP_IN, Role.MLP_GATE, Role.GATE_IN, Role.MLP_OUT})
_SIX = _TRIO | _OUTPUT | _MLP
_EMBEDDING = frozenset({Role.EMBEDDING})
_HEAD = frozenset({Role.HEAD})


@dataclass(frozen=True, slots=True)
class Preset:
    """goal: the task it is for. why: the reason given. evidence: where the advice comes from.

    roles: what it trains; empty: everything that can have its mode, the head aside with LoRA.
    last_blocks, blocks: only the last so many, or from one to another, ends included. Nothing outside the
    blocks then.
    """

    id: str
    title: str
    goal: str
    why: str
    roles: frozenset[Role]
    evidence: Literal["guide", "method"] = "guide"
    mode: Mode = Mode.LORA
    last_blocks: int | None = None
    blocks: tuple[int, int] | None = None

    @property
    def of_method(self) -> bool:
        return self.evidence == "method"


GUIDE_PRESETS: dict[str, Preset] = {
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

_ATTENTION_ONLY = Preset(
    "attention-only-top-4",
    "Attention only, last 4 blocks",
    "adapt what the last blocks attend to, nothing else",
    "weights and biases of every attention projection there, in full; any k: attention-only-top-8",
    _TRIO | _OUTPUT,
    evidence="method",
    mode=Mode.FULL,
    last_blocks=4,
)
_BITFIT = Preset(
    "bitfit-top-4",
    "BitFit, last 4 blocks",
    "the fewest numbers that still move a model",
    "only biases train (BitFit, arXiv 2106.10199); any k: bitfit-top-8",
    frozenset(),
    evidence="method",
    mode=Mode.BIAS,
    last_blocks=4,
)
METHOD_PRESETS: dict[str, Preset] = {
    preset.id: preset
    for preset in (
        _ATTENTION_ONLY,
        _BITFIT,
        Preset(
            "all-linear",
            "All linear layers",
            "the usual default when in doubt",
            "LoRA on every linear layer but the head comes close to full training (arXiv 2305.14314)",
            frozenset(),
            evidence="method",
        ),
        Preset(
            "attention-qv",
            "Query and value",
            "the smallest usual LoRA",
            "the two that the LoRA paper adapts (arXiv 2106.09685)",
            frozenset({Role.QUERY, Role.VALUE, Role.QKV}),
            evidence="method",
        ),
        Preset(
            "full",
            "Full fine-tuning",
            "everything trains",
            "the most freedom, the most memory, and the most that can be forgotten",
            frozenset(),
            evidence="method",
            mode=Mode.FULL,
        ),
    )
}
PRESETS: dict[str, Preset] = GUIDE_PRESETS | METHOD_PRESETS

_TOP = re.compile(r"(attention-only|bitfit)-top-([1-9]\d{0,3})")
_RANGE = re.compile(r"(attention-only|bitfit)-blocks-(\d{1,4})-(\d{1,4})")
_BY_BLOCKS = {"attention-only": _ATTENTION_ONLY, "bitfit": _BITFIT}


@dataclass(frozen=True, slots=True)
class ResolvedPreset:
    """A preset on one model. notes: what a person must know about how it resolved."""

    preset: Preset
    selection: Selection
    notes: tuple[str, ...]


def find_preset(name: str) -> Preset:
    """The preset of that id: any k in `…-top-k`, any range in `…-blocks-8-15` (ends included).

    Raises UserError naming the nearest preset.
    """
    if name in PRESETS:
        return PRESETS[name]
    if top := _TOP.fullmatch(name):
        last = int(top[2])
        words = f"last {last} blocks" if last > 1 else "last block"
        return _for_blocks(_BY_BLOCKS[top[1]], name, words, last_blocks=last)
    chosen = _RANGE.fullmatch(name)
    if chosen and int(chosen[2]) <= int(chosen[3]):
        first, last = int(chosen[2]), int(chosen[3])
        words = f"blocks {first} to {last}"
        return _for_blocks(_BY_BLOCKS[chosen[1]], name, words, blocks=(first, last))
    raise UserError(
        f"unknown preset '{name}'",
        where="preset",
        hint=did_you_mean(name, PRESETS) or "`finetune-tui presets` lists them",
    )


def _for_blocks(
    preset: Preset,
    id: str,
    words: str,
    last_blocks: int | None = None,
    blocks: tuple[int, int] | None = None,
) -> Preset:
    title = f"{preset.title.partition(',')[0]}, {words}"
    return replace(preset, id=id, title=title, last_blocks=last_blocks, blocks=blocks)


def resolve_preset(name: str, manifest: Manifest, blocks: range | None = None) -> ResolvedPreset:
    """The preset's selection on this model; `blocks`: only in these, instead of the preset's own.

    Raises UserError for an unknown preset and for a model on which it means nothing.
    """
    preset = find_preset(name)
    chosen = _blocks_of(preset, manifest) if blocks is None else blocks
    only_blocks = preset.last_blocks is not None or preset.blocks is not None
    wanted = [
        module
        for module in manifest.modules
        if _means(preset, module)
        and _lies_in(manifest.block_index(module.name), chosen, only_blocks)
    ]
    made = _Resolving(manifest, preset)
    for module in wanted:
        made.add(module)
    if not made.choices:
        raise UserError(
            f"preset '{preset.id}' means nothing on {manifest.architecture}: {made.why_nothing()}",
            where="preset",
            hint="choose modules by hand",
        )
    return ResolvedPreset(preset, Selection(made.choices), made.notes())


def _blocks_of(preset: Preset, manifest: Manifest) -> range | None:
    """The blocks this preset is about; None: all there are."""
    if preset.last_blocks is not None:
        return range(max(manifest.blocks - preset.last_blocks, 0), manifest.blocks)
    if preset.blocks is None:
        return None
    first, last = preset.blocks
    if last >= manifest.blocks:
        raise UserError(
            f"'{preset.id}' reaches beyond the {manifest.blocks} blocks of this model",
            where="preset",
            hint=f"the last one is {manifest.blocks - 1}",
        )
    return range(first, last + 1)


def _lies_in(block: int | None, chosen: range | None, only_blocks: bool) -> bool:
    if block is None:
        return not only_blocks
    return chosen is None or block in chosen


def _means(preset: Preset, module: Module) -> bool:
    if preset.roles:
        return module.role in preset.roles
    if preset.mode is Mode.LORA:
        return module.cls in LINEAR_CLASSES and module.role not in (Role.HEAD, Role.ROUTER)
    if preset.mode is Mode.BIAS:
        return any(name == "bias" for name, _ in module.own)
    return bool(module.own) and not module.is_packed  # its module holds a packed one


class _Resolving:
    """One preset on one model, under way: the choices made, and why some were made otherwise."""

    def __init__(self, manifest: Manifest, preset: Preset) -> None:
        self.choices: dict[str, Choice] = {}
        self._manifest = manifest
        self._preset = preset
        self._choice = Choice(preset.mode)
        self._fused: set[Role] = set()
        self._left_out: dict[str, str] = {}
        self._shared: dict[str, str] = {}  # name → the module whose matrix it shares
        owners = [[name.rpartition(".")[0] for name in group] for group in manifest.tied]
        self._owner = {name: group[0] for group in owners for name in group}

    def add(self, module: Module) -> None:
        owner = self._owner.get(module.name)
        if owner is not None:
            # One matrix under two names: LoRA on either is wrong after merging, training it is exact.
            reason = refusal(self._manifest, owner, Mode.FULL)
            if reason is not None:
                self._left_out[owner] = reason
                return
            self._shared[module.name] = owner
            self.choices[owner] = Choice(Mode.FULL)
            return
        reason = refusal(self._manifest, module.name, self._choice.mode)
        if reason is not None:
            self._left_out[module.name] = reason
            return
        self.choices[module.name] = self._choice
        if module.role in FUSED and self._preset.roles:
            self._fused.add(module.role)

    def why_nothing(self) -> str:
        if self._left_out:
            return next(iter(self._left_out.values()))
        if self._preset.mode is Mode.BIAS:
            return "its blocks have no biases"
        return "it has no modules of these roles"

    def notes(self) -> tuple[str, ...]:
        manifest, preset = self._manifest, self._preset
        notes = []
        if manifest.guessed and preset.roles:
            notes.append("roles are guessed from this model's structure: look before you train")
        if preset.last_blocks is not None and preset.last_blocks > manifest.blocks:
            notes.append(f"this model has only {manifest.blocks} blocks")
        notes += [self._fused_words(role) for role in FUSED if role in self._fused]
        for owner in dict.fromkeys(self._shared.values()):
            aliases = ", ".join(name for name, its in self._owner.items() if its == owner != name)
            notes.append(
                f"{aliases} is the same matrix as {owner} here: it trains in full, under that name"
            )
        if self._leaves_experts():
            experts = manifest.config.experts
            notes.append(
                f"the MLP is {experts} experts in packed parameters: they and the router stay frozen"
            )
        if self._left_out:
            name, reason = next(iter(self._left_out.items()))
            more = f" and {len(self._left_out) - 1} more" if len(self._left_out) > 1 else ""
            notes.append(f"left out: {name}{more} ({reason})")
        if preset.mode is Mode.LORA and any(
            manifest.module(name).role is Role.HEAD and choice.mode is Mode.LORA
            for name, choice in self.choices.items()
        ):
            notes.append(
                "adapts the head; some servers refuse such adapters, merge before serving there"
            )
        return tuple(notes)

    def _fused_words(self, role: Role) -> str:
        held = FUSED[role]
        words = f"{', '.join(held[:-1])} and {held[-1]} are one fused matrix here"
        along = [one.value for one in held if one not in self._preset.roles]
        comes = "comes" if len(along) == 1 else "come"
        return f"{words}: {' and '.join(along)} {comes} along" if along else words

    def _leaves_experts(self) -> bool:
        wants_mlp = bool(self._preset.roles & _MLP) or self._preset.id == "all-linear"
        return wants_mlp and any(module.role is Role.EXPERTS for module in self._manifest.modules)
