"""Which modules another tool trains, in that tool's own terms, and the same on a model's manifest.

How names match is that of PEFT, which all three tools hand theirs to: a target is a whole name or the end
of one behind a dot; of `modules_to_save` any end of a name will do, and what lies below comes along.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from finetune_tui.core.errors import UserError
from finetune_tui.core.models.manifest import Manifest, Module
from finetune_tui.core.models.roles import Role
from finetune_tui.core.tuning.importing.notes import Draft, Kind
from finetune_tui.core.tuning.importing.regexes import matching
from finetune_tui.core.tuning.modes import LORA, Choice, Mode
from finetune_tui.core.tuning.presets import resolve_preset
from finetune_tui.core.tuning.resolve import selection_of, with_selection
from finetune_tui.core.tuning.selection import LINEAR_CLASSES, Selection, alias_of, refusal
from finetune_tui.core.tuning.spec import Spec

_PRESETS = ("all-linear", "attention-qv", "full")
_BLOCK = re.compile(r".*\.[^.]*\.(\d+)\.")
_RANGE = re.compile(r"(.+)\[([0-9]*)(?::([0-9]*))?\]", re.DOTALL)

# What PEFT adapts when no target is named, by model_type (peft 0.21, utils/constants.py).
_PEFT_DEFAULT: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(
        (
            *("llama", "mistral", "mixtral", "qwen2", "qwen3", "gemma", "gemma2", "gemma3_text"),
            *("opt", "gptj", "gpt_neo", "stablelm"),
        ),
        ("q_proj", "v_proj"),
    ),
    **dict.fromkeys(("gpt_neox", "falcon", "bloom"), ("query_key_value",)),
    "phi": ("q_proj", "v_proj", "fc1", "fc2"),
    "gpt2": ("c_attn",),
}


@dataclass(frozen=True, slots=True)
class Blocks:
    """LLaMA-Factory's freeze tuning. last: the last so many blocks, the first when below zero. modules: parts
    of a block, "all" for whole ones. extra: parts of names outside the blocks."""

    last: int
    modules: tuple[str, ...]
    extra: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Targets:
    """What trains. key: the key that says most of it, for errors.

    lora: ends of names. all_linear: every linear module but the head. by_peft: what PEFT takes when
    nothing is named. lora_pattern: a regular expression for whole names. layers: only these blocks.
    saved: ends of names that train in full beside LoRA. ranks, alphas: of names ending so.
    everything: all parameters. unfrozen: axolotl's expressions for parameters. blocks: freeze tuning.
    """

    key: str
    lora: tuple[str, ...] = ()
    all_linear: bool = False
    by_peft: bool = False
    lora_pattern: str | None = None
    layers: tuple[int, ...] | None = None
    saved: tuple[str, ...] = ()
    saved_key: str = ""
    ranks: Mapping[str, int] = field(default_factory=dict)
    alphas: Mapping[str, float] = field(default_factory=dict)
    everything: bool = False
    unfrozen: tuple[str, ...] = ()
    blocks: Blocks | None = None

    @property
    def preset(self) -> str | None:
        """The preset that says it all on any model, if one does."""
        if self.everything:
            return "full"
        plain = Targets(self.key, all_linear=True)
        return "all-linear" if replace(self, saved_key="") == plain else None


def with_targets(spec: Spec, targets: Targets, manifest: Manifest, draft: Draft) -> Spec:
    """The spec that trains these modules of this model; what could not be had is noted in `draft`.

    Raises UserError when nothing is left to train.
    """
    choices = _Choosing(targets, manifest, draft).choices()
    if not choices:
        raise draft.wrong(targets.key, f"names no module that could train in {manifest.model}")
    selection = Selection({n: choices[n] for n in manifest.by_name if n in choices})
    for preset in (*_PRESETS, None):
        found = with_selection(replace(spec, preset=preset), selection, manifest)
        if preset is None or not found.modules:
            break
    try:
        selection_of(found, manifest)
    except UserError as error:
        raise draft.wrong(targets.key, error.message, error.hint) from None
    return found


class _Choosing:
    """One set of targets on one model, under way."""

    def __init__(self, targets: Targets, manifest: Manifest, draft: Draft) -> None:
        self._targets = targets
        self._manifest = manifest
        self._draft = draft
        self._modules = [module for module in manifest.modules if not module.is_packed]

    def choices(self) -> dict[str, Choice]:
        targets = self._targets
        if targets.everything:
            return dict(resolve_preset("full", self._manifest).selection.choices)
        if targets.unfrozen:
            return self._by_parameters(self._unfrozen(), targets.key)
        if targets.blocks is not None:
            return self._by_parameters(self._in_blocks(targets.blocks), targets.key)
        return self._adapted() | self._saved()

    # LoRA and what is saved beside it.

    def _adapted(self) -> dict[str, Choice]:
        """Modules with LoRA, each with its own rank and alpha where the file gives it some."""
        names = [name for name in self._matched() if self._in_layers(name)]
        ranks, alphas = self._patterned(self._targets.ranks), self._patterned(self._targets.alphas)
        return {
            name: Choice(Mode.LORA, _whole(ranks.get(name)), alphas.get(name))
            if name in ranks or name in alphas
            else LORA
            for name in self._can_be(names, Mode.LORA, self._targets.key)
        }

    def _matched(self) -> list[str]:
        targets, names = self._targets, [module.name for module in self._modules if module.name]
        wanted = list(targets.lora)
        if targets.all_linear:
            wanted += self._linear_leaves()
        if targets.by_peft:
            wanted += self._peft_default()
        for ending in targets.lora:
            if not any(_ends_with(name, ending) for name in names):
                self._draft.say(
                    Kind.DROPPED, targets.key, f"'{ending}' names nothing in this model"
                )
        found = {name for name in names for ending in wanted if _ends_with(name, ending)}
        if targets.lora_pattern is not None:
            (matched,) = matching([targets.lora_pattern], names, self._place(), "fullmatch")
            found |= set(matched)
        return [name for name in names if name in found]

    def _linear_leaves(self) -> list[str]:
        """Last words of the names of all linear modules but the head."""
        linear = [m for m in self._modules if m.cls in LINEAR_CLASSES and m.role is not Role.HEAD]
        return list(dict.fromkeys(m.leaf_name for m in linear if m.leaf_name != "lm_head"))

    def _peft_default(self) -> tuple[str, ...]:
        kind = self._manifest.config.model_type
        if kind not in _PEFT_DEFAULT:
            raise self._draft.wrong(
                self._targets.key,
                f"no target is named, and PEFT has none of its own for {kind}",
                "name some as lora_target_modules",
            )
        found = _PEFT_DEFAULT[kind]
        words = f"no target is named: PEFT's own for {kind} are {', '.join(found)}"
        self._draft.say(Kind.TRANSLATED, self._targets.key, words)
        return found

    def _in_layers(self, name: str) -> bool:
        if self._targets.layers is None:
            return True
        block = _BLOCK.match(name)
        return block is not None and int(block[1]) in self._targets.layers

    def _patterned(self, patterns: Mapping[str, float]) -> dict[str, float]:
        """Name → what the first pattern that means it says."""
        if not patterns:
            return {}
        names = [module.name for module in self._modules]
        whole = [rf"(.*\.)?({pattern})$" for pattern in patterns]
        found: dict[str, float] = {}
        matched = matching(whole, names, self._place())
        for value, those in zip(patterns.values(), matched, strict=True):
            for name in those:
                found.setdefault(name, value)
        return found

    def _saved(self) -> dict[str, Choice]:
        targets, key = self._targets, self._targets.saved_key or self._targets.key
        names: dict[str, None] = {}
        for ending in targets.saved:
            roots = [m.name for m in self._modules if m.name and m.name.endswith(ending)]
            if not roots:
                self._draft.say(Kind.DROPPED, key, f"'{ending}' names nothing in this model")
            for root in roots:
                names.update(dict.fromkeys(self._with_own(root)))
        return dict.fromkeys(
            self._can_be(self._untied(names, key), Mode.FULL, key), Choice(Mode.FULL)
        )

    def _with_own(self, name: str) -> Iterator[str]:
        below = (module.name for module in self._manifest.descendants(name))
        for one in (name, *below):
            if self._manifest.module(one).own and not self._manifest.module(one).is_packed:
                yield one

    def _untied(self, names: Iterable[str], key: str) -> list[str]:
        """A matrix under two names by its own name, once."""
        found: dict[str, None] = {}
        for name in names:
            owner = alias_of(self._manifest, name)
            if owner is not None:
                words = (
                    f"'{name}' and '{owner}' are one matrix of this model: it trains as one and stays "
                    f"one, where {self._draft.tool} makes a copy of its own"
                )
                self._draft.say(Kind.CHANGES, key, words)
            found[owner or name] = None
        return list(found)

    # Parameters by name.

    def _unfrozen(self) -> set[str]:
        """Parameters that axolotl's expressions name; a dot in them is a dot."""
        patterns = []
        for pattern in self._targets.unfrozen:
            ranged = _RANGE.fullmatch(pattern)
            if ranged:
                words = f"'{pattern}' means some rows of it: here all of them train"
                self._draft.say(Kind.CHANGES, self._targets.key, words)
            patterns.append(re.sub(r"\.(?!\+)", r"\\.", ranged[1] if ranged else pattern))
        parameters = list(self._parameters())
        found = matching(patterns, parameters, self._place())
        for pattern, those in zip(self._targets.unfrozen, found, strict=True):
            if not those:
                words = f"'{pattern}' names no parameter of this model"
                self._draft.say(Kind.DROPPED, self._targets.key, words)
        return {name for those in found for name in those}

    def _in_blocks(self, blocks: Blocks) -> set[str]:
        total = self._manifest.blocks
        last = blocks.last
        chosen = range(max(total - last, 0), total) if last > 0 else range(min(-last, total))
        parts = ["" if module == "all" else module for module in blocks.modules]
        wanted = [f".{block}.{part}" for part in parts for block in chosen]
        wanted += blocks.extra
        return {name for name in self._parameters() if any(part in name for part in wanted)}

    def _parameters(self) -> Iterator[str]:
        """As torch names them; a tensor under two names once."""
        for module in self._modules:
            if alias_of(self._manifest, module.name) is None:
                for own, _ in module.own:
                    yield f"{module.name}.{own}"

    def _by_parameters(self, parameters: set[str], key: str) -> dict[str, Choice]:
        """Modes of modules that train these parameters: bias alone, or all of a module's own."""
        bias: list[str] = []
        full: list[str] = []
        for module in self._modules:
            own = {name for name, _ in module.own if f"{module.name}.{name}" in parameters}
            if own == {"bias"} and len(module.own) > 1:
                bias.append(module.name)
            elif own:
                full.append(module.name)
                self._note_more(module, own, key)
        return dict.fromkeys(self._can_be(full, Mode.FULL, key), Choice(Mode.FULL)) | dict.fromkeys(
            self._can_be(bias, Mode.BIAS, key), Choice(Mode.BIAS)
        )

    def _note_more(self, module: Module, own: set[str], key: str) -> None:
        rest = [name for name, _ in module.own if name not in own]
        if rest:
            words = f"'{module.name}' trains whole here: its {', '.join(rest)} comes along"
            self._draft.say(Kind.CHANGES, key, words)

    # Both.

    def _can_be(self, names: Iterable[str], mode: Mode, key: str) -> list[str]:
        """Those that may have the mode; the others are noted, those of one reason together."""
        kept, why = [], dict[str, list[str]]()
        for name in names:
            reason = refusal(self._manifest, name, mode)
            if reason is None:
                kept.append(name)
            else:
                why.setdefault(reason, []).append(name)
        for reason, those in why.items():
            more = f" and {len(those) - 1} more" if len(those) > 1 else ""
            words = f"'{those[0]}'{more} cannot be {mode}: {reason}"
            self._draft.say(Kind.IMPOSSIBLE, key, words)
        return kept

    def _place(self) -> str:
        return self._draft.file.place(self._targets.key)


def _ends_with(name: str, ending: str) -> bool:
    return name == ending or name.endswith(f".{ending}")


def _whole(value: float | None) -> int | None:
    return None if value is None else int(value)


def with_preset(spec: Spec, targets: Targets, draft: Draft, why: UserError) -> Spec:
    """The spec without a look at the model: only where a preset says all of it. Raises `why` otherwise."""
    if targets.preset is None:
        raise why
    words = f"the model could not be looked at ({why.message}), so no name was checked"
    draft.say(Kind.TRANSLATED, targets.key, words)
    return replace(spec, preset=targets.preset)
