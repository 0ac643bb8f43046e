"""The selection: which module trains how. Immutable, so that undo is keeping the old one."""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from finetune_tui.core.models.manifest import Manifest, Module
from finetune_tui.core.models.roles import FUSED, Role
from finetune_tui.core.tuning.modes import LORA, Choice, Mode
from finetune_tui.core.tuning.tally import tally

# PEFT's LoRA layers exist for these classes; anything else raises inside PEFT, after minutes of loading.
LINEAR_CLASSES = frozenset({"Linear", "Conv1D", "FalconLinear"})
LORA_CLASSES = LINEAR_CLASSES | {"Embedding"}


@dataclass(frozen=True)
class Selection:
    """Name → choice for everything not frozen."""

    choices: Mapping[str, Choice] = field(default_factory=dict)

    def mode(self, name: str) -> Mode:
        choice = self.choices.get(name)
        return choice.mode if choice else Mode.FROZEN

    def names(self, mode: Mode) -> tuple[str, ...]:
        return tuple(name for name, choice in self.choices.items() if choice.mode is mode)

    def set(self, names: Iterable[str], choice: Choice | None) -> "Selection":
        """The selection in which `names` have this choice; None or frozen takes them out."""
        changed = dict(self.choices)
        for name in names:
            if choice is None or choice.mode is Mode.FROZEN:
                changed.pop(name, None)
            else:
                changed[name] = choice
        return Selection(changed)


def togglable(manifest: Manifest, name: str, mode: Mode = Mode.LORA) -> tuple[str, ...]:
    """The modules that switching this line of the tree to `mode` acts on: itself, or those below it.

    Embedding and head are only reached by their own line: nobody who toggles the whole model means
    to train the dictionary too.
    """
    module = manifest.module(name)
    if refusal(manifest, name, mode) is None:
        return (name,)
    return tuple(
        below.name
        for below in manifest.descendants(module.name)
        if below.role not in (Role.EMBEDDING, Role.HEAD)
        and refusal(manifest, below.name, mode) is None
    )


def toggled(
    manifest: Manifest, selection: Selection, names: Iterable[str], choice: Choice = LORA
) -> Selection:
    """All of them with `choice`, or, when all have its mode already, all frozen."""
    wanted = [name for name in names if refusal(manifest, name, choice.mode) is None]
    every = all(selection.mode(name) is choice.mode for name in wanted)
    return selection.set(wanted, None if every else choice)


def in_every_block(manifest: Manifest, name: str) -> tuple[str, ...]:
    """The same module in all blocks; just `name` when it lies outside the blocks."""
    block = manifest.block_index(name)
    if block is None:
        return (name,)
    tail = name.removeprefix(f"{manifest.blocks_at}.{block}")
    names = (f"{child.name}{tail}" for child in manifest.children(manifest.blocks_at))
    return tuple(found for found in names if found in manifest.by_name)


def with_role(manifest: Manifest, role: Role) -> tuple[str, ...]:
    """Every module that has this role."""
    return tuple(module.name for module in manifest.modules if module.role is role)


def with_roles_along(manifest: Manifest, name: str) -> tuple[Role, ...]:
    """The roles a fused module holds: who selects one of them selects all. Empty: it is not fused."""
    role = manifest.module(name).role
    return FUSED.get(role, ()) if role else ()


def alias_of(manifest: Manifest, name: str) -> str | None:
    """The module that holds this one's matrix, when the two are tied: 'lm_head' → 'model.embed_tokens'."""
    for group in manifest.tied:
        first = group[0].rpartition(".")[0]
        if name != first and f"{name}.weight" in group:
            return first
    return None


def refusal(manifest: Manifest, name: str, mode: Mode) -> str | None:
    """Why `mode` cannot be on this module, in words for a person; None when it can."""
    module = manifest.module(name)
    if mode is Mode.FROZEN:
        return None
    if module.is_packed or any(len(shape) > 2 for _, shape in module.own):
        return "packed experts stay frozen in this version"
    if mode is Mode.LORA:
        return _lora_refusal(manifest, module)
    if mode is Mode.BIAS:
        return None if _own(module, "bias") else "it has no bias of its own"
    if not module.own:
        return f"a {module.cls} holds no parameters of its own"
    alias = alias_of(manifest, name)
    return f"it is the same matrix as {alias}: set that one" if alias else None


def trainable_parameters(manifest: Manifest, selection: Selection, lora_r: int) -> int:
    """How many numbers the selection trains on this model, counted as torch counts them."""
    return sum(
        times * module_parameters(manifest, module, choice, lora_r)
        for module, choice, times in tally(manifest, selection.choices)
    )


def trainable_below(manifest: Manifest, selection: Selection, name: str, lora_r: int) -> int:
    """The same for one line of the tree and everything below it."""
    prefix = f"{name}." if name else ""
    return sum(
        module_parameters(manifest, manifest.module(found), choice, lora_r)
        for found, choice in selection.choices.items()
        if found == name or found.startswith(prefix)
    )


def module_parameters(manifest: Manifest, module: Module, choice: Choice, lora_r: int) -> int:
    """How many numbers one module trains in this mode; a tied matrix counts where it lies."""
    match choice.mode:
        case Mode.LORA:
            return lora_parameters(module, choice.r or lora_r)
        case Mode.FULL:
            return 0 if alias_of(manifest, module.name) else sum(map(_numbers, module.own))
        case Mode.BIAS:
            return _own(module, "bias")
        case _:
            return 0


def lora_parameters(module: Module, r: int) -> int:
    """A: r × inputs and B: outputs × r (LoRA, arXiv 2106.09685)."""
    features = module.features
    return r * (features[0] + features[1]) if features else 0


def lora_modules(manifest: Manifest, selection: Selection) -> Iterator[tuple[Module, Choice]]:
    """The adapted modules in the selection's order."""
    for name in selection.names(Mode.LORA):
        yield manifest.module(name), selection.choices[name]


def _lora_refusal(manifest: Manifest, module: Module) -> str | None:
    if module.cls not in LORA_CLASSES:
        return f"a {module.cls or 'container'} has no matrix that LoRA could adapt"
    if any(f"{module.name}.weight" in group for group in manifest.tied):
        return "embedding and head share one matrix here, and LoRA on it is wrong after merging"
    return None


def _own(module: Module, parameter: str) -> int:
    return sum(_numbers(owned) for owned in module.own if owned[0] == parameter)


def _numbers(owned: tuple[str, tuple[int, ...]]) -> int:
    return math.prod(owned[1])
