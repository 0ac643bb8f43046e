"""The estimate: exact where it can be, never falling, and its parts sum to the whole."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune_tui.core.memory.estimate import (
    GIB,
    Precision,
    estimate,
    fits,
    precision_of,
    weight_bytes,
)
from finetune_tui.core.models.catalog import catalog
from finetune_tui.core.tuning.modes import LORA, Choice, Mode
from finetune_tui.core.tuning.presets import resolve_preset
from finetune_tui.core.tuning.selection import Selection, refusal
from finetune_tui.core.tuning.spec import Spec

PHI2 = catalog()["microsoft/phi-2"].manifest()
ADAPTABLE = [m.name for m in PHI2.modules if refusal(PHI2, m.name, Mode.LORA) is None]

precisions = st.sampled_from(list(Precision))

TRAINABLE = {
    mode: [m.name for m in PHI2.modules if refusal(PHI2, m.name, mode) is None]
    for mode in (Mode.LORA, Mode.FULL, Mode.BIAS)
}
choices = st.sampled_from(list(TRAINABLE)).flatmap(
    lambda mode: st.tuples(st.sampled_from(TRAINABLE[mode]), st.just(Choice(mode)))
)
selections = st.dictionaries(st.sampled_from(ADAPTABLE), st.just(LORA)).flatmap(
    lambda lora: st.lists(choices, max_size=30).map(lambda more: Selection(lora | dict(more)))
)
specs = st.builds(
    Spec,
    lora_r=st.integers(1, 256),
    per_device_train_batch_size=st.integers(1, 16),
    max_length=st.integers(8, 8192),
    gradient_checkpointing=st.booleans(),
    lora_dropout=st.sampled_from([0.0, 0.05]),
    use_cpu=st.booleans(),
    optim=st.sampled_from(["adamw_torch_fused", "adamw_8bit", "paged_adamw_8bit"]),
)


def test_weight_bytes_to_the_byte() -> None:
    assert weight_bytes(PHI2, Precision.NF4) == 1_824_639_744
    assert weight_bytes(PHI2, Precision.INT8) == 3_045_734_400
    assert weight_bytes(PHI2, Precision.BF16) == 2 * 2_779_683_840


@given(selections, specs, precisions)
def test_the_breakdown_sums_to_device(
    selection: Selection, spec: Spec, precision: Precision
) -> None:
    made = estimate(PHI2, selection, spec, precision)
    assert sum(made.breakdown.to_json().values()) == made.device
    assert made.allocated <= made.reserved <= made.device


@given(selections, specs, precisions, st.sampled_from(ADAPTABLE))
def test_more_never_needs_less(
    selection: Selection, spec: Spec, precision: Precision, name: str
) -> None:
    before = estimate(PHI2, selection, spec, precision).device
    for more in (
        replace(spec, lora_r=spec.lora_r + 8),
        replace(spec, per_device_train_batch_size=spec.per_device_train_batch_size + 1),
        replace(spec, max_length=spec.max_length + 8),
    ):
        assert estimate(PHI2, selection, more, precision).device >= before
    if name not in selection.choices:
        assert estimate(PHI2, selection.set([name], LORA), spec, precision).device >= before


def test_a_simulated_point() -> None:
    # Phi-2, LoRA bf16 r8, all linear in the blocks, 2 × 256 tokens, checkpointing: 5.70 GiB simulated.
    selection = resolve_preset("concept-learning", PHI2).selection
    spec = Spec(
        lora_r=8, per_device_train_batch_size=2, max_length=256, gradient_checkpointing=True
    )
    assert estimate(PHI2, selection, spec, Precision.BF16).allocated / GIB == pytest.approx(
        5.70, rel=0.01
    )


def test_fitting_counts_the_uncertain_part_against_it() -> None:
    made = estimate(PHI2, Selection(), Spec(), Precision.NF4)
    assert fits(made, None) is None
    assert fits(made, made.device + made.band) is True
    assert fits(made, made.device) is False


@pytest.mark.parametrize(
    ("settings", "on_gpu", "precision"),
    [
        ({}, True, Precision.BF16),
        ({}, False, Precision.FP32),
        ({"use_cpu": True}, True, Precision.FP32),
        ({"load_in_4bit": True}, True, Precision.NF4),
        ({"load_in_8bit": True}, False, Precision.INT8),
        ({"dtype": "float32"}, True, Precision.FP32),
    ],
)
def test_precision_is_what_the_worker_would_load(
    settings: dict[str, object], on_gpu: bool, precision: Precision
) -> None:
    assert precision_of(Spec().changed(**settings), on_gpu) is precision
