"""Run every measurement and write benchmarks/results/results.md and runs.md."""

import os
import platform
import sys
from importlib.metadata import version
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))  # `python benchmarks/run.py` from anywhere

from benchmarks import first_paint, memory, presets_on_demo, runs, toggle, tree

RESULTS = Path(__file__).parent / "results" / "results.md"


def main() -> None:
    names = ("textual", "torch", "transformers", "peft")
    versions = ", ".join(f"{name} {version(name)}" for name in names)
    parts = [
        "# Measurements",
        f"Python {platform.python_version()}, {versions}, {os.cpu_count()} cores, no GPU.",
    ]
    for measure in (
        *(first_paint.measure, toggle.measure, tree.measure, presets_on_demo.measure),
        *(memory.measure_points, memory.measure),
    ):
        parts.append(str(measure()))
        print(parts[-1], flush=True)
    RESULTS.write_text("\n".join(parts))
    print(runs.record())  # a file of its own, as training.py has


if __name__ == "__main__":
    main()
