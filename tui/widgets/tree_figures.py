"""What a selection comes to on every row: its mode in a word, and how many numbers train."""

from collections import Counter
from dataclasses import dataclass

from finetune_tui.core.tuning.modes import LORA, Choice, Mode
from finetune_tui.core.tuning.selection import Selection, module_parameters
from finetune_tui.tui.widgets.tree_shape import Row, Strand, TreeShape


@dataclass(frozen=True, slots=True)
class ModeWord:
    """What the MODE and RANK columns say. mixed: what the row stands for does not all train alike."""

    mode: Mode
    mixed: bool
    rank: int | None

    @property
    def short(self) -> str:
        """`·`, `~`, `lora16`, `full`, `bias`."""
        if self.mixed:
            return "~"
        if self.mode is Mode.FROZEN:
            return "·"
        return f"{self.mode}{self.rank or '~'}" if self.mode is Mode.LORA else str(self.mode)


@dataclass(frozen=True, slots=True)
class _Told:
    """Of one row: its mode, and the numbers that train in it."""

    mode: ModeWord
    trained: int


class Figures:
    """Made anew after each change of the selection; a row is counted when it is first drawn."""

    def __init__(self, shape: TreeShape, selection: Selection, lora_r: int) -> None:
        self._shape = shape
        self._selection = selection
        self.lora_r = lora_r
        # Choices are few and shared: counting their identities spares hashing each of thousands.
        self._by_id = {id(choice): choice for choice in selection.choices.values()}
        self._told: dict[str, _Told] = {}
        self._counted: dict[tuple[str, int], list[tuple[Choice, int]]] = {}

    def parameters(self, row: Row) -> int:
        """All in the row; a shared matrix counts where it is owned."""
        if self._shape.alias_of(row):
            return 0
        by_name = self._shape.manifest.by_name
        return sum(
            by_name[bundle[0]].parameters * len(bundle) for bundle in self._shape.bundles(row)
        )

    def trained(self, row: Row) -> int:
        """Numbers that train in all modules the row stands for."""
        return self._of(row).trained

    def would_add(self, row: Row) -> int:
        """Numbers that would train at the spec's rank if everything the row reaches were adapted."""
        reached = set(self._shape.targets(row))
        manifest = self._shape.manifest
        return sum(
            len(strand.names) * module_parameters(manifest, strand.module, LORA, self.lora_r)
            for strand in self._shape.strands(row)
            if strand.names[0] in reached
        )

    def mode(self, row: Row) -> ModeWord:
        return self._of(row).mode

    def mode_of(self, name: str) -> ModeWord:
        """The same for one module by its name, what lies below it left out."""
        choice = self._selection.choices.get(name)
        if choice is None:
            return ModeWord(Mode.FROZEN, False, None)
        return ModeWord(choice.mode, False, self._rank(choice))

    def is_in(self, name: str, mode: Mode, rank: int | None) -> bool:
        """Whether one module is in this mode; with a rank, at that rank."""
        choice = self._selection.choices.get(name)
        if choice is None:
            return mode is Mode.FROZEN
        return choice.mode is mode and rank in (None, self._rank(choice))

    def _of(self, row: Row) -> _Told:
        told = self._told.get(row.key)
        if told is None:
            told = self._told[row.key] = self._count(row)
        return told

    def _count(self, row: Row) -> _Told:
        owner = self._shape.alias_of(row)
        if owner:
            return _Told(self.mode_of(owner), 0)
        manifest = self._shape.manifest
        chosen: Counter[Mode] = Counter()
        ranks = set()
        trained = 0
        for strand in self._shape.strands(row):
            module = strand.module
            for choice, times in self._chosen_in(strand):
                chosen[choice.mode] += times
                ranks.add(self._rank(choice))
                trained += times * module_parameters(manifest, module, choice, self.lora_r)
        if not chosen:
            return _Told(ModeWord(Mode.FROZEN, False, None), 0)
        mode = next(iter(chosen))
        mixed = len(chosen) > 1 or chosen[mode] < len(self._shape.targets(row, mode))
        if mixed:
            return _Told(ModeWord(Mode.FROZEN, True, None), trained)
        return _Told(ModeWord(mode, False, ranks.pop() if len(ranks) == 1 else None), trained)

    def _chosen_in(self, strand: Strand) -> list[tuple[Choice, int]]:
        """Each choice in the strand with how often; counted once for all rows that share it."""
        key = (strand.names[0], len(strand.names))
        found = self._counted.get(key)
        if found is None:
            identities = Counter(map(id, map(self._selection.choices.get, strand.names)))
            found = self._counted[key] = [
                (self._by_id[identity], times)
                for identity, times in identities.items()
                if identity in self._by_id
            ]
        return found

    def _rank(self, choice: Choice) -> int | None:
        return (choice.r or self.lora_r) if choice.mode is Mode.LORA else None
