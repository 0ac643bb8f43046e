"""The nine presets on Phi-2, written out by hand from the guide."""

import pytest

from finetune_tui.core.errors import UserError
from finetune_tui.core.models.catalog import catalog
from finetune_tui.core.tuning.modes import Mode
from finetune_tui.core.tuning.presets import PRESETS, resolve_preset
from finetune_tui.core.tuning.selection import trainable_parameters

PHI2 = catalog()["microsoft/phi-2"].manifest()

Q, K, V = "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"
DENSE, FC1, FC2 = "self_attn.dense", "mlp.fc1", "mlp.fc2"
GUIDE = {
    "attention-refinement": ([Q, K, V], []),
    "concept-learning": ([Q, K, V, DENSE, FC1, FC2], []),
    "new-knowledge": ([Q, K, V, DENSE, FC1, FC2], ["model.embed_tokens"]),
    "knowledge-update": ([Q, K, V, DENSE, FC1, FC2], []),
    "response-fluency": ([DENSE, FC1, FC2], ["lm_head"]),
    "domain-specialization": ([Q, K, V, DENSE, FC1, FC2], ["model.embed_tokens"]),
    "logical-reasoning": ([FC1, FC2, DENSE, Q, K, V], []),
    "structured-output": ([DENSE, FC1, FC2], ["lm_head"]),
    "personas": ([Q, K, V, DENSE], ["lm_head"]),
}


def test_there_are_nine() -> None:
    assert list(PRESETS) == list(GUIDE)


@pytest.mark.parametrize("preset", GUIDE)
def test_each_is_what_the_guide_says(preset: str) -> None:
    in_block, outside = GUIDE[preset]
    expected = {f"model.layers.{block}.{name}" for block in range(32) for name in in_block}
    selection = resolve_preset(preset, PHI2).selection
    assert set(selection.choices) == expected | set(outside)
    assert set(selection.names(Mode.LORA)) == set(selection.choices)


def test_counts_by_hand() -> None:
    # Rank 8: q, k, v each 8 · (2560 + 2560), over 32 blocks.
    trio = resolve_preset("attention-refinement", PHI2).selection
    assert trainable_parameters(PHI2, trio, 8) == 32 * 3 * 8 * 5120
    fluent = resolve_preset("structured-output", PHI2).selection
    block = 8 * (5120 + 2 * 12800)
    assert trainable_parameters(PHI2, fluent, 8) == 32 * block + 8 * (2560 + 51200)


def test_advice_is_shown_as_advice() -> None:
    assert {preset.evidence for preset in PRESETS.values()} == {"guide"}
    assert all(preset.why and preset.goal for preset in PRESETS.values())


def test_a_head_that_trains_is_said() -> None:
    notes = resolve_preset("personas", PHI2).notes
    assert any("head" in note for note in notes)


def test_an_unknown_preset_names_the_nearest() -> None:
    with pytest.raises(UserError, match="'structured-output'"):
        resolve_preset("structured_output", PHI2)
