"""The folded module tree as plain rows: what stands under what, what is open, where the cursor is.

Nothing here knows Textual. Rows are made when their parent is opened, so that the cost of the tree is
that of what is on the screen, whatever the size of the model.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Literal

from finetune_tui.core.models.manifest import Manifest, Module
from finetune_tui.core.models.roles import Role
from finetune_tui.core.tuning.modes import Choice, Mode
from finetune_tui.core.tuning.selection import Selection, lora_parameters, togglable

Kind = Literal["module", "run", "singles", "group"]


@dataclass(frozen=True, slots=True)
class Row:
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


class TreeShape:
    """Which rows a manifest has. Children are made on demand."""

    def __init__(self, manifest: Manifest) -> None:
        self.manifest = manifest
        self._targets: dict[str, tuple[str, ...]] = {}

    def top(self) -> list[Row]:
        """The outermost rows: containers that only lead to the blocks are left out."""
        return list(self._spliced(""))

    def below(self, row: Row) -> list[Row]:
        """The rows directly under this one."""
        if row.kind == "singles":
            return [self._block_row((name,), row.depth + 1) for name in row.names]
        if row.kind == "group":
            return self._members(row)
        kids = self._kids(row.names[0])
        rows = self._grouped(row, kids)
        if row.kind == "run":
            rows.append(
                Row(
                    f"singles:{row.names[0]}",
                    "single blocks",
                    row.depth + 1,
                    "singles",
                    row.names,
                    True,
                )
            )
        return rows

    def targets(self, row: Row) -> tuple[str, ...]:
        """The modules a toggle on this row acts on."""
        found = self._targets.get(row.key)
        if found is None:
            names = (below for name in row.names for below in togglable(self.manifest, name))
            found = self._targets[row.key] = tuple(names)
        return found

    def module(self, row: Row) -> Module:
        """One of the modules it stands for; all are alike but in a group."""
        return self.manifest.module(row.names[0])

    def walk(self, singles: bool = False) -> Iterator[tuple[tuple[Row, ...], Row]]:
        """Every row with those above it, in order; with `singles`, single blocks too."""
        stack: list[tuple[tuple[Row, ...], Row]] = [((), row) for row in reversed(self.top())]
        while stack:
            above, row = stack.pop()
            yield above, row
            if row.kind == "singles" and not singles:
                continue
            if row.opens:
                stack += [((*above, row), below) for below in reversed(self.below(row))]

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
        blocks = self.manifest.children(self.manifest.blocks_at)
        for _, run in groupby(blocks, key=self._structure):
            yield self._block_row(tuple(block.name for block in run), 0)

    def _structure(self, block: Module) -> tuple[object, ...]:
        start = len(block.name)
        below = self.manifest.descendants(block.name)
        return tuple((module.name[start:], module.cls, module.own) for module in below)

    def _block_row(self, names: tuple[str, ...], depth: int) -> Row:
        numbers = [name.rpartition(".")[2] for name in names]
        span = numbers[0] if len(names) == 1 else f"{numbers[0]}–{numbers[-1]}"
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
        folds_pair = len(pair) == 2 and pair[0].shape == pair[1].shape
        rows = []
        for kid in kids:
            if folds_norms and kid in norms:
                continue
            if folds_pair and kid in pair:
                if kid is pair[0]:
                    rows.append(self._group_row(row, pair, ",".join(k.leaf_name for k in pair)))
                continue
            names = tuple(f"{name}.{kid.leaf_name}" for name in row.names)
            rows.append(self._module_row(names, kid.leaf_name, row.depth + 1))
        if folds_norms:
            rows.append(self._group_row(row, norms, "norms"))
        return rows

    def _group_row(self, row: Row, kids: list[Module], label: str) -> Row:
        names = tuple(f"{name}.{kid.leaf_name}" for kid in kids for name in row.names)
        key = f"group:{label}:{names[0]}:{len(names)}"
        return Row(key, label, row.depth + 1, "group", names, True)

    def _members(self, row: Row) -> list[Row]:
        leaves = dict.fromkeys(name.rpartition(".")[2] for name in row.names)
        return [
            self._module_row(
                tuple(name for name in row.names if name.endswith(f".{leaf}")), leaf, row.depth + 1
            )
            for leaf in leaves
        ]


@dataclass(frozen=True, slots=True)
class ModeWord:
    """What the MODE and RANK columns say. mixed: what the row stands for does not all train alike."""

    mode: Mode
    mixed: bool
    rank: int | None

    @property
    def short(self) -> str:
        """`·`, `~`, `lora16`."""
        if self.mixed:
            return "~"
        return "·" if self.mode is Mode.FROZEN else f"{self.mode}{self.rank or '~'}"


class Figures:
    """What a selection comes to on every row; made anew after each change of the selection."""

    def __init__(self, shape: TreeShape, selection: Selection, lora_r: int) -> None:
        self._shape = shape
        self._selection = selection
        self.lora_r = lora_r
        self._trained: dict[str, int] = {}
        for name, choice in selection.choices.items():
            number = lora_parameters(shape.manifest.module(name), choice.r or lora_r)
            for at in _self_and_above(name):
                self._trained[at] = self._trained.get(at, 0) + number

    def parameters(self, row: Row) -> int:
        by_name = self._shape.manifest.by_name
        return sum(by_name[name].parameters for name in row.names)

    def trained(self, row: Row) -> int:
        """Numbers that train in all modules the row stands for."""
        return sum(self._trained.get(name, 0) for name in row.names)

    def would_add(self, row: Row) -> int:
        """Numbers that would train at the spec's rank if everything the row reaches were adapted."""
        manifest, r = self._shape.manifest, self.lora_r
        return sum(lora_parameters(manifest.module(name), r) for name in self._shape.targets(row))

    def mode(self, row: Row) -> ModeWord:
        choices = {self._selection.choices.get(name) for name in self._shape.targets(row)}
        modes = {choice.mode if choice else Mode.FROZEN for choice in choices}
        if len(modes) > 1:
            return ModeWord(Mode.FROZEN, True, None)
        mode = modes.pop() if modes else Mode.FROZEN
        ranks = {self._rank(choice) for choice in choices if choice}
        return ModeWord(mode, False, ranks.pop() if len(ranks) == 1 else None)

    def _rank(self, choice: Choice) -> int:
        return choice.r or self.lora_r


