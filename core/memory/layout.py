"""A manifest and a selection as what the sketch works on: shapes, kinds of blocks, ends."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

from finetune_tui.core.memory.costs import Beginning, Ends
from finetune_tui.core.memory.sketch_blocks import Kind, Shape
from finetune_tui.core.memory.sketch_layers import Frame, Line
from finetune_tui.core.memory.weights import Precision
from finetune_tui.core.models.manifest import Manifest, Module
from finetune_tui.core.models.roles import Role
from finetune_tui.core.tuning.modes import Choice, Mode
from finetune_tui.core.tuning.refusals import DIRECTED
from finetune_tui.core.tuning.selection import Selection
from finetune_tui.core.tuning.spec import Spec

_BITS = {Precision.NF4: 4, Precision.INT8: 8}
_GEMMA_3_FULL = 6  # every so many blocks attention reaches back over everything


@dataclass(frozen=True, slots=True)
class Layout:
    """One step of one selection. blocks: each block's kind and shape, from the first to the last."""

    frame: Frame
    beginning: Beginning
    blocks: tuple[tuple[Shape, Kind], ...]
    ends: Ends

    @property
    def kinds(self) -> int:
        """Kinds of attention among the blocks, each with cosines of its own and, when packed, a mask."""
        slides_and_not = len(self.blocks) >= _GEMMA_3_FULL
        return 2 if slides_and_not and self.blocks[0][0].family == "gemma3_text" else 1


def layout(manifest: Manifest, selection: Selection, spec: Spec, precision: Precision) -> Layout:
    facts = _facts(manifest)
    rest = facts.rest
    chosen = _by_block(facts, selection)
    bits = _BITS.get(precision, 16)
    outside = chosen.get(None, {})
    tied = manifest.config.tied or any(
        facts.head in {name.rpartition(".")[0] for name in group} for group in manifest.tied
    )
    table = _line(rest[Role.EMBEDDING], outside.get(Role.EMBEDDING), spec, 16)
    head = _line(rest[Role.HEAD], outside.get(Role.HEAD), spec, 16)
    shares = tied and not table.bits
    if shares:
        head = replace(head, bits=0)
    if spec.trainable_token_indices:
        tokens = len(spec.trainable_token_indices)
        table = replace(table, tokens=tokens)
        head = replace(head, tokens=tokens if tied else 0)
    half = 4 if precision is Precision.FP32 else 2
    frame = Frame(
        rows=spec.per_device_train_batch_size,
        length=spec.max_length,
        half=half,
        autocast=precision is not Precision.FP32,
        dropout=spec.lora_dropout,
        dora=spec.use_dora,
        has_start=spec.init_lora_weights in DIRECTED,
        accumulates=spec.gradient_accumulation_steps > 1,
        stream=half if table.bits else 4,
    )
    kinds: dict[tuple[object, ...], Kind] = {}
    shapes: dict[tuple[int, bool], Shape] = {}
    blocks = []
    for number, template in enumerate(facts.blocks):
        here = chosen.get(number, {})
        key = (id(template), *here, *map(id, here.values()))
        kind = kinds.get(key)
        if kind is None:
            kind = kinds[key] = _kind(template, here, spec, bits)
        slides = manifest.config.model_type != "gemma3_text" or (number + 1) % _GEMMA_3_FULL != 0
        shape = shapes.get((id(template), slides))
        if shape is None:
            shape = shapes[id(template), slides] = _shape(manifest, facts, spec, template, slides)
        blocks.append((shape, kind))
    ends = Ends(
        hidden=manifest.config.hidden_size,
        vocabulary=manifest.config.vocabulary,
        norm=facts.norm,
        norm_trains=_FINAL_NORM in outside,
        head=head,
        cap=manifest.config.model_type == "gemma2",
        shares=shares,
    )
    beginning = Beginning(
        table,
        scales=manifest.config.model_type.startswith("gemma"),
        noise=spec.neftune_noise_alpha > 0,
        drops=manifest.config.embedding_dropout > 0,
    )
    return Layout(frame, beginning, tuple(blocks), ends)


_FINAL_NORM = "final norm"


@dataclass(frozen=True)
class _Facts:
    """Of a model, whatever is selected.

    slots: module name → (its block or None, its role or a norm's leaf name). blocks: the layers of each
    by role, alike ones the same object. rest: embedding and head.
    """

    slots: Mapping[str, tuple[int | None, str]]
    blocks: tuple[Mapping[str, Module], ...]
    rest: Mapping[str, Module]
    head: str
    norm: str
    rotary: float
    head_norms: bool
    expert_width: int


