"""Every preset on five models, written out by hand from the guide, and how each resolves elsewhere."""

import pytest

from finetune_tui.core.errors import UserError
from finetune_tui.core.models.catalog import catalog
from finetune_tui.core.models.manifest import Manifest
from finetune_tui.core.models.report import ATTENTION, bias_numbers, own_numbers
from finetune_tui.core.tuning.modes import Mode
from finetune_tui.core.tuning.presets import (
    GUIDE_PRESETS,
    METHOD_PRESETS,
    PRESETS,
    find_preset,
    resolve_preset,
)
from finetune_tui.core.tuning.selection import refusal, trainable_parameters

L, F, B = "lora", "full", "bias"
EMBED, HEAD = "model.embed_tokens", "lm_head"


def manifest_of(model: str) -> Manifest:
    return catalog()[model].manifest()


PHI2 = manifest_of("microsoft/phi-2")
QWEN = manifest_of("Qwen/Qwen2.5-1.5B-Instruct")
PHI35 = manifest_of("microsoft/Phi-3.5-mini-instruct")
MOE = manifest_of("Qwen/Qwen3-30B-A3B")

# model: blocks, (query, key, value), attention output, MLP, whether the head is the embedding
LAYOUTS: dict[str, tuple[int, list[str], str, list[str], bool]] = {
    "microsoft/phi-2": (
        32, ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"], "self_attn.dense",
        ["mlp.fc1", "mlp.fc2"], False,
    ),
    "microsoft/Phi-3.5-mini-instruct": (
        32, ["self_attn.qkv_proj"], "self_attn.o_proj", ["mlp.gate_up_proj", "mlp.down_proj"], False,
    ),
    "Qwen/Qwen2.5-1.5B-Instruct": (
        28, ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"], "self_attn.o_proj",
        ["mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"], True,
    ),
    "meta-llama/Llama-3.1-8B": (
        32, ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"], "self_attn.o_proj",
        ["mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"], False,
    ),
    "google/gemma-2-2b": (
        26, ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"], "self_attn.o_proj",
        ["mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"], True,
    ),
}  # fmt: skip

# preset: which of (trio, output, MLP) in every block, and what outside of them
GUIDE: dict[str, tuple[bool, bool, bool, str | None]] = {
    "attention-refinement": (True, False, False, None),
    "concept-learning": (True, True, True, None),
    "new-knowledge": (True, True, True, EMBED),
    "knowledge-update": (True, True, True, None),
    "response-fluency": (False, True, True, HEAD),
    "domain-specialization": (True, True, True, EMBED),
    "logical-reasoning": (True, True, True, None),
    "structured-output": (False, True, True, HEAD),
    "personas": (True, True, False, HEAD),
}

# What each trains at rank 8, worked out on paper: r · (in + out) for each matrix over all blocks, the
# embedding at 8 · (vocabulary + hidden), a tied one at vocabulary · hidden.
TRAINS: dict[str, dict[str, int]] = {
    "microsoft/phi-2": {
        "attention-refinement": 32 * 8 * 3 * 5_120,
        "concept-learning": 32 * 8 * (4 * 5_120 + 2 * 12_800),
        "new-knowledge": 32 * 8 * (4 * 5_120 + 2 * 12_800) + 8 * (51_200 + 2_560),
        "structured-output": 32 * 8 * (5_120 + 2 * 12_800) + 8 * (2_560 + 51_200),
        "personas": 32 * 8 * 4 * 5_120 + 8 * (2_560 + 51_200),
        "attention-only-top-4": 4 * 4 * (2_560 * 2_560 + 2_560),
        # q, k, v, dense, fc2 and the norm have 2,560 biases each, fc1 10,240
        "bitfit-top-4": 4 * (6 * 2_560 + 10_240),
        "all-linear": 32 * 8 * (4 * 5_120 + 2 * 12_800),
        "attention-qv": 32 * 8 * 2 * 5_120,
        "full": 2_779_683_840,
    },
    "microsoft/Phi-3.5-mini-instruct": {
        "attention-refinement": 32 * 8 * (3_072 + 9_216),
        "concept-learning": 32 * 8 * (12_288 + 6_144 + (3_072 + 16_384) + (8_192 + 3_072)),
        "new-knowledge": 32 * 8 * (12_288 + 6_144 + 19_456 + 11_264) + 8 * (32_064 + 3_072),
        "structured-output": 32 * 8 * (6_144 + 19_456 + 11_264) + 8 * (3_072 + 32_064),
        "attention-only-top-4": 4 * (9_216 * 3_072 + 3_072 * 3_072),
        "attention-qv": 32 * 8 * 12_288,
        "full": 3_821_079_552,
    },
    "Qwen/Qwen2.5-1.5B-Instruct": {
        "attention-refinement": 28 * 8 * (3_072 + 2 * 1_792),
        "new-knowledge": 28 * 8 * (2 * 3_072 + 2 * 1_792 + 3 * 10_496) + 151_936 * 1_536,
        "response-fluency": 28 * 8 * (3_072 + 3 * 10_496) + 151_936 * 1_536,
        "attention-only-top-4": 4 * (2 * 1_536 * 1_536 + 2 * 256 * 1_536 + 1_536 + 2 * 256),
        "bitfit-top-4": 8_192,
        "full": 1_543_714_304,
    },
    "meta-llama/Llama-3.1-8B": {
        "attention-refinement": 32 * 8 * (8_192 + 2 * 5_120),
        "structured-output": 32 * 8 * (8_192 + 3 * 18_432) + 8 * (4_096 + 128_256),
        "attention-only-top-4": 4 * (2 * 4_096 * 4_096 + 2 * 1_024 * 4_096),
        "full": 8_030_261_248,
    },
    "google/gemma-2-2b": {
        "attention-refinement": 26 * 8 * (2_304 + 2_048 + 2 * (2_304 + 1_024)),
        "personas": 26 * 8 * (2 * 4_352 + 2 * 3_328) + 256_000 * 2_304,
        "attention-only-top-4": 4 * (2 * 2_048 * 2_304 + 2 * 1_024 * 2_304),
        "full": 2_614_341_888,
    },
}


