"""The estimate: exact where it can be, never falling, and its parts sum to the whole."""

from dataclasses import replace
from functools import cache

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from finetune_tui.core.memory.estimate import (
    CUDA_CONTEXT,
    GIB,
    MIB,
    Precision,
    Verdict,
    estimate,
    fits,
    precision_of,
    verdict,
    weight_bytes,
)
from finetune_tui.core.models.catalog import catalog
from finetune_tui.core.models.roles import Role
from finetune_tui.core.tuning.modes import Choice, Mode
from finetune_tui.core.tuning.presets import resolve_preset
from finetune_tui.core.tuning.selection import Selection, refusal
from finetune_tui.core.tuning.spec import OPTIMIZERS, Spec

PHI2 = catalog()["microsoft/phi-2"].manifest()
MODELS = (
    *("microsoft/phi-2", "microsoft/Phi-3.5-mini-instruct", "meta-llama/Llama-3.2-1B"),
    *("mistralai/Mistral-7B-v0.3", "Qwen/Qwen2.5-0.5B", "Qwen/Qwen3-0.6B", "Qwen/Qwen3-30B-A3B"),
    *("google/gemma-2-2b", "google/gemma-3-1b-it"),
)
"""One of every family."""
MANIFESTS = {model: catalog()[model].manifest() for model in MODELS}

Asked = tuple[str, Selection, Spec, Precision]

precisions = st.sampled_from(list(Precision))
modes = st.sampled_from([Mode.LORA, Mode.FULL, Mode.BIAS])
specs = st.builds(
    Spec,
    lora_r=st.integers(1, 128),
    per_device_train_batch_size=st.integers(1, 16),
    max_length=st.integers(8, 8192),
    gradient_accumulation_steps=st.integers(1, 2),
    gradient_checkpointing=st.booleans(),
    lora_dropout=st.sampled_from([0.0, 0.05]),
    use_dora=st.booleans(),
    packing=st.booleans(),
    chunked_loss=st.booleans(),
    use_cpu=st.booleans(),
    init_lora_weights=st.sampled_from(["default", "pissa"]),
    trainable_token_indices=st.sampled_from([(), ("7", "8")]),
    neftune_noise_alpha=st.sampled_from([0.0, 5.0]),
    torch_compile=st.booleans(),
    optim=st.sampled_from(OPTIMIZERS),
)


@cache
def trainable(model: str, mode: Mode, precision: Precision) -> tuple[str, ...]:
    """What can train in this mode; a quantised matrix cannot in full."""
    manifest = MANIFESTS[model]
    keeps = mode is not Mode.FULL or precision in (Precision.FP32, Precision.BF16)
    return tuple(
        module.name
        for module in manifest.modules
        if refusal(manifest, module.name, mode) is None and (keeps or not module.is_quantisable)
    )


@st.composite
def asked(draw: st.DrawFn) -> Asked:
    """Some modules of some model in some modes, with some settings."""
    model, precision = draw(st.sampled_from(MODELS)), draw(precisions)
    choices = {}
    for mode in draw(st.lists(modes, max_size=6)):
        names = trainable(model, mode, precision)
        if names:
            found = draw(st.lists(st.sampled_from(names), max_size=12))
            choices.update(dict.fromkeys(found, Choice(mode)))
    return model, Selection(choices), draw(specs), precision


def device(model: str, selection: Selection, spec: Spec, precision: Precision) -> int:
    return estimate(MANIFESTS[model], selection, spec, precision).device


def test_weight_bytes_to_the_byte() -> None:
    assert weight_bytes(PHI2, Precision.NF4) == 1_824_639_744
    assert weight_bytes(PHI2, Precision.INT8) == 3_045_734_400
    assert weight_bytes(PHI2, Precision.BF16) == 2 * 2_779_683_840


@given(asked())
def test_the_breakdown_sums_to_device_and_no_part_is_negative(
    setting: Asked,
) -> None:
    model, selection, spec, precision = setting
    made = estimate(MANIFESTS[model], selection, spec, precision)
    parts = made.breakdown.to_json().values()
    assert sum(parts) == made.device
    assert min(parts) >= 0
    assert made.allocated <= made.reserved <= made.device
    assert bool(made.unsure) == spec.torch_compile


