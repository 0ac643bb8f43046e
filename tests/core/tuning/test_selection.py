"""Toggling, counting and refusing on a real tree."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune_tui.core.models.catalog import catalog
from finetune_tui.core.models.manifest import Manifest
from finetune_tui.core.models.resolve import find_model
from finetune_tui.core.models.roles import Role
from finetune_tui.core.tuning.modes import LORA, Choice, Mode
from finetune_tui.core.tuning.selection import (
    Selection,
    in_every_block,
    refusal,
    togglable,
    toggled,
    trainable_below,
    trainable_parameters,
    with_role,
    with_roles_along,
)

PHI2 = catalog()["microsoft/phi-2"].manifest()
ADAPTABLE = [m.name for m in PHI2.modules if refusal(PHI2, m.name, Mode.LORA) is None]


def test_a_block_toggles_its_six_projections() -> None:
    assert [name.rpartition(".")[2] for name in togglable(PHI2, "model.layers.3")] == [
        "q_proj", "k_proj", "v_proj", "dense", "fc1", "fc2",
    ]  # fmt: skip


def test_the_whole_model_leaves_embedding_and_head_alone() -> None:
    names = togglable(PHI2, "")
    assert len(names) == 32 * 6
    assert "lm_head" not in names
    assert togglable(PHI2, "lm_head") == ("lm_head",)


def test_toggling_fills_up_then_empties() -> None:
    names = togglable(PHI2, "model.layers.0")
    some = Selection().set(names[:2], LORA)
    full = toggled(PHI2, some, names)
    assert set(full.choices) == set(names)
    assert toggled(PHI2, full, names) == Selection()


def test_a_norm_is_refused_in_words() -> None:
    assert "LayerNorm" in (refusal(PHI2, "model.final_layernorm", Mode.LORA) or "")
    assert toggled(PHI2, Selection(), ["model.final_layernorm"]) == Selection()


def test_same_module_everywhere_and_by_role() -> None:
    everywhere = in_every_block(PHI2, "model.layers.9.mlp.fc2")
    assert len(everywhere) == 32
    assert everywhere == with_role(PHI2, Role.MLP_OUT)
    assert in_every_block(PHI2, "lm_head") == ("lm_head",)


def test_counting_by_hand() -> None:
    one = Selection().set(["model.layers.0.mlp.fc1"], LORA)
    assert trainable_parameters(PHI2, one, 8) == 8 * (2560 + 10240)
    deeper = one.set(["model.layers.0.mlp.fc1"], Choice(Mode.LORA, r=32))
    assert trainable_parameters(PHI2, deeper, 8) == 32 * (2560 + 10240)


@given(st.sets(st.sampled_from(ADAPTABLE)), st.integers(1, 256))
def test_lines_of_the_tree_sum_to_the_whole(names: set[str], r: int) -> None:
    selection = Selection().set(names, LORA)
    below = sum(trainable_below(PHI2, selection, child.name, r) for child in PHI2.children(""))
    assert below == trainable_parameters(PHI2, selection, r)
    assert trainable_below(PHI2, selection, "", r) == below


@given(st.lists(st.sampled_from([m.name for m in PHI2.modules]), max_size=12))
def test_toggling_twice_is_where_one_began_when_all_were_frozen(names: list[str]) -> None:
    for name in names:
        targets = togglable(PHI2, name)
        once = toggled(PHI2, Selection(), targets)
        assert toggled(PHI2, once, targets) == Selection()


@pytest.mark.parametrize(
    ("model", "name", "mode", "says"),
    [
        ("phi-2", "model.layers.0", Mode.FULL, "no parameters of its own"),
        ("phi-2", "model.embed_tokens", Mode.BIAS, "no bias"),
        ("phi-2", "model.layers.0.mlp.fc1", Mode.BIAS, None),
        ("phi-2", "model.final_layernorm", Mode.FULL, None),
        ("Qwen/Qwen2.5-1.5B", "lm_head", Mode.FULL, "same matrix as model.embed_tokens"),
        ("Qwen/Qwen2.5-1.5B", "lm_head", Mode.LORA, "share one matrix"),
        ("Qwen/Qwen2.5-1.5B", "model.embed_tokens", Mode.FULL, None),
        ("Qwen/Qwen2.5-1.5B", "model.layers.0.self_attn.o_proj", Mode.BIAS, "no bias"),
        ("Qwen/Qwen3-30B-A3B", "model.layers.0.mlp.experts", Mode.FULL, "packed experts"),
        ("Qwen/Qwen3-30B-A3B", "model.layers.0.mlp.experts.down_proj", Mode.LORA, "packed"),
    ],
)
def test_what_cannot_be_is_refused_in_words(
    model: str, name: str, mode: Mode, says: str | None
) -> None:
    manifest = open_entry(model)
    found = refusal(manifest, name, mode)
    assert (found is None) if says is None else (says in (found or ""))


def test_every_mode_is_counted_by_hand() -> None:
    fc1 = "model.layers.0.mlp.fc1"
    for mode, numbers in ((Mode.FULL, 2560 * 10240 + 10240), (Mode.BIAS, 10240)):
        one = Selection().set([fc1], Choice(mode))
        assert trainable_parameters(PHI2, one, 8) == numbers
    qwen = open_entry("Qwen/Qwen2.5-1.5B")
    biases = Selection().set(togglable(qwen, "", Mode.BIAS), Choice(Mode.BIAS))
    assert trainable_parameters(qwen, biases, 8) == 28 * (1536 + 256 + 256)


def test_a_line_reaches_what_its_mode_can_be_on() -> None:
    block = "model.layers.3"
    assert len(togglable(PHI2, block, Mode.FULL)) == 7  # the norm too
    assert len(togglable(PHI2, block, Mode.BIAS)) == 7
    assert "model.embed_tokens" not in togglable(PHI2, "", Mode.FULL)


def test_a_fused_matrix_brings_roles_along() -> None:
    phi3 = open_entry("microsoft/Phi-3.5-mini-instruct")
    along = with_roles_along(phi3, "model.layers.0.self_attn.qkv_proj")
    assert along == (Role.QUERY, Role.KEY, Role.VALUE)
    assert with_roles_along(PHI2, "lm_head") == ()


def open_entry(name: str) -> Manifest:
    entry = find_model(name).entry
    assert entry is not None
    return entry.manifest()
