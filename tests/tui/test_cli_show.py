"""`show RUN`: what a run took of memory stands beside what was predicted, for people and programs."""

import itertools
import json
from pathlib import Path
from typing import Any

import pytest

from finetune_tui.core.runs.memory_taken import FIGURES
from finetune_tui.core.runs.state import Status
from finetune_tui.tui.cli import main
from tests.tui.runs_fixture import NOW, ending, make_run, memory, preparation, training

Capture = pytest.CaptureFixture[str]


def shown(capsys: Capture, home: Path, *options: str) -> str:
    assert main(["show", "r7", "--home", str(home), *options]) == 0
    return capsys.readouterr().out


def memory_of(capsys: Capture, home: Path) -> dict[str, Any]:
    found = json.loads(shown(capsys, home, "--json"))["memory"]
    assert set(found) == set(FIGURES)
    return dict(found)


def test_a_finished_run(tmp_path: Path, capsys: Capture) -> None:
    events = [*preparation(), *training(1, 300, 0.3), *ending()]
    make_run(tmp_path, events, status=Status.FINISHED)
    words = shown(capsys, tmp_path)
    assert (
        "memory    488M of memory at the peak, predicted 443M for 16×71 tokens: 10% more\n" in words
    )
    figures = memory_of(capsys, tmp_path)
    assert figures["peak_device"] == 488 * 2**20
    assert figures["predicted_device"] == 443 * 2**20
    assert figures["peak_reserved"] is None  # no GPU


def test_a_killed_run_has_what_it_said_early(tmp_path: Path, capsys: Capture) -> None:
    events = [*preparation(), *training(1, 40), memory(NOW - 90, gpu=True)]
    make_run(tmp_path, events, status=Status.KILLED, why="killed by signal 9")
    words = shown(capsys, tmp_path)
    assert (
        "memory    9.1G of the GPU at the peak, predicted 8.9G for 16×71 tokens: 2.2% more\n"
        in words
    )
    assert memory_of(capsys, tmp_path)["peak_allocated"] == int(8.1 * 2**30)


def test_what_is_not_known_is_null(tmp_path: Path, capsys: Capture) -> None:
    make_run(tmp_path, preparation(), status=Status.FAILED, why="no")
    assert "memory  " not in shown(capsys, tmp_path)
    assert set(memory_of(capsys, tmp_path).values()) == {None}


def test_what_is_no_number_is_null(tmp_path: Path, capsys: Capture) -> None:
    broken = {"kind": "memory", "peak_device": "\x1b[2J", "peak_reserved": -1, "peak_memory": 2.5}
    make_run(tmp_path, [*preparation(), broken], status=Status.FAILED, why="no")
    assert set(memory_of(capsys, tmp_path).values()) == {None}


def test_nothing_is_said_twice(tmp_path: Path, capsys: Capture) -> None:
    events = [*preparation(), *training(1, 300, 0.3), *ending()]
    make_run(tmp_path, events, status=Status.FINISHED, why="finished")
    lines = shown(capsys, tmp_path).splitlines()
    assert lines[1] == "finished"
    told = [line[9:] for line in lines[lines.index("") :]]
    assert "measuring" in told
    assert all(one != after for one, after in itertools.pairwise(told))