@given(asked(), st.integers(1, 4), st.integers(1, 600))
def test_more_rows_or_tokens_never_need_less(setting: Asked, rows: int, tokens: int) -> None:
    model, selection, spec, precision = setting
    before = device(*setting)
    for more in (
        replace(spec, per_device_train_batch_size=spec.per_device_train_batch_size + rows),
        replace(spec, max_length=spec.max_length + tokens),
    ):
        assert device(model, selection, more, precision) >= before


@given(asked())
def test_a_higher_rank_never_needs_less(
    setting: Asked,
) -> None:
    model, selection, spec, precision = setting
    # A tensor that grows past a hundred thousand numbers leaves the card with its whole state: truly less.
    assume(spec.optim != "paged_adamw_32bit")
    more = replace(spec, lora_r=2 * spec.lora_r)
    assert device(model, selection, more, precision) >= device(*setting)


@given(asked(), modes, st.data())
def test_one_more_module_never_needs_less(setting: Asked, mode: Mode, data: st.DataObject) -> None:
    model, selection, spec, precision = setting
    names = [n for n in trainable(model, mode, precision) if n not in selection.choices]
    assume(names)
    name = data.draw(st.sampled_from(names))
    more = selection.set([name], Choice(mode))
    # A norm that trains answers in float32, and a copy of its result need not be kept: so does torch.
    manifest = MANIFESTS[model]
    copy = 2 * spec.per_device_train_batch_size * spec.max_length * manifest.config.hidden_size
    less = 2 * copy if manifest.module(name).role is Role.NORM else 0
    assert device(model, more, spec, precision) >= device(*setting) - less


def test_a_simulated_point() -> None:
    # Phi-2, LoRA bf16 r8, all linear in the blocks, 2 × 256 tokens, checkpointing: 5.70 GiB simulated.
    selection = resolve_preset("concept-learning", PHI2).selection
    spec = Spec(
        lora_r=8, per_device_train_batch_size=2, max_length=256, gradient_checkpointing=True
    )
    assert estimate(PHI2, selection, spec, Precision.BF16).allocated / GIB == pytest.approx(
        5.70, rel=0.01
    )


def test_a_models_own_dropout_is_known_and_counted() -> None:
    assert PHI2.config.residual_dropout == 0.1
    selection = resolve_preset("all-linear", PHI2).selection
    without = replace(PHI2, config=replace(PHI2.config, residual_dropout=0.0))
    spec = Spec(per_device_train_batch_size=4, max_length=1024)
    numbers = 4 * 1024 * PHI2.config.hidden_size
    more = (
        estimate(PHI2, selection, spec, Precision.BF16).allocated
        - estimate(without, selection, spec, Precision.BF16).allocated
    )
    # A mask of a byte a number after attention and after the MLP of every block.
    assert more == pytest.approx(2 * PHI2.blocks * numbers, rel=0.05)


def test_fitting_counts_the_uncertain_part_against_it() -> None:
    made = estimate(PHI2, Selection(), Spec(), Precision.NF4)
    assert fits(made, None) is None
    assert fits(made, made.device + made.band) is True
    assert fits(made, made.device) is False
    assert verdict(made, None) is None
    assert verdict(made, made.device + made.band) is Verdict.FITS
    assert verdict(made, made.device) is Verdict.MAY
    assert verdict(made, made.device - made.band - 1) is Verdict.NO


def test_a_measured_context_takes_the_place_of_the_constant() -> None:
    made = estimate(PHI2, Selection(), Spec(), Precision.NF4)
    measured = estimate(PHI2, Selection(), Spec(), Precision.NF4, context=300 * MIB)
    assert measured.breakdown.context == 300 * MIB
    assert made.device - measured.device == CUDA_CONTEXT - 300 * MIB


@pytest.mark.parametrize("key", ["torch_compile", "use_liger_kernel"])
def test_what_it_does_not_follow_widens_the_band_and_is_said(key: str) -> None:
    selection = resolve_preset("all-linear", PHI2).selection
    sure = estimate(PHI2, selection, Spec(), Precision.BF16)
    unsure = estimate(PHI2, selection, Spec().changed(**{key: True}), Precision.BF16)
    assert (sure.unsure, len(unsure.unsure)) == ((), 1)
    assert unsure.band > sure.band
    assert unsure.to_json(None)["unsure"] == list(unsure.unsure)


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