@lru_cache(maxsize=8)
def _facts(manifest: Manifest) -> _Facts:
    slots: dict[str, tuple[int | None, str]] = {}
    found: list[dict[str, Module]] = [{} for _ in range(manifest.blocks)]
    rest: dict[str, Module] = {}
    width, head_norms, norm = 0, False, "rms"
    for module in manifest.modules:
        number = manifest.block_index(module.name)
        slot = _slot(module, number)
        if slot is None:
            continue
        slots[module.name] = (number, slot)
        head_norms |= slot == "q_norm"
        if number is None:
            rest.setdefault(slot, module)
        elif number < len(found):
            found[number].setdefault(slot, module)
        if slot == Role.EXPERTS and module.shape and not width:
            width = module.shape[1] // 2
        if module.role is Role.NORM and module.cls == "LayerNorm":
            norm = "layer"
    if manifest.config.model_type.startswith("gemma"):
        norm = "gemma"
    hidden, vocabulary = manifest.config.hidden_size, manifest.config.vocabulary
    rest.setdefault(Role.EMBEDDING, _stand_in((vocabulary, hidden), "Embedding"))
    rest.setdefault(Role.HEAD, _stand_in((vocabulary, hidden), "Linear"))
    alike: dict[tuple[object, ...], Mapping[str, Module]] = {}
    blocks = []
    for modules in found:
        _complete(manifest, modules)
        key = tuple((slot, module.cls, module.own) for slot, module in modules.items())
        blocks.append(alike.setdefault(key, modules))
    share = re.search(r"over (\d+)%", manifest.config.positions or "")
    return _Facts(
        slots=slots,
        blocks=tuple(blocks),
        rest=rest,
        head=rest[Role.HEAD].name,
        norm=norm,
        rotary=int(share[1]) / 100 if share else 1.0,
        head_norms=head_norms,
        expert_width=width,
    )


def _slot(module: Module, block: int | None) -> str | None:
    """What a selection's choice of this module changes."""
    if module.role is Role.NORM:
        return _FINAL_NORM if block is None else module.leaf_name
    return module.role if module.own else None


def _complete(manifest: Manifest, modules: dict[str, Module]) -> None:
    """Layers that no role was found for, as large as the config says."""
    config = manifest.config
    hidden, queries = config.hidden_size, config.heads * config.head_dim
    keys, inside = config.kv_heads * config.head_dim, config.intermediate_size
    if Role.QKV not in modules:
        modules.setdefault(Role.QUERY, _stand_in((queries, hidden)))
        modules.setdefault(Role.KEY, _stand_in((keys, hidden)))
        modules.setdefault(Role.VALUE, _stand_in((keys, hidden)))
    modules.setdefault(Role.ATTENTION_OUTPUT, _stand_in((hidden, queries)))
    if Role.EXPERTS not in modules:
        if Role.GATE_IN not in modules:
            modules.setdefault(Role.MLP_IN, _stand_in((inside, hidden)))
        modules.setdefault(Role.MLP_OUT, _stand_in((hidden, inside)))


def _stand_in(shape: tuple[int, int], cls: str = "Linear") -> Module:
    return Module("", cls, None, (("weight", shape),), shape[0] * shape[1])


def _by_block(facts: _Facts, selection: Selection) -> dict[int | None, dict[str, Choice]]:
    chosen: dict[int | None, dict[str, Choice]] = {}
    slots = facts.slots
    for name, choice in selection.choices.items():
        slot = slots.get(name)
        if slot is not None:
            chosen.setdefault(slot[0], {})[slot[1]] = choice
    return chosen


def _kind(
    template: Mapping[str, Module], chosen: Mapping[str, Choice], spec: Spec, bits: int
) -> Kind:
    lines, norms = [], []
    for slot, module in template.items():
        choice = chosen.get(slot)
        if isinstance(slot, Role):
            if module.features and not module.is_packed:
                lines.append((slot, _line(module, choice, spec, bits)))
        elif choice is not None:
            norms.append(slot)
    return Kind(tuple(lines), frozenset(norms))


def _line(module: Module, choice: Choice | None, spec: Spec, bits: int) -> Line:
    inputs, outputs = module.features or (0, 0)
    held = bits if module.is_quantisable and module.name else 16
    mode = choice.mode if choice else Mode.FROZEN
    if choice is not None and mode is Mode.LORA:
        return Line(inputs, outputs, held, choice.r or spec.lora_r)
    return Line(inputs, outputs, 0 if mode is Mode.FULL else held, bias=mode is Mode.BIAS)


def _shape(
    manifest: Manifest, facts: _Facts, spec: Spec, template: Mapping[str, Module], slides: bool
) -> Shape:
    config = manifest.config
    window = config.sliding_window if slides else None
    experts = config.experts_per_token or 1 if Role.EXPERTS in template else 0
    return Shape(
        config.model_type,
        facts.norm,
        config.hidden_size,
        (config.heads, config.kv_heads, config.head_dim),
        facts.expert_width if experts else config.intermediate_size,
        facts.rotary,
        config.activation == "gelu_new",
        facts.head_norms,
        spec.packing or (window is not None and spec.max_length >= window),
        experts,
        config.residual_dropout > 0,
    )
