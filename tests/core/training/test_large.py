"""A file of 5 GB, from the start of the run to its first step, through the real worker."""

import json
import time
from pathlib import Path

import pytest

from finetune_tui.core import demo

from .conftest import MakeRun, finish

SIZE = 5 * 10**9
SECONDS = 90
MEMORY = 2 * 2**30


def write_large(path: Path, size: int) -> int:
    """Rows of the demo's, no two of them equal, until the file has `size` bytes; returns how many."""
    rows = [json.loads(line) for line in demo.TRAIN_FILE.read_text().splitlines()]
    block = "".join(
        json.dumps({**row, "prompt": f"@@@@@@@@ {row['prompt']}"}) + "\n" for row in rows
    ).encode()
    blocks = -(-size // len(block))
    with path.open("wb") as file:
        for number in range(blocks):
            file.write(block.replace(b"@@@@@@@@", b"%08d" % number))
    return blocks * len(rows)


@pytest.mark.soak
@pytest.mark.training
def test_five_gigabytes_reach_the_first_step_in_time_and_in_little_memory(
    make_run: MakeRun, tmp_path: Path
) -> None:
    path = tmp_path / "large.jsonl"
    rows = write_large(path, SIZE)
    few = {"max_steps": 3, "eval_steps": 0, "save_steps": 0, "eval_samples": 0}
    [small] = [e for e in finish(make_run(**few)) if e["kind"] == "finished"]
    run = make_run(**few, train_files=[str(path)], eval_files=[], eval_split=0.01)
    began = time.time()
    events = finish(run)
    [data] = [e for e in events if e["kind"] == "data"]
    assert data["train_rows"] + data["held_out"] == rows
    assert data["held_out"] == 2000
    [first] = [e for e in events if e["kind"] == "step" and e["step"] == 1]
    assert first["t"] - began < SECONDS
    assert events[-1]["peak_memory"] - small["peak_memory"] < MEMORY
    print(f"step 1 after {first['t'] - began:.0f} s, {events[-1]['peak_memory'] / 2**20:.0f} MB")
