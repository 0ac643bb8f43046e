"""The architecture report: what stands in a model, as Markdown, computed from its manifest."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from math import prod

from finetune_tui.core.models.manifest import Manifest, Module
from finetune_tui.core.models.roles import FUSED, Role
from finetune_tui.core.text import plain

ATTENTION = (Role.QUERY, Role.KEY, Role.VALUE, Role.QKV, Role.ATTENTION_OUTPUT)
MLP = (Role.MLP_GATE, Role.MLP_IN, Role.GATE_IN, Role.MLP_OUT)
_PARTS: dict[str, tuple[Role, ...]] = {
    "embedding": (Role.EMBEDDING,),
    "attention": ATTENTION,
    "MLP": MLP,
    "experts": (Role.EXPERTS,),
    "router": (Role.ROUTER,),
    "norms": (Role.NORM,),
    "head": (Role.HEAD,),
}
_LAST_BLOCKS = (1, 2, 4, 8)


def report(manifest: Manifest) -> str:
    """Blocks, names, counts, kinds, checks and freezing recipes of any model, as Markdown."""
    lines = [f"# {plain(manifest.model)}", "", *_summary(manifest)]
    for title, body in (
        ("Blocks", _blocks(manifest)),
        ("Names", _names(manifest)),
        ("Parameters", _parameters(manifest)),
        ("Sanity checks", _checks(manifest)),
        ("Freezing recipes", _recipes(manifest)),
    ):
        lines += ["", f"## {title}", "", *body]
    return "\n".join(lines) + "\n"


def own_numbers(module: Module) -> int:
    """Numbers of its own: what it holds beside its children. A packed parameter's belong to its module."""
    if module.is_packed:
        return 0
    return sum(prod(shape) for _, shape in module.own)


def bias_numbers(module: Module) -> int:
    """Numbers in its own bias."""
    return sum(prod(shape) for name, shape in module.own if name == "bias")


def parts(manifest: Manifest) -> dict[str, int]:
    """Parameters by part; they sum to all. A tied matrix counts once, where it stands first."""
    counted: dict[str, int] = dict.fromkeys([*_PARTS, "other"], 0)
    part_of = {role: part for part, roles in _PARTS.items() for role in roles}
    again = {name for group in manifest.tied for name in group[1:]}
    packed = {m.name: m.role for m in manifest.modules if m.is_packed}
    for module in manifest.modules:
        if module.is_packed:
            continue
        for name, shape in module.own:
            full_name = f"{module.name}.{name}" if module.name else name
            if full_name not in again:
                role = packed.get(full_name) or module.role
                counted[part_of[role] if role else "other"] += prod(shape)
    return {part: number for part, number in counted.items() if number}


def attention_kind(manifest: Manifest) -> str:
    """'grouped-query, 12/2 heads of 128': how many heads ask, and how many keys and values they share."""
    config = manifest.config
    if not config.heads:
        return "none"
    if config.kv_heads == config.heads:
        return f"multi-head, {config.heads} heads of {config.head_dim}"
    kind = "multi-query" if config.kv_heads == 1 else "grouped-query"
    return f"{kind}, {config.heads}/{config.kv_heads} heads of {config.head_dim}"


def activation(manifest: Manifest) -> str | None:
    """'SwiGLU (silu, gated)'; None when the config does not say."""
    name = manifest.config.activation
    gated = any(m.role in (Role.MLP_GATE, Role.GATE_IN) for m in manifest.modules)
    packed_gate = any(m.is_packed and "gate" in m.leaf_name for m in manifest.modules)
    if not name or not (gated or packed_gate):
        return name
    short = {"silu": "SwiGLU", "swish": "SwiGLU"}.get(name, "GeGLU" if "gelu" in name else None)
    return f"{short} ({name}, gated)" if short else f"{name}, gated"


def norm_classes(manifest: Manifest) -> tuple[str, ...]:
    """The classes of its norms, the commonest first."""
    found = Counter(m.cls for m in manifest.modules if m.role is Role.NORM)
    return tuple(cls for cls, _ in found.most_common())


def block_kinds(manifest: Manifest) -> list[tuple[tuple[int, ...], list[Module]]]:
    """(block numbers, lines of the first of them) for every kind of block, in order."""
    blocks: dict[int, list[Module]] = {}
    for module in manifest.modules:
        block = manifest.block_index(module.name)
        if block is not None:
            blocks.setdefault(block, []).append(module)
    kinds: dict[tuple[object, ...], list[int]] = {}
    for block, modules in blocks.items():
        below = len(f"{manifest.blocks_at}.{block}")
        look = tuple((m.name[below:], m.cls, m.own) for m in modules)
        kinds.setdefault(look, []).append(block)
    return [(tuple(numbers), blocks[numbers[0]]) for numbers in kinds.values()]


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """A table's lines; a cell's text cannot break out of it."""
    yield f"| {' | '.join(map(_cell, head))} |"
    yield f"|{'|'.join(' --- ' for _ in head)}|"
    for row in rows:
        yield f"| {' | '.join(map(_cell, row))} |"