def over(blocks: range, names: list[str], mode: str) -> dict[str, str]:
    return {f"model.layers.{block}.{name}": mode for block in blocks for name in names}


def resolved(model: str, preset: str) -> dict[str, str]:
    selection = resolve_preset(preset, manifest_of(model)).selection
    return {name: choice.mode.value for name, choice in selection.choices.items()}


def test_nine_of_the_guide_and_five_methods() -> None:
    assert list(GUIDE_PRESETS) == list(GUIDE)
    assert list(METHOD_PRESETS) == [
        "attention-only-top-4", "bitfit-top-4", "all-linear", "attention-qv", "full",
    ]  # fmt: skip
    assert list(PRESETS) == [*GUIDE_PRESETS, *METHOD_PRESETS]


@pytest.mark.parametrize("model", LAYOUTS)
@pytest.mark.parametrize("preset", GUIDE)
def test_each_is_what_the_guide_says(model: str, preset: str) -> None:
    blocks, trio, output, mlp, tied = LAYOUTS[model]
    with_trio, with_output, with_mlp, outside = GUIDE[preset]
    names = trio * with_trio + [output] * with_output + mlp * with_mlp
    expected = over(range(blocks), names, L)
    if outside is not None:
        expected |= {EMBED: F} if tied else {outside: L}
    assert resolved(model, preset) == expected


@pytest.mark.parametrize("model", LAYOUTS)
def test_methods(model: str) -> None:
    blocks, trio, output, mlp, tied = LAYOUTS[model]
    last, every = range(blocks - 4, blocks), range(blocks)
    assert resolved(model, "attention-only-top-4") == over(last, [*trio, output], F)
    assert resolved(model, "all-linear") == over(every, [*trio, output, *mlp], L)
    query_value = [name for name in trio if not name.endswith("k_proj")]
    assert resolved(model, "attention-qv") == over(every, query_value, L)
    full = resolved(model, "full")
    assert set(full.values()) == {F}
    assert (HEAD in full) is not tied
    assert EMBED in full


def test_bitfit_is_every_bias_of_the_last_blocks() -> None:
    qkv = ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"]
    assert resolved("Qwen/Qwen2.5-1.5B-Instruct", "bitfit-top-4") == over(range(24, 28), qkv, B)
    phi = [*qkv, "self_attn.dense", "mlp.fc1", "mlp.fc2", "input_layernorm"]
    assert resolved("microsoft/phi-2", "bitfit-top-4") == over(range(28, 32), phi, B)


@pytest.mark.parametrize(
    "model", ["microsoft/Phi-3.5-mini-instruct", "meta-llama/Llama-3.1-8B", "google/gemma-2-2b"]
)
def test_bitfit_means_nothing_without_biases(model: str) -> None:
    with pytest.raises(UserError, match="no biases"):
        resolve_preset("bitfit-top-4", manifest_of(model))


