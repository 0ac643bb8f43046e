"""5 GB of rows: how much work opening and splitting are, and how little memory they take."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.core.data.large import write_large

pytestmark = pytest.mark.soak

_SCRIPT = """
import json, resource, sys, time
from finetune_tui.core.data.source import open_rows, split
begin = time.process_time()
rows = open_rows([sys.argv[1]])
opened = time.process_time()
train, held_out = split(rows, 0.05, 3)
done = time.process_time()
last = train[len(train) - 1]
print(json.dumps({
    "rows": len(rows), "held_out": len(held_out), "lines": [train[0].line, last.line],
    "open_s": opened - begin, "split_s": done - opened,
    "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
}))
"""


def test_five_gigabytes_are_opened_and_split(tmp_path: Path) -> None:
    path = tmp_path / "large.jsonl"
    rows = write_large(path)
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT, str(path)], capture_output=True, text=True, check=True
    )
    path.unlink()
    found = json.loads(done.stdout)
    print(found)
    assert found["rows"] == rows
    assert found["held_out"] == 2000
    assert found["lines"][1] in range(rows - 100, rows + 1)
    # Seconds of one core: what a disk that is slower than this adds is the disk's.
    assert found["open_s"] < 30
    assert found["split_s"] < 45
    assert found["peak_mib"] < 40 + rows * 9 // 2**20