def _summary(manifest: Manifest) -> Iterator[str]:
    config = manifest.config
    guessed = " (roles guessed from its structure)" if manifest.guessed else ""
    norms = ", ".join(_short_norm(cls) for cls in norm_classes(manifest))
    facts = {
        "architecture": f"{manifest.architecture}, family {manifest.family}{guessed}",
        "parameters": f"{manifest.parameters:,}",
        "blocks": f"{manifest.blocks}, stream {config.hidden_size:,} wide",
        "attention": attention_kind(manifest),
        "residual": "attention and MLP side by side behind one norm"
        if _is_parallel(manifest)
        else None,
        "attention window": f"{config.sliding_window:,} tokens, in some blocks or all"
        if config.sliding_window
        else None,
        "norm": norms,
        "MLP": f"{activation(manifest) or 'unknown activation'}, {config.intermediate_size:,} wide",
        "experts": f"{config.experts}, {config.experts_per_token or '?'} of them for a token"
        if config.experts
        else None,
        "positions": config.positions or "not said by the config",
        "context": f"{config.context:,} tokens" if config.context else "not said by the config",
        "vocabulary": f"{config.vocabulary:,} tokens",
        "written as": config.dtype,
    }
    for name, words in facts.items():
        if words:
            yield f"- {name}: {words}"


def _is_parallel(manifest: Manifest) -> bool:
    """Whether a block norms the stream once for attention and MLP both (Phi-2, Cohere, GPT-J)."""
    first = manifest.children(manifest.blocks_at)[:1] if manifest.blocks_at else ()
    inside = manifest.children(first[0].name) if first else ()
    roles = {below.role for child in inside for below in (child, *manifest.children(child.name))}
    norms = sum(1 for child in inside if child.role is Role.NORM)
    return norms == 1 and Role.ATTENTION_OUTPUT in roles and Role.MLP_OUT in roles


def _short_norm(cls: str) -> str:
    """'RMSNorm (Qwen2RMSNorm)': the kind, and the class that does it."""
    kind = next((kind for kind in ("RMSNorm", "LayerNorm") if cls.endswith(kind)), cls)
    return kind if kind == cls else f"{kind} ({cls})"


def _blocks(manifest: Manifest) -> Iterator[str]:
    at, total = manifest.blocks_at, manifest.blocks
    if not total:
        yield "No list of blocks was found."
        return
    kinds = block_kinds(manifest)
    pattern = f"`{at}.0` to `{at}.{total - 1}`" if total > 1 else f"`{at}.0`"
    alike = "all alike" if len(kinds) == 1 else f"of {len(kinds)} kinds"
    yield f"{total} blocks, {pattern}, {alike}."
    for numbers, modules in kinds:
        which = "" if len(kinds) == 1 else f" ({_ranges(numbers)})"
        yield ""
        yield f"Block {numbers[0]}{which}, {modules[0].parameters:,} parameters:"
        yield ""
        yield from markdown_table(
            ("module", "class", "role", "weight", "bias", "parameters"), map(_module_cells, modules)
        )


def _module_cells(module: Module) -> tuple[str, ...]:
    shape = "×".join(map(str, module.shape)) if module.shape else ""
    bias = "yes" if bias_numbers(module) else "no" if module.shape and module.features else ""
    return (
        f"`{module.name}`",
        module.cls,
        module.role or "",
        shape,
        bias,
        f"{module.parameters:,}",
    )


def _names(manifest: Manifest) -> Iterator[str]:
    """One line for each role: its pattern over the blocks, and the example of its first block."""
    rows: list[tuple[str, str, str]] = []
    for title, roles in _PARTS.items():
        found: dict[str, str] = {}
        for module in manifest.modules:
            if module.role in roles:
                for name, _ in module.own or (("", ()),):
                    full = module.name if module.is_packed else f"{module.name}.{name}"
                    found.setdefault(_pattern(manifest, full), full)
        rows += [(title, f"`{pattern}`", f"`{example}`") for pattern, example in found.items()]
    yield from markdown_table(("part", "parameter", "example"), rows)


