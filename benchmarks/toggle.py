"""From a key to the repainted screen: toggling a block of Phi-2 against a bare tree that changes one label.

Both run headless at 120×36 under the same driver; a key is timed until the app is idle again. Expected
before measuring: three times the bare tree, since four estimates are computed and two panes repainted.
"""

import asyncio
import statistics
import tempfile
import time
from pathlib import Path

from textual.app import App, ComposeResult
from textual.widgets import Footer, Tree

from benchmarks.table import Table
from finetune_tui.core.models.resolve import find_model
from finetune_tui.tui.app import FinetuneApp
from finetune_tui.tui.services import real_services

PRESSES = 60
SIZE = (120, 36)


class Bare(App[None]):
    """A tree of as many lines as fit, one of which changes with a key."""

    BINDINGS = [("space", "change", "change")]

    def compose(self) -> ComposeResult:
        tree: Tree[None] = Tree("model")
        tree.root.expand()
        for number in range(30):
            tree.root.add_leaf(f"module {number}")
        yield tree
        yield Footer()

    def action_change(self) -> None:
        node = self.query_one(Tree).root.children[3]
        node.set_label(f"{node.label}".swapcase())


async def _time_presses(app: App[object], prepare: bool) -> list[float]:
    async with app.run_test(size=SIZE) as pilot:
        if prepare:
            assert isinstance(app, FinetuneApp)
            reference = find_model("phi-2")
            assert reference.entry is not None
            app.session.open_model(reference, reference.entry.manifest())
            await pilot.press("2", "j", "j")
            await pilot.pause()
        times = []
        for _ in range(PRESSES):
            began = time.perf_counter()
            await pilot.press("space")
            times.append(time.perf_counter() - began)
        return times[5:]


def measure() -> Table:
    """Median milliseconds a key, both ways, and the ratio."""
    with tempfile.TemporaryDirectory() as home:
        bare = asyncio.run(_time_presses(Bare(), prepare=False))  # type: ignore[arg-type]
        ours = asyncio.run(
            _time_presses(FinetuneApp(real_services(Path(home))), prepare=True)  # type: ignore[arg-type]
        )
    rows = [
        ("bare tree, one label", _milliseconds(bare)),
        ("Layers, a block of Phi-2", _milliseconds(ours)),
        ("ratio of medians", f"{statistics.median(ours) / statistics.median(bare):.2f}"),
    ]
    head = ("", "median ms a key (95 %)")
    return Table("Toggle to repaint", "3 times the bare tree", head, rows)


def _milliseconds(times: list[float]) -> str:
    ordered = sorted(times)
    return f"{1000 * statistics.median(times):.1f} ({1000 * ordered[int(len(ordered) * 0.95)]:.1f})"


if __name__ == "__main__":
    print(measure())
