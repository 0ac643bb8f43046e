"""Roles of an architecture that no family's table knows, guessed from its structure.

Position in the tree, class, shape and, last, habits of naming. A guess is marked as one on the manifest
(`guessed`), and whoever shows roles says so.
"""

from collections.abc import Iterable
from dataclasses import replace

from finetune_tui.core.models.manifest import Manifest, ModelConfig, Module
from finetune_tui.core.models.roles import Role

_ATTENTION_WORDS = ("attn", "attention")
_MLP_WORDS = ("mlp", "ffn", "feed_forward", "feedforward", "expert")
_GATE_WORDS = ("gate", "w1", "linear_v")
_OUTPUT_WORDS = ("out", "o_proj", "dense", "c_proj", "wo")


def with_guessed_roles(manifest: Manifest) -> Manifest:
    """The manifest with every role that its structure gives away; what has one already keeps it."""
    roles: dict[str, Role] = {}
    outside, blocks = _by_block(manifest)
    roles |= _ends(manifest, outside)
    for modules in blocks:
        roles |= _in_block(modules, manifest.config)
    roles |= {m.name: Role.NORM for m in manifest.modules if _is_norm(m)}
    lines = tuple(replace(m, role=m.role or roles.get(m.name)) for m in manifest.modules)
    return replace(manifest, modules=lines, guessed=True)


def _by_block(manifest: Manifest) -> tuple[list[Module], Iterable[list[Module]]]:
    outside: list[Module] = []
    blocks: dict[int, list[Module]] = {}
    for module in manifest.modules:
        block = manifest.block_index(module.name)
        (outside if block is None else blocks.setdefault(block, [])).append(module)
    return outside, blocks.values()


def _ends(manifest: Manifest, outside: list[Module]) -> dict[str, Role]:
    """The dictionary and the speaker: as many rows, or outputs, as the vocabulary has tokens."""
    vocabulary = manifest.config.vocabulary
    roles: dict[str, Role] = {}
    for module in outside:
        features = module.features
        if features is None:
            continue
        if module.cls.endswith("Embedding") and features[0] == vocabulary:
            roles[module.name] = Role.EMBEDDING
        elif _is_projection(module) and features[1] == vocabulary:
            roles[module.name] = Role.HEAD
    return roles


def _is_projection(module: Module) -> bool:
    return module.cls == "Conv1D" or module.cls.endswith("Linear")


def _is_norm(module: Module) -> bool:
    """By class, as all of Transformers names them: LayerNorm, LlamaRMSNorm, …"""
    return "Norm" in module.cls and not any(len(shape) > 1 for _, shape in module.own)


def _in_block(modules: list[Module], config: ModelConfig) -> dict[str, Role]:
    attention: dict[str, list[Module]] = {}
    mlps: dict[str, list[Module]] = {}
    roles: dict[str, Role] = {}
    for module in modules:
        container = module.name.rpartition(".")[0]
        if _is_router(module, config):
            roles[module.name] = Role.ROUTER
        elif not _is_projection(module) or module.features is None:
            continue
        elif "experts" in module.name.split("."):
            roles[module.name] = Role.EXPERTS
        elif _lies_in(module, _ATTENTION_WORDS):
            attention.setdefault(container, []).append(module)
        elif _lies_in(module, _MLP_WORDS) or _has_width(module, config.intermediate_size):
            mlps.setdefault(container, []).append(module)
    for found in attention.values():
        roles |= _attention_roles(found, config)
    for found in mlps.values():
        roles |= _mlp_roles(found, config)
    return roles


def _is_router(module: Module, config: ModelConfig) -> bool:
    shape = module.shape
    return (
        config.experts is not None
        and shape == (config.experts, config.hidden_size)
        and not module.is_packed
    )


def _lies_in(module: Module, words: tuple[str, ...]) -> bool:
    return any(word in part for part in module.name.lower().split(".")[:-1] for word in words)


def _has_width(module: Module, width: int) -> bool:
    return any(side in (width, 2 * width) for side in module.features or ())


def _attention_roles(attention: list[Module], config: ModelConfig) -> dict[str, Role]:
    """What comes back to the stream is the output; beside it stands one fused matrix, or the trio."""
    back = [m for m in attention if m.features and m.features[1] == config.hidden_size]
    named = [m for m in back if any(word in m.leaf_name.lower() for word in _OUTPUT_WORDS)]
    inward = list(attention)
    roles: dict[str, Role] = {}
    if named or (back and len(attention) in (2, 4)):
        output = (named or back)[-1]
        roles[output.name] = Role.ATTENTION_OUTPUT
        inward.remove(output)
    if len(inward) == 1 and inward[0].features and inward[0].features[0] == config.hidden_size:
        return roles | {inward[0].name: Role.QKV}
    return roles | _trio(inward)


def _trio(modules: list[Module]) -> dict[str, Role]:
    """Query, key and value by their letters; a third without one is what is left (RWKV's receptance)."""
    letters = {"q": Role.QUERY, "k": Role.KEY, "v": Role.VALUE}
    if len(modules) > 3:
        return {}
    roles: dict[str, Role] = {}
    for module in modules:
        role = letters.get(module.leaf_name[:1].lower())
        if role is not None and role not in roles.values():
            roles[module.name] = role
    unnamed = [module.name for module in modules if module.name not in roles]
    left = [role for role in letters.values() if role not in roles.values()]
    if len(modules) == 3 and len(unnamed) in (1, 3):
        roles |= dict(zip(unnamed, left, strict=True))  # all three: in their usual order
    return roles


def _mlp_roles(mlp: list[Module], config: ModelConfig) -> dict[str, Role]:
    """What comes back to the stream is the way out; what leaves it is the way in, or the gate."""
    outward = [m for m in mlp if (m.features or (0, 0))[1] == config.hidden_size]
    if not outward:
        return {}
    out = outward[-1]
    width = (out.features or (0, 0))[0]
    roles = {out.name: Role.MLP_OUT}
    widening = [m for m in mlp if m is not out and (m.features or (0, 0))[0] == config.hidden_size]
    if len(widening) == 1:
        fused = (widening[0].features or (0, 0))[1] == 2 * width
        roles[widening[0].name] = Role.GATE_IN if fused else Role.MLP_IN
    elif len(widening) == 2:
        first, second = widening
        gate = second if _is_gate(second) and not _is_gate(first) else first
        roles[gate.name] = Role.MLP_GATE
        roles[(first if gate is second else second).name] = Role.MLP_IN
    return roles


def _is_gate(module: Module) -> bool:
    return any(word in module.leaf_name.lower() for word in _GATE_WORDS)
