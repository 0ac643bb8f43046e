"""The selection: which module trains how. Immutable, so that undo is keeping the old one."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from finetune_tui.core.models.manifest import Manifest, Module
from finetune_tui.core.models.roles import Role
from finetune_tui.core.tuning.modes import LORA, Choice, Mode

# PEFT's LoRA layers exist for these classes; anything else raises inside PEFT, after minutes of loading.
LORA_CLASSES = frozenset({"Linear", "Embedding", "Conv1D"})


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


def togglable(manifest: Manifest, name: str) -> tuple[str, ...]:
    """The modules a toggle on this line of the tree acts on: itself, or the projections below it.

    Embedding and head are only reached by their own line: nobody who toggles the whole model means
    to adapt the dictionary too.
    """
    module = manifest.module(name)
    if refusal(manifest, name, Mode.LORA) is None:
        return (name,)
    return tuple(
        below.name
        for below in manifest.descendants(module.name)
        if below.role not in (Role.EMBEDDING, Role.HEAD)
        and refusal(manifest, below.name, Mode.LORA) is None
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


def refusal(manifest: Manifest, name: str, mode: Mode) -> str | None:
    """Why `mode` cannot be on this module, in words for a person; None when it can."""
    module = manifest.module(name)
    if mode is Mode.FROZEN:
        return None
    if mode is not Mode.LORA:
        return f"this version trains in mode 'lora' only, not '{mode}'"
    if module.cls not in LORA_CLASSES:
        return f"a {module.cls or 'container'} has no matrix that LoRA could adapt"
    if any(f"{name}.weight" in group for group in manifest.tied):
        return "embedding and head share one matrix here, and LoRA on it is wrong after merging"
    return None


def trainable_parameters(manifest: Manifest, selection: Selection, lora_r: int) -> int:
    """How many numbers the selection trains on this model, counted as torch counts them."""
    return sum(
        lora_parameters(manifest.module(name), choice.r or lora_r)
        for name, choice in selection.choices.items()
    )


def trainable_below(manifest: Manifest, selection: Selection, name: str, lora_r: int) -> int:
    """The same for one line of the tree and everything below it."""
    prefix = f"{name}." if name else ""
    return sum(
        lora_parameters(manifest.module(found), choice.r or lora_r)
        for found, choice in selection.choices.items()
        if found == name or found.startswith(prefix)
    )


def lora_parameters(module: Module, r: int) -> int:
    """A: r × inputs and B: outputs × r (LoRA, arXiv 2106.09685)."""
    features = module.features
    return r * (features[0] + features[1]) if features else 0


def lora_modules(manifest: Manifest, selection: Selection) -> Iterator[tuple[Module, Choice]]:
    """The adapted modules in the selection's order."""
    for name in selection.names(Mode.LORA):
        yield manifest.module(name), selection.choices[name]
