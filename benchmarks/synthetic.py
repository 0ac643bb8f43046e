"""A manifest far larger than any model of today, all blocks alike or every one of its own shape."""

from finetune_tui.core.models.manifest import Manifest, ModelConfig, Module
from finetune_tui.core.models.roles import Role

_HIDDEN, _VOCABULARY = 1024, 32_000
_BELOW = (
    ("self_attn", "LlamaAttention", None, ()),
    ("self_attn.q_proj", "Linear", Role.QUERY, (1024, 1024)),
    ("self_attn.k_proj", "Linear", Role.KEY, (256, 1024)),
    ("self_attn.v_proj", "Linear", Role.VALUE, (256, 1024)),
    ("self_attn.o_proj", "Linear", Role.ATTENTION_OUTPUT, (1024, 1024)),
    ("mlp", "LlamaMLP", None, ()),
    ("mlp.gate_proj", "Linear", Role.MLP_GATE, (4096, 1024)),
    ("mlp.up_proj", "Linear", Role.MLP_IN, (4096, 1024)),
    ("mlp.down_proj", "Linear", Role.MLP_OUT, (1024, 4096)),
    ("input_layernorm", "LlamaRMSNorm", Role.NORM, (1024,)),
    ("post_attention_layernorm", "LlamaRMSNorm", Role.NORM, (1024,)),
)


def synthetic(modules: int = 20_000, alike: bool = True) -> Manifest:
    """About so many modules. alike: False gives neighbouring blocks MLPs of different widths."""
    blocks = modules // (len(_BELOW) + 1)
    lines = []
    for number in range(blocks):
        wider = 0 if alike else 8 * (number % 2)
        lines += _block(f"model.layers.{number}", wider)
    inside = sum(line.parameters for line in lines if line.cls == "LlamaDecoderLayer")
    table = _leaf("model.embed_tokens", "Embedding", Role.EMBEDDING, (_VOCABULARY, _HIDDEN))
    norm = _leaf("model.norm", "LlamaRMSNorm", Role.NORM, (_HIDDEN,))
    head = _leaf("lm_head", "Linear", Role.HEAD, (_VOCABULARY, _HIDDEN))
    body = inside + table.parameters + norm.parameters
    return Manifest(
        model="synthetic",
        architecture="LlamaForCausalLM",
        family="llama",
        config=ModelConfig(
            "llama", _HIDDEN, 4096, blocks, 16, 4, 64, _VOCABULARY, 4096, False, "bfloat16", "silu"
        ),
        modules=(
            Module("", "LlamaForCausalLM", None, (), body + head.parameters),
            Module("model", "LlamaModel", None, (), body),
            table,
            Module("model.layers", "ModuleList", None, (), inside),
            *lines,
            norm,
            head,
        ),
        blocks_at="model.layers",
    )


def _block(name: str, wider: int) -> list[Module]:
    leaves = [
        _leaf(f"{name}.{tail}", cls, role, _widened(tail, shape, wider))
        for tail, cls, role, shape in _BELOW
    ]
    sums = {f"{name}.{part}": 0 for part in ("self_attn", "mlp")}
    for leaf in leaves:
        above = leaf.name.rpartition(".")[0]
        if above in sums:
            sums[above] += leaf.parameters
    total = sum(leaf.parameters for leaf in leaves)
    return [
        Module(name, "LlamaDecoderLayer", None, (), total),
        *(
            Module(leaf.name, leaf.cls, None, (), sums[leaf.name]) if leaf.name in sums else leaf
            for leaf in leaves
        ),
    ]


def _widened(tail: str, shape: tuple[int, ...], wider: int) -> tuple[int, ...]:
    if not tail.startswith("mlp."):
        return shape
    return tuple(side + wider if side == 4096 else side for side in shape)


def _leaf(name: str, cls: str, role: Role | None, shape: tuple[int, ...]) -> Module:
    numbers = 1 if shape else 0
    for side in shape:
        numbers *= side
    return Module(name, cls, role, (("weight", shape),) if shape else (), numbers)
