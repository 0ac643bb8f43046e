"""The manifest as data: what the catalog ships, and how it is asked."""

import json

import pytest

from finetune_tui.core.errors import UserError
from finetune_tui.core.models.catalog import catalog
from finetune_tui.core.models.manifest import Manifest, Module, inspect_answer
from finetune_tui.core.models.roles import Role


@pytest.fixture
def phi2() -> Manifest:
    return catalog()["microsoft/phi-2"].manifest()


def test_phi2_is_what_torch_would_build(phi2: Manifest) -> None:
    assert len(phi2.modules) == 392
    assert phi2.parameters == 2_779_683_840
    assert phi2.blocks == 32
    assert phi2.modules[0].name == ""
    assert phi2.module("lm_head").parameters == 51200 * 2560 + 51200


def test_json_round_trip_keeps_everything(phi2: Manifest) -> None:
    assert Manifest.from_json(json.loads(json.dumps(phi2.to_json()))) == phi2


def test_identical_blocks_are_written_once(phi2: Manifest) -> None:
    assert len(json.dumps(phi2.to_json())) < 10_000


def test_a_block_that_differs_keeps_its_own_rows() -> None:
    demo = catalog()["demo"].manifest().to_json()
    entries = [entry for entry in demo["modules"] if isinstance(entry, dict)]
    first, last = entries[0]["blocks"]
    changed = json.loads(json.dumps(entries[0]))
    changed["rows"][0][4] += 1
    entries[0]["blocks"] = [first, last - 1]
    changed["blocks"] = [last, last]
    at = demo["modules"].index(entries[0])
    demo["modules"].insert(at + 1, changed)
    manifest = Manifest.from_json(demo)
    assert manifest.blocks == last - first + 1
    assert Manifest.from_json(manifest.to_json()) == manifest


@pytest.mark.parametrize(
    ("name", "block"),
    [
        ("model.layers.7.mlp.fc1", 7),
        ("model.layers.31", 31),
        ("model.layers", None),
        ("lm_head", None),
        ("model.layers.x", None),
    ],
)
def test_block_index(phi2: Manifest, name: str, block: int | None) -> None:
    assert phi2.block_index(name) == block


def test_features_are_inputs_and_outputs(phi2: Manifest) -> None:
    assert phi2.module("model.layers.0.mlp.fc1").features == (2560, 10240)
    assert phi2.module("model.embed_tokens").features == (51200, 2560)
    assert phi2.module("model.layers.0.input_layernorm").features is None


def test_a_misspelt_name_names_the_nearest(phi2: Manifest) -> None:
    with pytest.raises(UserError, match=r"model\.layers\.0\.mlp\.fc1"):
        phi2.module("model.layers.0.mlp.fc11")


def test_every_projection_of_phi_has_a_role(phi2: Manifest) -> None:
    without = {m.leaf_name for m in phi2.modules if m.cls in ("Linear", "Embedding") and not m.role}
    assert without == set()
    assert phi2.module("model.layers.3.self_attn.dense").role is Role.ATTENTION_OUTPUT


def test_inspect_answer_has_the_promised_keys(phi2: Manifest) -> None:
    answer = json.loads(json.dumps(inspect_answer(phi2)))
    assert set(answer) == {
        "model", "architecture", "family", "guessed", "parameters", "blocks", "config", "tied",
        "modules",
    }  # fmt: skip
    assert set(answer["modules"][5]) == {"name", "class", "role", "parameters", "shape"}
    assert answer["tied"] == []


def test_what_an_earlier_version_wrote_is_still_read(phi2: Manifest) -> None:
    data = phi2.to_json()
    del data["guessed"]
    for key in ("positions", "sliding_window", "experts", "experts_per_token"):
        del data["config"][key]
    old = Manifest.from_json(data)
    assert old.modules == phi2.modules
    assert old.config.positions is None
    assert not old.guessed


def test_a_packed_parameter_has_a_line_after_its_module() -> None:
    moe = catalog()["Qwen/Qwen3-30B-A3B"].manifest()
    names = [module.name for module in moe.modules]
    at = names.index("model.layers.3.mlp.experts")
    assert names[at + 1 : at + 3] == [
        "model.layers.3.mlp.experts.gate_up_proj",
        "model.layers.3.mlp.experts.down_proj",
    ]
    packed = moe.modules[at + 1]
    assert packed.cls == "Parameter"
    assert packed.role is Role.EXPERTS
    assert packed.shape == (128, 1536, 2048)
    assert packed.parameters == 128 * 1536 * 2048
    assert dict(moe.modules[at].own)["gate_up_proj"] == packed.shape
    assert sum(1 for module in moe.modules if not module.is_packed) == 679
    assert moe.block_index(packed.name) == 3
    assert Manifest.from_json(json.loads(json.dumps(moe.to_json()))) == moe


def test_conv1d_of_gpt2_holds_its_matrix_transposed() -> None:
    assert Module("c_fc", "Conv1D", None, (("weight", (32, 128)),), 4096).features == (32, 128)
    assert Module("fc", "Linear", None, (("weight", (128, 32)),), 4096).features == (32, 128)
    assert Module("e", "ScaledWordEmbedding", None, (("weight", (96, 8)),), 768).features == (96, 8)
