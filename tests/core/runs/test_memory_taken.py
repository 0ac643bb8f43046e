"""What a run took beside what was predicted, in words and figures."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune_tui.core.runs.memory_taken import FIGURES, figures, taken
from finetune_tui.core.runs.words import event_words

GIB = 2**30
GPU: dict[str, Any] = {
    "kind": "memory",
    "peak_allocated": 8 * GIB,
    "peak_reserved": int(8.6 * GIB),
    "peak_device": int(9.1 * GIB),
    "peak_memory": 3 * GIB,
    "predicted_reserved": int(8.4 * GIB),
    "predicted_device": int(8.9 * GIB),
    "predicted_band": GIB // 2,
}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "9.1G of the GPU at the peak, predicted 8.9G: 2.2% more"),
        ({"peak_device": int(8.01 * GIB)}, "8.0G of the GPU at the peak, predicted 8.9G: 10% less"),
        (
            {"peak_device": int(8.92 * GIB)},
            "8.9G of the GPU at the peak, predicted 8.9G: as predicted",
        ),
        # A container hides what the process holds in all: torch's own figures are compared.
        ({"peak_device": None}, "8.6G of the GPU at the peak, predicted 8.4G: 2.4% more"),
        ({"predicted_device": None}, "9.1G of the GPU at the peak"),
        (
            {"peak_reserved": None, "peak_allocated": None, "peak_device": 3 * GIB},
            "3.0G of memory at the peak, predicted 8.9G: 66% less",
        ),
    ],
)
def test_in_words(changes: dict[str, Any], words: str) -> None:
    found = taken({**GPU, **changes})
    assert found is not None
    assert found.words == words
    assert event_words({**GPU, **changes}) == f"memory: {words}"


def test_a_run_of_an_earlier_version_says_what_it_has() -> None:
    found = taken({"kind": "finished", "peak_memory": GIB, "peak_allocated": None})
    assert found is not None
    assert found.words == "1.0G of memory at the peak"


@given(
    st.dictionaries(st.sampled_from(FIGURES), st.none() | st.integers() | st.floats() | st.text())
)
def test_anything_in_place_of_a_figure_counts_as_unknown(event: dict[str, Any]) -> None:
    found = taken({"kind": "memory", **event})
    assert found is None or (found.peak > 0 and found.words)
    assert set(figures(event)) == set(FIGURES)
    assert all(value is None or value > 0 for value in figures(event).values())
