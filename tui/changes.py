"""What a selection changed against where it came from, in the fewest words."""

from collections.abc import Iterable
from itertools import groupby
from typing import TYPE_CHECKING

from finetune_tui.core.models.manifest import Manifest
from finetune_tui.core.tuning.patterns import fold
from finetune_tui.core.tuning.selection import Selection
from finetune_tui.tui.widgets.lines import Line, dim, line

if TYPE_CHECKING:
    from finetune_tui.tui.session import Session

_MANY = 2_000  # names; more are not told one by one


def changed_line(session: "Session") -> Line:
    """The last line of Layers: `changed: +structured-output −layers.0–23`."""
    if session.manifest is None or not session.selection.choices:
        return line(dim(" nothing chosen: p for presets, space to choose by hand"))
    words = changed_words(
        session.manifest, session.preset, session.preset_selection, session.selection
    )
    return line(dim(" changed: "), words)


def changed_words(manifest: Manifest, preset: str | None, base: Selection, now: Selection) -> str:
    """`+structured-output −layers.0–23 +lm_head mlp.fc1→r8`; empty when nothing is chosen.

    base: what the preset alone selects. Whole blocks are named once.
    """
    words = [f"+{preset}"] if preset else []
    if len(now.choices) > _MANY:
        alike = now == base
        return " ".join([*words, "" if alike else f"{len(now.choices):,} modules"]).strip()
    removed = [name for name in base.choices if name not in now.choices]
    added = [name for name in now.choices if name not in base.choices]
    words += [f"−{part}" for part in _short(manifest, removed, base)]
    words += [f"+{part}" for part in _short(manifest, added, now)]
    ranks: dict[int, list[str]] = {}
    for name, choice in now.choices.items():
        if choice.r is not None and choice != base.choices.get(name):
            ranks.setdefault(choice.r, []).append(name)
    for r, names in ranks.items():
        words += [f"{part}→r{r}" for part in _short(manifest, names, now)]
    return " ".join(words)


def short_names(manifest: Manifest, names: Iterable[str]) -> list[str]:
    """Patterns as the tree writes them: `layers.0–31.mlp.fc2`."""
    prefix = manifest.blocks_at.rpartition(".")[0]
    return [
        pattern.removeprefix(f"{prefix}.").replace("{", "").replace("}", "").replace("..", "–")
        for pattern in fold(names)
    ]


def _without_blocks(manifest: Manifest, pattern: str) -> str:
    """What holds for every block needs no block numbers: `mlp.fc2`."""
    container = manifest.blocks_at.rpartition(".")[2]
    return pattern.removeprefix(f"{container}.0–{manifest.blocks - 1}.")


def _short(manifest: Manifest, names: list[str], whole: Selection) -> list[str]:
    """Blocks of which everything in `whole` is named come first, as a range."""
    in_blocks: dict[int, set[str]] = {}
    everything: dict[int, set[str]] = {}
    for target, chosen in ((in_blocks, names), (everything, list(whole.choices))):
        for name in chosen:
            block = manifest.block_index(name)
            if block is not None:
                target.setdefault(block, set()).add(name)
    full = [block for block, found in in_blocks.items() if found == everything.get(block)]
    if len(full) == len(everything):  # the same everywhere: the modules say more than the blocks
        full = []
    container = manifest.blocks_at.rpartition(".")[2]
    rest = [name for name in names if manifest.block_index(name) not in full]
    blocks = [f"{container}.{span}" for span in _spans(sorted(full))]
    return blocks + [_without_blocks(manifest, name) for name in short_names(manifest, rest)]


def _spans(numbers: list[int]) -> list[str]:
    spans = []
    for _, run in groupby(enumerate(numbers), key=lambda pair: pair[1] - pair[0]):
        found = [number for _, number in run]
        spans.append(str(found[0]) if len(found) == 1 else f"{found[0]}–{found[-1]}")
    return spans


def without_block(manifest: Manifest, name: str) -> str:
    """`model.layers.7.mlp.fc2` → `mlp.fc2`; a name outside the blocks stays whole."""
    block = manifest.block_index(name)
    return name if block is None else name.removeprefix(f"{manifest.blocks_at}.{block}")
