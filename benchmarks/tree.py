"""Opening a model to its tree, and a key to the repainted screen, against a bare tree of the same lines.

Both run headless at 120×36, in turn. The bare app has a Textual `Tree` of exactly the lines that ours shows,
expanded, and a footer: it is filled and painted, and then changes one label a key. Ours is given the manifest
and opens it in the app; a key then toggles all of the model's blocks, the widest edit there is.

Expected before measuring: to open, 2 times the bare tree for Phi-2, 8B and the MoE, whose few lines cost
little beside two panes and four estimates; with 20 000 modules folded 20 times (the manifest is read through,
the bare tree has 15 lines), and 20 000 lines unfolded below 1, since only lines in view are drawn. To toggle,
4 times, 12 with 20 000 modules (11 662 of them change), and below 1 when they are unfolded.
"""

import asyncio
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from textual.app import App, ComposeResult
from textual.pilot import Pilot
from textual.widgets import Footer, Tree

from benchmarks.synthetic import synthetic
from benchmarks.table import Table
from finetune_tui.core.models.catalog import catalog
from finetune_tui.core.models.manifest import Manifest
from finetune_tui.core.models.resolve import ModelReference
from finetune_tui.tui.app import FinetuneApp
from finetune_tui.tui.services import Services, real_services
from finetune_tui.tui.widgets.module_tree import ModuleTree
from finetune_tui.tui.widgets.tree_rows import Rows
from finetune_tui.tui.widgets.tree_shape import Row, TreeShape

SIZE = (120, 36)
TURNS, PRESSES = 3, 12


class Bare(App[None]):
    """A tree of these lines, one of which changes with a key."""

    BINDINGS = [("space", "change", "change"), ("o", "fill", "fill")]

    def __init__(self, rows: list[Row]) -> None:
        super().__init__()
        self._rows = rows

    def compose(self) -> ComposeResult:
        yield Tree("model")
        yield Footer()

    def action_fill(self) -> None:
        tree = self.query_one(Tree)
        tree.root.expand()
        above = [tree.root]
        for row in self._rows:
            del above[row.depth + 1 :]
            above.append(above[-1].add(row.label, expand=True, allow_expand=row.opens))

    def action_change(self) -> None:
        node = self.query_one(Tree).root.children[1]
        node.set_label(f"{node.label}".swapcase())


def _services(home: str, manifest: Manifest) -> Services:
    real = real_services(Path(home))
    return Services(
        **{name: getattr(real, name) for name in Services.__slots__ if name != "load_manifest"},
        load_manifest=lambda _reference: manifest,
    )


def _rows(manifest: Manifest, unfolded: bool) -> Rows:
    rows = Rows(TreeShape(manifest))
    if unfolded:
        singles = next(row for row in rows.rows if row.kind == "singles")
        rows.unfold_below(singles.key, 600)
    return rows


async def _bare(rows: Rows) -> tuple[float, list[float]]:
    app = Bare(rows.rows)
    async with app.run_test(size=SIZE) as pilot:
        began = time.perf_counter()
        await pilot.press("o")
        opened = time.perf_counter() - began
        return opened, await _presses(pilot)


async def _ours(manifest: Manifest, unfolded: bool) -> tuple[float, list[float]]:
    reference = ModelReference(manifest.model, manifest.model, "hub", None, None)
    with tempfile.TemporaryDirectory() as home:
        app = FinetuneApp(_services(home, manifest))
        async with app.run_test(size=SIZE) as pilot:
            await _settled(pilot)
            await app.action_show_place("layers")
            await pilot.pause()
            began = time.perf_counter()
            app.opening.model(reference)
            await _until(pilot, lambda: app.session.manifest is manifest and _shows(app))
            opened = time.perf_counter() - began
            await _settled(pilot)
            rows = app.query_one(ModuleTree).rows
            assert rows is not None
            if unfolded:
                rows.go(next(at for at, row in enumerate(rows.rows) if row.kind == "singles"))
                await pilot.press("L")
                await _settled(pilot)
            await pilot.press("g", "j")
            return opened, await _presses(pilot)


def _shows(app: FinetuneApp) -> bool:
    return app.query_one(ModuleTree).rows is not None


async def _presses(pilot: Pilot[Any]) -> list[float]:
    times = []
    for _ in range(PRESSES):
        began = time.perf_counter()
        await pilot.press("space")
        times.append(time.perf_counter() - began)
    return times[2:]


async def _settled(pilot: Pilot[Any]) -> None:
    await pilot.pause()
    while any(not worker.is_finished for worker in pilot.app.workers):
        await pilot.app.workers.wait_for_complete()
        await pilot.pause()


async def _until(pilot: Pilot[Any], done: Callable[[], bool]) -> None:
    while not done():
        await asyncio.sleep(0.001)
    await pilot.pause()


def measure() -> Table:
    """Medians of milliseconds, and the ratios of medians."""
    entries = catalog()
    models = [
        ("Phi-2", entries["microsoft/phi-2"].manifest, False),
        ("Llama-3.1-8B", entries["meta-llama/Llama-3.1-8B"].manifest, False),
        ("Qwen3-30B-A3B", entries["Qwen/Qwen3-30B-A3B"].manifest, False),
        ("20 000 modules, folded", synthetic, False),
        ("20 000 modules, unfolded", synthetic, True),
    ]
    lines = []
    for name, make, unfolded in models:
        rows = _rows(make(), unfolded)
        bare: list[tuple[float, list[float]]] = []
        ours: list[tuple[float, list[float]]] = []
        for _ in range(TURNS):
            bare.append(asyncio.run(_bare(rows)))
            # A copy that nothing is remembered of: what a manifest is read through for is part of opening.
            ours.append(asyncio.run(_ours(Manifest.from_json(make().to_json()), unfolded)))
        lines.append((name, str(len(rows.rows)), *_compared(bare, ours)))
    head = (
        "model",
        "lines",
        "open: bare",
        "ours",
        "ratio",
        "toggle: bare",
        "ours (worst)",
        "ratio",
    )
    expected = "to open 2, with 20 000 modules 20, unfolded below 1; to toggle 4, 12, below 1"
    return Table("The tree at size, milliseconds", expected, head, lines)


def _compared(
    bare: list[tuple[float, list[float]]], ours: list[tuple[float, list[float]]]
) -> tuple[str, ...]:
    opened = [1000 * statistics.median(turn[0] for turn in each) for each in (bare, ours)]
    keys = [[1000 * press for turn in each for press in turn[1]] for each in (bare, ours)]
    middle = [statistics.median(each) for each in keys]
    return (
        f"{opened[0]:.0f}",
        f"{opened[1]:.0f}",
        f"{opened[1] / opened[0]:.2f}",
        f"{middle[0]:.1f}",
        f"{middle[1]:.1f} ({max(keys[1]):.0f})",
        f"{middle[1] / middle[0]:.2f}",
    )


if __name__ == "__main__":
    print(measure())