def _pattern(manifest: Manifest, name: str) -> str:
    block = manifest.block_index(name)
    if block is None:
        return name
    return name.replace(f"{manifest.blocks_at}.{block}", f"{manifest.blocks_at}.*", 1)


def _parameters(manifest: Manifest) -> Iterator[str]:
    total = manifest.parameters
    rows = [
        (part, f"{number:,}", _share(number, total)) for part, number in parts(manifest).items()
    ]
    yield from markdown_table(
        ("part", "parameters", "share"), [*rows, ("all", f"{total:,}", "100%")]
    )


def _checks(manifest: Manifest) -> Iterator[str]:
    summed = sum(parts(manifest).values())
    agrees = (
        "as torch counts"
        if summed == manifest.parameters
        else f"torch counts {manifest.parameters:,}"
    )
    yield f"- the parts sum to {summed:,}: {agrees}"
    for group in manifest.tied:
        yield f"- tied: {' = '.join(f'`{name}`' for name in group)}, one tensor, counted once"
    if not manifest.tied:
        yield "- tied or shared: nothing; every parameter and module has one name"
    fused = {m.role: m.leaf_name for m in manifest.modules if m.role in FUSED}
    for role, leaf in fused.items():
        yield f"- fused: `{leaf}` holds {', '.join(FUSED[role])}; they train together or not at all"
    if not fused:
        yield "- fused: no projection"
    packed = [m for m in manifest.modules if m.is_packed]
    if packed:
        numbers = sum(m.parameters for m in packed)
        share = _share(numbers, manifest.parameters)
        yield f"- packed: {len(packed)} parameters hold {share} of the model; they are no linear layers"
    yield from _bias_checks(manifest)
    quantisable = sum(prod(m.shape or ()) for m in manifest.modules if m.is_quantisable)
    share = _share(quantisable, manifest.parameters)
    yield f"- quantisable: {quantisable:,} parameters ({share}), the linear layers but the head"
    unknown = sorted({m.leaf_name for m in manifest.modules if m.own and not m.role and m.features})
    if unknown:
        yield f"- without a role: {', '.join(f'`{name}`' for name in unknown)}"


def _bias_checks(manifest: Manifest) -> Iterator[str]:
    """Which leaf names have a bias and which could have one and do not."""
    with_bias: dict[str, None] = {}
    without: dict[str, None] = {}
    for module in manifest.modules:
        if bias_numbers(module):
            with_bias[module.leaf_name] = None
        elif module.cls in ("Linear", "Conv1D") or module.role is Role.NORM:
            without[module.leaf_name] = None
    names = ", ".join(f"`{name}`" for name in with_bias)
    yield f"- biases: {names or 'none'}"
    if without:
        yield f"- no bias: {', '.join(f'`{name}`' for name in without)}"


def _recipes(manifest: Manifest) -> Iterator[str]:
    total, blocks = manifest.parameters, manifest.blocks
    yield (
        "Freeze everything, then let only these train. Attention-only: weights and biases of every attention "
        "projection; BitFit: every bias (arXiv 2106.10199). The last blocks have the highest numbers."
    )
    yield ""
    attention = _by_block(manifest, lambda m: own_numbers(m) if m.role in ATTENTION else 0)
    biases = _by_block(manifest, bias_numbers)
    rows = []
    for last in (*(k for k in _LAST_BLOCKS if k < blocks), blocks):
        chosen = range(blocks - last, blocks)
        trained = [sum(numbers[block] for block in chosen) for numbers in (attention, biases)]
        which = f"{last} ({_ranges(tuple(chosen))})" if last else "none"
        rows.append((which, *(f"{number:,} ({_share(number, total)})" for number in trained)))
    yield from markdown_table(("last blocks", "attention-only trains", "BitFit trains"), rows)
    if not any(biases):
        yield ""
        yield "The blocks have no biases: BitFit would train nothing."


def _by_block(manifest: Manifest, numbers: Callable[[Module], int]) -> list[int]:
    counted = [0] * manifest.blocks
    for module in manifest.modules:
        block = manifest.block_index(module.name)
        if block is not None:
            counted[block] += numbers(module)
    return counted


def _ranges(numbers: Sequence[int]) -> str:
    """(0, 1, 2, 5) → 'blocks 0–2, 5'."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    words = ", ".join(f"{first}–{last}" if last > first else f"{first}" for first, last in runs)
    return f"blocks {words}" if len(numbers) > 1 else f"block {words}"


def _cell(text: str) -> str:
    return plain(text).replace("|", "¦")


def _share(part: int, whole: int) -> str:
    if not whole:
        return "0%"
    share = 100 * part / whole
    return f"{share:.1f}%" if share >= 1 else f"{share:.2g}%"
