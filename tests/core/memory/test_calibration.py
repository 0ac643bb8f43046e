"""What is kept of measured CUDA contexts, and what a damaged file does (nothing)."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from finetune_tui.core.hardware import Gpu
from finetune_tui.core.memory import calibration
from finetune_tui.core.memory.calibration import LEAST, MOST, context_for, remember_context

MIB = 2**20
GPU = Gpu(0, name="NVIDIA A100", driver="580.95")


def test_nothing_is_known_before_a_run_measured_it(tmp_path: Path) -> None:
    assert context_for(tmp_path, GPU) is None
    assert context_for(tmp_path, None) is None


def test_the_median_of_the_last_few_counts(tmp_path: Path) -> None:
    for context in (1900, 1900, 400, 410, 420, 430, 440):
        assert remember_context(tmp_path, GPU, context * MIB)
    assert context_for(tmp_path, GPU) == 420 * MIB


@pytest.mark.parametrize(
    "other",
    [
        Gpu(1, name="NVIDIA H100", driver="580.95"),
        Gpu(0, name="NVIDIA A100", driver="590.10"),
        Gpu(0, name=None, driver="580.95"),
        Gpu(0, name="NVIDIA A100", driver=None),
    ],
)
def test_another_card_or_driver_is_another_constant(tmp_path: Path, other: Gpu) -> None:
    remember_context(tmp_path, GPU, 400 * MIB)
    assert context_for(tmp_path, other) is None


def test_the_torch_that_is_installed_counts_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calibration, "installed_torch", lambda: "2.12.0")
    remember_context(tmp_path, GPU, 300 * MIB)
    monkeypatch.setattr(calibration, "installed_torch", lambda: "2.13.0")
    assert context_for(tmp_path, GPU) == 300 * MIB  # better than a constant for all cards
    remember_context(tmp_path, GPU, 500 * MIB)
    assert context_for(tmp_path, GPU) == 500 * MIB


@pytest.mark.parametrize("context", [0, LEAST - 1, MOST + 1, -5])
def test_what_is_no_context_is_not_kept(tmp_path: Path, context: int) -> None:
    assert not remember_context(tmp_path, GPU, context)
    assert not list(tmp_path.iterdir())


def test_the_file_stays_small(tmp_path: Path) -> None:
    for number in range(130):
        remember_context(tmp_path, GPU, LEAST + number)
    content = json.loads((tmp_path / "calibration.json").read_text())
    assert [one["context"] - LEAST for one in content["contexts"]] == list(range(30, 130))


@given(st.binary(max_size=300))
def test_any_bytes_count_as_empty_and_are_replaced(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    home = tmp_path_factory.mktemp("home")
    (home / "calibration.json").write_bytes(data)
    assert context_for(home, GPU) is None
    assert remember_context(home, GPU, 450 * MIB)
    assert context_for(home, GPU) == 450 * MIB


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4),
    max_leaves=5,
)
RECORD = st.dictionaries(
    st.sampled_from(["gpu", "driver", "torch", "context", "time", "more"]),
    VALUES | st.sampled_from(["NVIDIA A100", "580.95", 2**29, -1, float("nan")]),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(RECORD, max_size=6))
def test_any_records_never_raise_and_only_plausible_ones_count(
    tmp_path: Path, records: list[dict[str, Any]]
) -> None:
    (tmp_path / "calibration.json").write_text(json.dumps({"contexts": records}))
    found = context_for(tmp_path, GPU)
    assert found is None or LEAST <= found <= MOST
    assert remember_context(tmp_path, GPU, 450 * MIB)
    json.loads((tmp_path / "calibration.json").read_text(), parse_constant=pytest.fail)


def test_a_folder_in_its_place_is_no_crash(tmp_path: Path) -> None:
    (tmp_path / "calibration.json").mkdir()
    assert context_for(tmp_path, GPU) is None
    with pytest.raises(IsADirectoryError):
        remember_context(tmp_path, GPU, 450 * MIB)
