"""An export killed at random moments, again and again: torch is imported once, each attempt is a fork.

    python killed.py EXPORT_RUN ATTEMPTS SEED

Prints a line of JSON for each attempt: what lay beside `out` afterwards, and how large `out` is when it is
there; it is taken away before the next.
"""

import json
import os
import random
import shutil
import signal
import sys
import time
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"  # a pool of threads would not survive the fork

from finetune_tui.core.export.merge import work
from finetune_tui.core.runs.directory import RunDirectory
from finetune_tui.core.training.reporter import Reporter


def attempt(run: RunDirectory, patience: float | None) -> bool:
    """False when it was killed. patience: seconds until then."""
    child = os.fork()
    if child == 0:
        with open(os.devnull, "w") as nowhere:  # noqa: PTH123
            os.dup2(nowhere.fileno(), 2)
        reporter = Reporter(run)
        reporter.start()
        work(run, reporter, resume=True)
        os._exit(0)
    if patience is not None:
        time.sleep(patience)
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    return os.WIFEXITED(status) and os.WEXITSTATUS(status) == 0


def main() -> None:
    run, attempts, seed = RunDirectory(Path(sys.argv[1])), int(sys.argv[2]), int(sys.argv[3])
    spec = run.task_spec()
    out = Path(spec.out)  # type: ignore[union-attr]
    numbers = random.Random(seed)
    began = time.monotonic()
    assert attempt(run, None)
    whole = time.monotonic() - began
    for number in range(attempts):
        shutil.rmtree(out, ignore_errors=True)
        patience = numbers.uniform(0.0, 1.1 * whole)
        finished = attempt(run, patience)
        beside = sorted(path.name for path in out.parent.iterdir())
        sizes = {path.name: path.stat().st_size for path in out.glob("*")}
        last = number == attempts - 1
        print(json.dumps([round(patience, 3), finished, beside, sizes]), flush=True)
        if last:
            assert attempt(run, None)


if __name__ == "__main__":
    main()
