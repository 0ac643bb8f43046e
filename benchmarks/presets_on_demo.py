"""All nine presets on the demo, under one budget, through the real worker.

Expected before measuring: presets with the head lead in loss, attention alone fails on exact match.
"""

import sys
import tempfile
from pathlib import Path

from benchmarks.table import Table
from finetune_tui.core.runs.curves import Curves
from finetune_tui.core.runs.directory import create_run
from finetune_tui.core.runs.events import read_events
from finetune_tui.core.runs.supervisor import supervise, worker_command
from finetune_tui.core.text import count
from finetune_tui.core.tuning.presets import PRESETS
from finetune_tui.core.tuning.spec import demo_spec
from finetune_tui.core.tuning.spec_file import write_spec

HEAD = ("preset", "trains", "exact before", "exact after", "held-out loss", "seconds")


def measure() -> Table:
    with tempfile.TemporaryDirectory() as home:
        rows = [_row(Path(home), preset) for preset in PRESETS]
    expected = "attention alone fails, presets with the head lead in loss"
    return Table("The nine presets on the demo, one budget", expected, HEAD, rows)


def _row(home: Path, preset: str) -> tuple[str, ...]:
    run = create_run(home, write_spec(demo_spec(preset)), preset)
    supervise(run, worker_command(run, resume=False))
    curves = Curves()
    curves.feed(read_events(run.events_path))
    ending, start = curves.ending or {}, curves.start or {}
    exact = {when: f"{right}/{total}" for when, (right, total) in curves.measured.items()}
    print(preset, exact, file=sys.stderr, flush=True)
    return (
        preset,
        count(start.get("trainable_parameters", 0)),
        exact.get("before", "?"),
        exact.get("after", "?"),
        f"{curves.best[1]:.4f}" if curves.best else "?",
        f"{ending.get('seconds', 0):.0f}",
    )


if __name__ == "__main__":
    print(measure())
