"""Which rows a manifest has: identical blocks folded into one row, siblings of one kind into another.

Nothing here knows Textual. Rows are made when their parent is opened, so that the cost of the tree is
that of what is on the screen, whatever the size of the model. All names in a row of one leaf are alike:
what holds for the first of them holds for all, so that a figure of 2 000 blocks costs that of one.
"""

from collections.abc import Iterator
from functools import cached_property, lru_cache
from itertools import groupby
from typing import Literal, NamedTuple

from finetune_tui.core.models.manifest import Manifest, Module
from finetune_tui.core.models.roles import Role
from finetune_tui.core.tuning.modes import Mode
from finetune_tui.core.tuning.selection import alias_of, togglable

Kind = Literal["module", "run", "singles", "group"]


class Row(NamedTuple):
    """One row of the tree. It stands for all modules in `names`: the same one in every folded block.

    kind: `run`, identical blocks folded; `singles`, the same blocks one by one; `group`, siblings of one
    kind; `module`, one place in a block (or outside). opens: something stands under it.
    """

    key: str
    label: str
    depth: int
    kind: Kind
    names: tuple[str, ...]
    opens: bool


class Strand(NamedTuple):
    """One module with own parameters at or below a row, and the names it has in all folded blocks."""

    module: Module
    names: tuple[str, ...]


class Place(NamedTuple):
    """A row, what stands above it, whether it lies in a single block, and the text a search looks in."""

    above: tuple[Row, ...]
    row: Row
    single: bool
    text: str


