"""The manifest: the module tree of a model as plain data. No tensors, no torch."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from itertools import groupby
from typing import Any

from finetune_tui.core.errors import UserError
from finetune_tui.core.models.roles import Role
from finetune_tui.core.text import did_you_mean

PARAMETER = "Parameter"
"""The class of a packed parameter's line: the weights of many experts in one tensor."""


@dataclass(frozen=True, slots=True)
class Module:
    """One module as torch names it, or a packed parameter, named `<its module>.<parameter>`.

    own: its own parameters as (name, shape), biases included. parameters: count of the whole subtree,
    as `sum(p.numel() for p in module.parameters())` counts it. shape: of its `weight`, else None.
    """

    name: str
    cls: str
    role: Role | None
    own: tuple[tuple[str, tuple[int, ...]], ...]
    parameters: int

    @property
    def leaf_name(self) -> str:
        return self.name.rpartition(".")[2]

    @property
    def shape(self) -> tuple[int, ...] | None:
        return dict(self.own).get("weight")

    @property
    def features(self) -> tuple[int, int] | None:
        """(inputs, outputs) of a projection or embedding; None for anything else."""
        shape = self.shape
        if shape is None or len(shape) != 2:
            return None
        # GPT-2's Conv1D holds its matrix transposed; Gemma's embedding has a class of its own.
        inputs_first = self.cls == "Conv1D" or self.cls.endswith("Embedding")
        return (shape[0], shape[1]) if inputs_first else (shape[1], shape[0])

    @property
    def is_packed(self) -> bool:
        """Whether this line is a packed parameter (expert weights), not a module of its own."""
        return self.cls == PARAMETER

    @property
    def is_quantisable(self) -> bool:
        """Whether bitsandbytes replaces this module on loading: every linear layer but the head."""
        linear = self.cls in ("Linear", "Conv1D")
        return linear and self.role is not Role.HEAD and self.leaf_name != "lm_head"


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """The facts of a config that the tree, the presets and the memory model need."""

    model_type: str
    hidden_size: int
    intermediate_size: int
    blocks: int
    heads: int
    kv_heads: int
    head_dim: int
    vocabulary: int
    context: int | None
    tied: bool
    dtype: str | None
    activation: str | None
    positions: str | None = None  # in words: "rotary over 40% of each head"
    sliding_window: int | None = None  # tokens that attention reaches back, in some or all blocks
    experts: int | None = None
    experts_per_token: int | None = None
    residual_dropout: float = 0.0  # of what attention and MLP add, while training; the model's own
    embedding_dropout: float = 0.0