def _self_and_above(name: str) -> Iterator[str]:
    while name:
        yield name
        name = name.rpartition(".")[0]


class Rows:
    """The rows that are visible, the cursor among them, and a marked range."""

    def __init__(self, shape: TreeShape) -> None:
        self.shape = shape
        self.open: set[str] = set()
        self.rows: list[Row] = shape.top()
        self.cursor = 0
        self.anchor: int | None = None
        runs = [row for row in self.rows if row.kind == "run"]
        for row in runs[:1]:
            self.unfold(self.rows.index(row))
            for below in shape.below(row):
                if below.opens and below.kind == "module":
                    self.unfold(self.rows.index(below))

    @property
    def row(self) -> Row:
        return self.rows[self.cursor]

    # Moving

    def move(self, by: int) -> None:
        self.go(self.cursor + by)

    def go(self, to: int) -> None:
        """To this row, or to the nearest end."""
        self.cursor = min(max(to, 0), len(self.rows) - 1)

    def parent(self, index: int) -> int | None:
        depth = self.rows[index].depth
        above = (at for at in range(index - 1, -1, -1) if self.rows[at].depth < depth)
        return next(above, None)

    # Folding

    def unfold(self, index: int) -> None:
        row = self.rows[index]
        if row.opens and row.key not in self.open:
            self.open.add(row.key)
            opened = list(self._opened(row))
            self.rows[index + 1 : index + 1] = opened
            self._shift(index, len(opened))

    def fold(self, index: int) -> None:
        row = self.rows[index]
        if row.key in self.open:
            self.open.discard(row.key)
            end = index + 1
            while end < len(self.rows) and self.rows[end].depth > row.depth:
                end += 1
            del self.rows[index + 1 : end]
            self._shift(index, index + 1 - end)

    def toggle_fold(self, index: int) -> None:
        if self.rows[index].key in self.open:
            self.fold(index)
        else:
            self.unfold(index)

    def inward(self) -> None:
        """Open the row; when it is open, go to what stands first under it."""
        if self.row.key in self.open:
            self.move(1)
        else:
            self.unfold(self.cursor)

    def outward(self) -> None:
        """Fold the row; when it is folded, go to the one it stands under."""
        if self.row.key in self.open:
            self.fold(self.cursor)
        else:
            above = self.parent(self.cursor)
            if above is not None:
                self.go(above)

    # A marked range

    def mark(self) -> None:
        """Start a range at the cursor, or drop the one there is."""
        self.anchor = self.cursor if self.anchor is None else None

    @property
    def span(self) -> range:
        """Indices of the marked range; just the cursor's when nothing is marked."""
        if self.anchor is None:
            return range(self.cursor, self.cursor + 1)
        first, last = sorted((self.anchor, self.cursor))
        return range(first, last + 1)

    def marked(self) -> list[Row]:
        return [self.rows[index] for index in self.span]

    def marked_targets(self) -> tuple[str, ...]:
        """What a toggle acts on, each module once."""
        names = (name for row in self.marked() for name in self.shape.targets(row))
        return tuple(dict.fromkeys(names))

    # Finding

    def matches(self, words: str) -> list[tuple[tuple[Row, ...], Row]]:
        """Rows whose name, class or role holds `words`; single blocks only when nothing else does."""
        wanted = words.strip().lower()
        if not wanted:
            return []
        folded = [(above, row) for above, row in self.shape.walk() if self._says(row, wanted)]
        if folded:
            return folded
        single = self.shape.walk(singles=True)
        return [(above, row) for above, row in single if self._is_named(row, wanted)]

    def reveal(self, above: tuple[Row, ...], row: Row) -> None:
        """Open everything above the row and put the cursor on it."""
        for parent in above:
            self.unfold(self._index(parent.key))
        self.go(self._index(row.key))

    def find(self, words: str, step: int = 1) -> int:
        """Go to the next match (step 1), the one before (-1), or stay on one (0). How many there are."""
        found = self.matches(words)
        if not found:
            return 0
        order = {row.key: number for number, (_, row) in enumerate(self.shape.walk(singles=True))}
        here = order[self.row.key]
        places = [order[row.key] for _, row in found]
        if step < 0:
            before = [number for number, place in enumerate(places) if place < here]
            chosen = before[-1] if before else len(found) - 1
        else:
            first = here + step
            after = [number for number, place in enumerate(places) if place >= first]
            chosen = after[0] if after else 0
        self.reveal(*found[chosen])
        return len(found)

    def _says(self, row: Row, wanted: str) -> bool:
        if row.kind in ("singles", "group"):
            return False
        module = self.shape.module(row)
        roles = module.role.value.lower() if module.role else ""
        return wanted in row.label.lower() or wanted in roles or wanted in module.cls.lower()

    def _is_named(self, row: Row, wanted: str) -> bool:
        return row.kind == "module" and len(row.names) == 1 and wanted in row.names[0].lower()

    def _index(self, key: str) -> int:
        return next(index for index, row in enumerate(self.rows) if row.key == key)

    def _opened(self, row: Row) -> Iterator[Row]:
        for below in self.shape.below(row):
            yield below
            if below.key in self.open:
                yield from self._opened(below)

    def _shift(self, index: int, by: int) -> None:
        """Keep cursor and anchor on their rows when rows after `index` come or go."""
        if self.cursor > index:
            self.cursor = max(self.cursor + by, index)
        if self.anchor is not None and self.anchor > index:
            self.anchor = max(self.anchor + by, index)