class TreeShape:
    """Which rows a manifest has. Children are made on demand."""

    def __init__(self, manifest: Manifest) -> None:
        self.manifest = manifest
        self._targets: dict[tuple[str, Mode], tuple[str, ...]] = {}
        self._strands: dict[str, tuple[Strand, ...]] = {}

    def top(self) -> list[Row]:
        """The outermost rows: containers that only lead to the blocks are left out."""
        return list(self._top)

    @cached_property
    def _top(self) -> tuple[Row, ...]:
        return tuple(self._spliced(""))

    def prepare(self) -> None:
        """Make now, in whatever thread, what a large model would make the screen wait for."""
        for row in self._top:
            self.targets(row)
            self.strands(row)

    def below(self, row: Row) -> list[Row]:
        """The rows directly under this one."""
        if row.kind == "singles":
            return [self._block_row((name,), row.depth + 1) for name in row.names]
        if row.kind == "group":
            return self._members(row)
        kids = self._kids(row.names[0])
        rows = self._grouped(row, kids)
        if row.kind == "run":
            key = f"singles:{row.names[0]}"
            rows.append(Row(key, "single blocks", row.depth + 1, "singles", row.names, True))
        return rows

    def module(self, row: Row) -> Module:
        """One of the modules it stands for; all are alike but in a group."""
        return self.manifest.module(row.names[0])

    def alias_of(self, row: Row) -> str | None:
        """The module whose matrix this one shares and does not own: the head of a tied model."""
        return alias_of(self.manifest, row.names[0])

    def bundles(self, row: Row) -> list[tuple[str, ...]]:
        """Its names, parted so that in each part all modules are alike."""
        if row.kind != "group":
            return [row.names]
        parts: dict[str, list[str]] = {}
        for name in row.names:
            parts.setdefault(name.rpartition(".")[2], []).append(name)
        return [tuple(part) for part in parts.values()]

    def targets(self, row: Row, mode: Mode = Mode.LORA) -> tuple[str, ...]:
        """The modules that setting this mode on this row acts on."""
        found = self._targets.get((row.key, mode))
        if found is None:
            names: list[str] = []
            for bundle in self.bundles(row):
                start = len(bundle[0])
                for below in togglable(self.manifest, bundle[0], mode):
                    names += [f"{name}{below[start:]}" for name in bundle]
            found = self._targets[row.key, mode] = tuple(names)
        return found

    def strands(self, row: Row) -> tuple[Strand, ...]:
        """Everything at or below the row that has parameters of its own."""
        found = self._strands.get(row.key)
        if found is None:
            made = []
            for bundle in self.bundles(row):
                first = self.manifest.module(bundle[0])
                start = len(first.name)
                for module in (first, *self.manifest.descendants(first.name)):
                    if module.own:
                        tail = module.name[start:]
                        names = tuple([f"{name}{tail}" for name in bundle]) if tail else bundle
                        made.append(Strand(module, names))
            found = self._strands[row.key] = tuple(made)
        return found

    # Everything at once, for a search

    @cached_property
    def places(self) -> tuple[Place, ...]:
        """Every row in the order of the tree, single blocks too."""
        found = []
        stack: list[tuple[tuple[Row, ...], Row, bool]] = [
            ((), row, False) for row in reversed(self._top)
        ]
        while stack:
            above, row, single = stack.pop()
            found.append(Place(above, row, single, self._text(row, single)))
            if row.opens:
                path, inside = (*above, row), single or row.kind == "singles"
                stack += [(path, below, inside) for below in reversed(self.below(row))]
        return tuple(found)

    @cached_property
    def order(self) -> dict[str, int]:
        """Where in `places` a row stands, by its key."""
        return {place.row.key: number for number, place in enumerate(self.places)}

    def _text(self, row: Row, single: bool) -> str:
        """In single blocks the full name is looked at; groups only repeat what stands in them."""
        if row.kind in ("singles", "group"):
            return ""
        module = self.module(row)
        name = row.names[0] if single else row.label
        return f"{name} {module.role or ''} {module.cls}".lower()

    # How rows are made

    def _spliced(self, name: str) -> Iterator[Row]:
        blocks_at = self.manifest.blocks_at
        for module in self._kids(name):
            if module.name == blocks_at:
                yield from self._runs()
            elif blocks_at.startswith(f"{module.name}."):
                yield from self._spliced(module.name)
            else:
                yield self._module_row((module.name,), module.leaf_name, 0)

    def _runs(self) -> Iterator[Row]:
        inside: dict[str, list[tuple[object, ...]]] = {}
        prefix = f"{self.manifest.blocks_at}."
        start = len(prefix)
        for module in self.manifest.modules:
            if module.name.startswith(prefix):
                number, _, tail = module.name[start:].partition(".")
                if tail:
                    inside.setdefault(number, []).append((tail, module.cls, module.own))
        blocks = self.manifest.children(self.manifest.blocks_at)
        for _, run in groupby(blocks, key=lambda block: inside.get(block.leaf_name, [])):
            yield self._block_row(tuple(block.name for block in run), 0)

    def _block_row(self, names: tuple[str, ...], depth: int) -> Row:
        first = names[0].rpartition(".")[2]
        span = first if len(names) == 1 else f"{first}–{names[-1].rpartition('.')[2]}"
        container = self.manifest.blocks_at.rpartition(".")[2]
        kind: Kind = "module" if len(names) == 1 else "run"
        key = f"{kind}:{names[0]}:{len(names)}"
        return Row(key, f"{container}.{span}", depth, kind, names, True)

    def _module_row(self, names: tuple[str, ...], label: str, depth: int) -> Row:
        key = f"module:{names[0]}:{len(names)}"
        return Row(key, label, depth, "module", names, bool(self._kids(names[0])))

    def _kids(self, name: str) -> list[Module]:
        """Children that hold parameters: dropouts and activations have nothing to train."""
        return [module for module in self.manifest.children(name) if module.parameters]

    def _grouped(self, row: Row, kids: list[Module]) -> list[Row]:
        """Norms of a block share one row at its end; key and value of one shape share another."""
        norms = [kid for kid in kids if kid.role is Role.NORM]
        folds_norms = len(norms) > 1 and self.manifest.block_index(row.names[0]) is not None
        pair = [kid for kid in kids if kid.role in (Role.KEY, Role.VALUE)]
        folds_pair = len(pair) == 2 and pair[0].own == pair[1].own
        rows = []
        for kid in kids:
            if folds_norms and kid in norms:
                continue
            if folds_pair and kid in pair:
                if kid is pair[0]:
                    rows.append(self._group_row(row, pair, ",".join(k.leaf_name for k in pair)))
                continue
            leaf = kid.leaf_name
            names = tuple([f"{name}.{leaf}" for name in row.names])
            rows.append(self._module_row(names, leaf, row.depth + 1))
        if folds_norms:
            rows.append(self._group_row(row, norms, "norms"))
        return rows

    def _group_row(self, row: Row, kids: list[Module], label: str) -> Row:
        names = tuple(f"{name}.{kid.leaf_name}" for kid in kids for name in row.names)
        key = f"group:{label}:{names[0]}:{len(names)}"
        return Row(key, label, row.depth + 1, "group", names, True)

    def _members(self, row: Row) -> list[Row]:
        return [
            self._module_row(bundle, bundle[0].rpartition(".")[2], row.depth + 1)
            for bundle in self.bundles(row)
        ]


@lru_cache(maxsize=4)
def shape_of(manifest: Manifest) -> TreeShape:
    """The shape of a manifest, made once: reading 20 000 modules takes longer than a frame."""
    return TreeShape(manifest)
