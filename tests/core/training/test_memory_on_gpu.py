"""The benchmark of predicted and measured memory: two tiny cases really run, on the CPU; its table."""

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import memory_on_gpu
from benchmarks.memory_on_gpu import CASES, TINY, measure, result_path, table
from finetune_tui.core.models.catalog import catalog

GIB = 2**30


@pytest.mark.soak
@pytest.mark.training
def test_two_cases_run_here_and_are_not_run_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    memory_on_gpu.main(["--tiny", "--cpu", "--into", str(tmp_path), "--only", "2 × 64"])
    capsys.readouterr()
    cases = [case for case in TINY if "2 × 64" in case.name]
    assert len(cases) == 2
    for case in cases:
        found = json.loads(result_path(tmp_path, case).read_text())
        assert found["error"] is None, found["error"]
        memory = found["memory"]
        assert (memory["when"], memory["step"], memory["tokens"]) == ("end", 3, 64)
        assert memory["peak_device"] > 100 * 2**20
    assert "2 real runs" in (tmp_path / "memory_on_gpu.md").read_text()

    before = [result_path(tmp_path, case).stat().st_mtime_ns for case in cases]
    measure(cases, tmp_path, use_cpu=True)
    assert [result_path(tmp_path, case).stat().st_mtime_ns for case in cases] == before
    assert capsys.readouterr().out.count("GiB") == 2


def test_the_cases_are_what_was_asked_for() -> None:
    assert len({case.name for case in CASES}) == len(CASES) >= 24
    for case in CASES:
        manifest = catalog()[case.model].manifest()
        assert case.selection(manifest).choices
        assert case.spec(use_cpu=False).max_length == case.length
    assert {case.length for case in CASES} == {512, 2048}
    for model in {case.model for case in CASES}:
        own = [case for case in CASES if case.model == model]
        assert {case.checkpointing for case in own} == {True, False}
        assert {case.method for case in own} >= {"LoRA", "8-bit", "last 4", "full"}


def result(device: float, reserved: float | None = None) -> dict[str, Any]:
    """10 ± 1 GiB were predicted. GiB."""
    measured = {"allocated": device - 1, "reserved": reserved or device - 0.5, "device": device}
    return {
        "case": f"case {device}",
        "error": None,
        "seconds": 9.0,
        "machine": {
            **dict.fromkeys(("python", "torch", "cuda", "transformers", "peft"), "1"),
            **dict.fromkeys(("bitsandbytes", "accelerate"), "1"),
            "gpu": "A100",
            "total": 40 * GIB,
            "driver": "5",
        },
        "memory": {
            "context": GIB // 2,
            "predicted_allocated": 9 * GIB,
            "predicted_reserved": int(9.5 * GIB),
            "predicted_device": 10 * GIB,
            "predicted_band": GIB,
            **{f"peak_{name}": int(value * GIB) for name, value in measured.items()},
        },
    }


def test_the_table_names_the_machine_and_counts_wrong_verdicts() -> None:
    text = table([result(10.0), result(9.5), {"case": "broken", "error": "it does not fit: …"}])
    assert "A100 40 GiB, driver 5; python 1, torch 1" in text
    assert "| case 10.0 | 9.00 → 9.00 | +0.0% | 9.50 → 9.50 | +0.0% | 10.00 → 10.00 |" in text
    assert "| broken | it does not fit: … |" in text
    assert "reserved: mean error 2.8%, largest 5.6%, 2 runs" in text
    assert "told to fit and does not: 0 of 16; not told to fit and would: 0" in text

    assert "told to fit and does not: 1 of 8" in table([result(11.9)])  # on the card of 12 GB
    assert "not told to fit and would: 1" in table([result(7.5)])  # on the card of 8 GB


def test_what_could_not_be_measured_is_unknown() -> None:
    hidden = result(10.0)
    hidden["memory"] |= {"peak_device": None, "context": None}
    text = table([hidden])
    assert "| unknown |  | unknown | 9 |" in text
    assert "told to fit and does not: 0 of 0" in text
