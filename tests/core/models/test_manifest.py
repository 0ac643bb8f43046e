"""The manifest as data: what the catalog ships, and how it is asked."""

import json

import pytest

from finetune_tui.core.errors import UserError
from finetune_tui.core.models.catalog import catalog
from finetune_tui.core.models.manifest import Manifest, inspect_answer
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
        "model", "architecture", "family", "parameters", "blocks", "config", "tied", "modules",
    }  # fmt: skip
    assert set(answer["modules"][5]) == {"name", "class", "role", "parameters", "shape"}
    assert answer["tied"] == []


@pytest.mark.parametrize("entry", catalog().values(), ids=catalog())
def test_the_catalog_equals_meta_instantiation(entry) -> None:  # type: ignore[no-untyped-def]
    from transformers import AutoConfig

    from finetune_tui.core import demo
    from finetune_tui.core.models.inspection import inspect_config, read_config

    shipped = json.loads(entry.file.read_bytes())
    if entry.kind == "demo":
        config = read_config(demo.MODEL_FOLDER)
    else:
        config = AutoConfig.for_model(**shipped["config"])
    assert inspect_config(config, entry.id) == entry.manifest()