@dataclass(frozen=True)
class Manifest:
    """A model's tree in torch's own order (`named_modules`), the root first under the name "".

    A packed parameter has a line right after its module, which keeps it among its own too.
    tied: names of parameters that are one tensor; the root counts it once, as torch does.
    guessed: roles come from the structure, not from a family's table.

    Hashes by identity, so that what is derived from one can be remembered without reading it all.
    """

    model: str
    architecture: str
    family: str
    config: ModelConfig
    modules: tuple[Module, ...]
    tied: tuple[tuple[str, ...], ...] = ()
    blocks_at: str = ""
    guessed: bool = False
    _children: dict[str, tuple[Module, ...]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        children: dict[str, list[Module]] = {}
        for module in self.modules[1:]:
            children.setdefault(module.name.rpartition(".")[0], []).append(module)
        object.__setattr__(
            self, "_children", {name: tuple(found) for name, found in children.items()}
        )

    __hash__ = object.__hash__

    @cached_property
    def by_name(self) -> dict[str, Module]:
        return {module.name: module for module in self.modules}

    @property
    def parameters(self) -> int:
        return self.modules[0].parameters

    @property
    def blocks(self) -> int:
        return len(self.children(self.blocks_at)) if self.blocks_at else 0

    def module(self, name: str) -> Module:
        """The module of that name. Raises UserError naming the nearest one."""
        found = self.by_name.get(name)
        if found is None:
            raise UserError(
                f"no module '{name}' in {self.model}", hint=did_you_mean(name, self.by_name)
            )
        return found

    def children(self, name: str) -> tuple[Module, ...]:
        return self._children.get(name, ())

    def descendants(self, name: str) -> Iterator[Module]:
        """Everything below `name`, in torch's order, `name` itself not included."""
        for child in self.children(name):
            yield child
            yield from self.descendants(child.name)

    def block_index(self, name: str) -> int | None:
        """The block a module lies in: 'model.layers.7.mlp.fc1' → 7."""
        prefix = f"{self.blocks_at}."
        if not self.blocks_at or not name.startswith(prefix):
            return None
        number = name[len(prefix) :].partition(".")[0]
        return int(number) if number.isdecimal() else None

    def to_json(self) -> dict[str, Any]:
        """Everything, for the catalog, the cache on disk and a call's answer.

        A run of identical blocks is written once: {"blocks": [first, last], "rows": [...]}, with the
        names below the block. Llama-3.1-8B is then some thirty rows.
        """
        return {
            "model": self.model,
            "architecture": self.architecture,
            "family": self.family,
            "config": asdict(self.config),
            "modules": _fold(self),
            "tied": [list(group) for group in self.tied],
            "blocks_at": self.blocks_at,
            "guessed": self.guessed,
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "Manifest":
        """Raises KeyError, TypeError or ValueError when `data` is not what `to_json` wrote."""
        known = {item.name for item in fields(ModelConfig)}
        blocks_at = str(data["blocks_at"])
        return cls(
            model=str(data["model"]),
            architecture=str(data["architecture"]),
            family=str(data["family"]),
            config=ModelConfig(**{key: data["config"][key] for key in known & set(data["config"])}),
            modules=tuple(_unfold(data["modules"], blocks_at)),
            tied=tuple(tuple(group) for group in data["tied"]),
            blocks_at=blocks_at,
            guessed=bool(data.get("guessed", False)),
        )


def inspect_answer(manifest: Manifest) -> dict[str, Any]:
    """The answer of `inspect --json` (DESIGN: stable, other programs rely on it)."""
    return {
        "model": manifest.model,
        "architecture": manifest.architecture,
        "family": manifest.family,
        "guessed": manifest.guessed,
        "parameters": manifest.parameters,
        "blocks": manifest.blocks,
        "config": asdict(manifest.config),
        "tied": [list(group) for group in manifest.tied],
        "modules": [
            {
                "name": module.name,
                "class": module.cls,
                "role": module.role,
                "parameters": module.parameters,
                "shape": list(module.shape) if module.shape else None,
            }
            for module in manifest.modules
        ],
    }


_Row = list[Any]


def _fold(manifest: Manifest) -> list[_Row | dict[str, Any]]:
    """Rows in order, each run of identical consecutive blocks as one entry."""
    folded: list[_Row | dict[str, Any]] = []
    blocks: dict[int, list[_Row]] = {}
    for module in manifest.modules:
        block = manifest.block_index(module.name)
        if block is None:
            _close_blocks(folded, blocks)
            folded.append(_row(module, module.name))
        else:
            below = module.name.removeprefix(f"{manifest.blocks_at}.{block}").removeprefix(".")
            blocks.setdefault(block, []).append(_row(module, below))
    _close_blocks(folded, blocks)
    return folded


def _close_blocks(folded: list[_Row | dict[str, Any]], blocks: dict[int, list[_Row]]) -> None:
    for _, run in groupby(sorted(blocks.items()), key=lambda numbered: numbered[1]):
        numbered = list(run)
        folded.append({"blocks": [numbered[0][0], numbered[-1][0]], "rows": numbered[0][1]})
    blocks.clear()


def _row(module: Module, name: str) -> _Row:
    own = [[key, list(shape)] for key, shape in module.own]
    return [name, module.cls, module.role, own, module.parameters]


def _unfold(folded: list[Any], blocks_at: str) -> Iterator[Module]:
    for entry in folded:
        if isinstance(entry, dict):
            first, last = entry["blocks"]
            for block in range(first, last + 1):
                prefix = f"{blocks_at}.{block}"
                for row in entry["rows"]:
                    yield _module(row, f"{prefix}.{row[0]}" if row[0] else prefix)
        else:
            yield _module(entry, entry[0])


def _module(row: _Row, name: str) -> Module:
    _, cls, role, own, parameters = row
    return Module(
        name=str(name),
        cls=str(cls),
        role=Role(role) if role else None,
        own=tuple((str(key), tuple(int(side) for side in shape)) for key, shape in own),
        parameters=int(parameters),
    )