@pytest.mark.parametrize(
    ("model", "preset", "numbers"),
    [(model, preset, n) for model, trains in TRAINS.items() for preset, n in trains.items()],
)
def test_what_each_trains(model: str, preset: str, numbers: int) -> None:
    manifest = manifest_of(model)
    selection = resolve_preset(preset, manifest).selection
    assert trainable_parameters(manifest, selection, 8) == numbers


@pytest.mark.parametrize("model", catalog())
@pytest.mark.parametrize("preset", PRESETS)
def test_on_every_model_it_is_possible_or_refused_in_words(model: str, preset: str) -> None:
    manifest = manifest_of(model)
    try:
        found = resolve_preset(preset, manifest)
    except UserError as error:
        assert preset == "bitfit-top-4"
        assert "biases" in error.message
        return
    for name, choice in found.selection.choices.items():
        assert refusal(manifest, name, choice.mode) is None


@pytest.mark.parametrize("k", [1, 8, 28])
def test_any_k(k: int) -> None:
    found = resolve_preset(f"attention-only-top-{k}", QWEN)
    blocks = {QWEN.block_index(name) for name in found.selection.choices}
    assert blocks == set(range(28 - k, 28))
    assert str(k) in find_preset(f"bitfit-top-{k}").title or k == 1


def test_more_blocks_than_there_are_is_said() -> None:
    found = resolve_preset("bitfit-top-99", QWEN)
    assert len(found.selection.choices) == 28 * 3
    assert any("only 28 blocks" in note for note in found.notes)


def test_any_range() -> None:
    found = resolve_preset("attention-only-blocks-8-15", QWEN).selection
    assert {QWEN.block_index(name) for name in found.choices} == set(range(8, 16))
    with pytest.raises(UserError, match="beyond the 28 blocks"):
        resolve_preset("bitfit-blocks-20-28", QWEN)
    given = resolve_preset("new-knowledge", PHI2, blocks=range(4)).selection
    assert len(given.choices) == 4 * 6 + 1
    assert "model.embed_tokens" in given.choices


@pytest.mark.parametrize(
    "name", ["bitfit-top-0", "bitfit-top-", "bitfit-blocks-9-8", "full-top-4", "", "x" * 10_000]
)
def test_what_is_no_preset(name: str) -> None:
    with pytest.raises(UserError, match="unknown preset"):
        find_preset(name)


def test_an_unknown_preset_names_the_nearest() -> None:
    with pytest.raises(UserError, match="'structured-output'"):
        resolve_preset("structured_output", PHI2)


def test_a_tied_head_is_an_alias_and_said() -> None:
    for preset in ("new-knowledge", "structured-output"):
        found = resolve_preset(preset, QWEN)
        assert found.selection.mode(EMBED) is Mode.FULL
        assert found.selection.mode(HEAD) is Mode.FROZEN
        assert any("lm_head is the same matrix as model.embed_tokens" in n for n in found.notes)


def test_a_fused_matrix_brings_its_roles_along() -> None:
    assert "key comes along" in " ".join(resolve_preset("attention-qv", PHI35).notes)
    assert "one fused matrix" in " ".join(resolve_preset("attention-refinement", PHI35).notes)
    assert resolve_preset("attention-qv", PHI2).notes == ()


def test_experts_and_router_stay_frozen() -> None:
    found = resolve_preset("concept-learning", MOE)
    assert {name.rpartition(".")[2] for name in found.selection.choices} == {
        "q_proj", "k_proj", "v_proj", "o_proj",
    }  # fmt: skip
    assert any("128 experts" in note for note in found.notes)
    assert not any("experts" in n for n in resolve_preset("attention-refinement", MOE).notes)


def test_a_head_that_trains_is_said() -> None:
    assert any("head" in note for note in resolve_preset("personas", PHI2).notes)


def test_the_report_counts_as_the_presets_do() -> None:
    attention = sum(
        own_numbers(m)
        for m in QWEN.modules
        if m.role in ATTENTION and QWEN.block_index(m.name) in range(24, 28)
    )
    chosen = resolve_preset("attention-only-top-4", QWEN).selection
    assert trainable_parameters(QWEN, chosen, 8) == attention
    biases = sum(bias_numbers(m) for m in PHI2.modules if (PHI2.block_index(m.name) or 0) >= 28)
    chosen = resolve_preset("bitfit-top-4", PHI2).selection
    assert trainable_parameters(PHI2, chosen, 8) == biases


def test_advice_is_shown_as_advice() -> None:
    assert {preset.evidence for preset in GUIDE_PRESETS.values()} == {"guide"}
    assert all(preset.of_method for preset in METHOD_PRESETS.values())
    assert all(preset.why and preset.goal for preset in PRESETS.values())
