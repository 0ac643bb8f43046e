"""What the module under the cursor is and does, for the details pane."""

from functools import lru_cache

from finetune_tui.core.models.manifest import Manifest, Module
from finetune_tui.core.models.roles import PIPELINE, ROLE_GUIDE, Role
from finetune_tui.core.text import count, plain
from finetune_tui.core.tuning.modes import Mode
from finetune_tui.core.tuning.selection import refusal, with_roles_along
from finetune_tui.tui.changes import short_names
from finetune_tui.tui.widgets.lines import Line, Span, cells, dim, line, strong, wrap
from finetune_tui.tui.widgets.tree_figures import Figures
from finetune_tui.tui.widgets.tree_shape import Row, TreeShape

_SETTABLE = (Mode.LORA, Mode.FULL, Mode.BIAS)
_STAGE_WORDS = {"mlp-in": "mlp in", "mlp-out": "out"}
_CONTAINERS = {
    "self_attn": "attention: where tokens look at each other",
    "mlp": "the MLP, the factory: works on each token alone",
}


def details_lines(row: Row, shape: TreeShape, figures: Figures, width: int) -> list[Line]:
    """Name, mnemonic, what it does, its place in the pipeline, its full name, what LoRA adds."""
    module = shape.module(row)
    lines = [title_line(row, module), *mode_lines(row, shape, figures, width)]
    lines += [line(words) for text in _about(row, module, shape) for words in wrap(text, width)]
    picture = pipeline_line(_stages(row, shape))
    if picture:
        lines.append(picture)
    lines.append(line(dim(_full_name(row, shape))))
    lines += [line(dim(words)) for words in wrap(_training(row, shape, figures), width)]
    return lines


def mode_lines(row: Row, shape: TreeShape, figures: Figures, width: int) -> list[Line]:
    """The modes this row can have, for the mouse; the present one in brackets. With LoRA the rank too."""
    now = figures.mode(row)
    possible = [mode for mode in _SETTABLE if shape.targets(row, mode)]
    if not possible:
        return []
    spans: list[Span] = [dim("mode ")]
    for mode in (*possible, Mode.FROZEN):
        at = mode is now.mode and not now.mixed
        spans.append(
            Span(f"[{mode}]" if at else f" {mode} ", "accent" if at else "", f"mode({mode})")
        )
    modes = line(*spans)
    if now.mode is not Mode.LORA or now.mixed:
        return [modes]
    rank = line(dim("rank"), Span(" ½ ", "accent", "rank(-1)"), Span("×2", "accent", "rank(1)"))
    whole = line(modes, "  ", rank)
    return [whole] if cells(whole) <= width else [modes, line(" " * len("mode "), rank)]


def title_line(row: Row, module: Module) -> Line:
    """`MLP out  10240→2560  ×32`."""
    times = f"  ×{len(row.names)}" if len(row.names) > 1 else ""
    if row.kind == "run":
        return line(strong(f"{len(row.names)} blocks, all alike"), dim(f"  {plain(module.cls)}"))
    if row.kind == "singles":
        return line(strong(f"the {len(row.names)} blocks one by one"))
    if row.kind == "group":
        return line(strong(plain(row.label)), dim(f"  {_sides(module)}{times}"))
    name = module.role.value if module.role else plain(row.label)
    return line(strong(name), f"  {_sides(module)}{times}", dim(f"  {plain(module.cls)}"))


def pipeline_line(stages: frozenset[str]) -> Line | None:
    """`embed▸qkv▸out▸mlp in▸[OUT]▸norm▸head`; None where the module has no place in it."""
    if not stages:
        return None
    spans: list[Span] = []
    for index, stage in enumerate(PIPELINE):
        here = stage in stages
        before = index > 0 and PIPELINE[index - 1] in stages
        after = index + 1 < len(PIPELINE) and PIPELINE[index + 1] in stages
        opened, closed = here and not before, here and not after
        if index:
            spans.append(dim("▸"))
        word = _STAGE_WORDS.get(stage, stage)
        if here:
            word = ("[" if opened else "") + word.upper() + ("]" if closed else "")
        spans.append(Span(word, "accent" if here else "dim"))
    return line(*spans)


def _about(row: Row, module: Module, shape: TreeShape) -> list[str]:
    if row.kind == "run":
        return ["the stream passes them one after the other; what you set here holds for all"]
    if row.kind == "singles":
        return ["open to train some blocks and not others"]
    if row.kind == "group" and module.role in (Role.KEY, Role.VALUE):
        key, value = ROLE_GUIDE[Role.KEY], ROLE_GUIDE[Role.VALUE]
        return [f"key: {key.mnemonic}", f"value: {value.mnemonic}"]
    owner = shape.alias_of(row)
    if owner:
        return [
            f"the same matrix as {owner}, under a second name: it trains there, and counts once"
        ]
    if module.is_packed:
        number = module.own[0][1][0]
        return [f"the weights of {number} experts in one tensor: a parameter, not a module"]
    packed = [child for child in shape.manifest.children(module.name) if child.is_packed]
    if packed:
        number, tensors = packed[0].own[0][1][0], len(packed)
        return [
            f"{number} experts, small factories; their weights are packed into {tensors} tensors"
        ]
    if module.role:
        guide = ROLE_GUIDE[module.role]
        words = [
            guide.mnemonic,
            f"it {guide.does}" if row.kind != "group" else f"each {guide.does}",
        ]
        along = with_roles_along(shape.manifest, module.name)
        if along:
            words.append(f"{', '.join(along)} come along together: one fused matrix")
        if shape.manifest.guessed:
            words.append("role guessed from place and shape: this family is not known")
        return words
    return [_CONTAINERS.get(module.leaf_name, f"holds {len(shape.below(row))} modules")]


def _stages(row: Row, shape: TreeShape) -> frozenset[str]:
    if row.kind == "singles":
        return frozenset()
    manifest = shape.manifest
    modules = [manifest.module(name) for name in _examples(row)]
    below = [found for module in modules for found in manifest.descendants(module.name)]
    roles = {module.role for module in (*modules, *below) if module.role}
    if len(roles) > 1:  # a block's norms stand between its parts, not at the end of the model
        roles.discard(Role.NORM)
    return frozenset(ROLE_GUIDE[role].stage for role in roles)


def _examples(row: Row) -> list[str]:
    """One name of each kind in the row."""
    return (
        list({name.rpartition(".")[2]: name for name in row.names}.values())
        if row.kind == "group"
        else [row.names[0]]
    )


def _sides(module: Module) -> str:
    if module.features:
        return f"{module.features[0]}→{module.features[1]}"
    return (
        "×".join(map(str, module.shape))
        if module.shape
        else f"{count(module.parameters)} parameters"
    )


def _full_name(row: Row, shape: TreeShape) -> str:
    return _folded(shape.manifest, row.names)


@lru_cache(maxsize=64)
def _folded(manifest: Manifest, names: tuple[str, ...]) -> str:
    """Thousands of names take milliseconds to fold, and are shown again after every key."""
    return plain(" ".join(short_names(manifest, names)))


def _training(row: Row, shape: TreeShape, figures: Figures) -> str:
    trained = figures.trained(row)
    if trained:
        mode = figures.mode(row)
        at = f" at rank {mode.rank}" if mode.rank else ""
        return f"trains {trained:,} numbers{at}"
    targets = shape.targets(row)
    if targets:
        return f"frozen; lora would add {count(figures.would_add(row))}"
    return plain(refusal(shape.manifest, row.names[0], Mode.LORA) or "frozen")
