"""What a folder and the Hub's cache hold, judged without torch."""

import json
import shutil
from pathlib import Path

import pytest

from finetune_tui.core import demo
from finetune_tui.core.errors import UserError
from finetune_tui.core.models.resolve import find_model
from finetune_tui.core.models.weights import (
    cached,
    hub_cache,
    look_at,
    problem_of,
    require_whole,
    scan_cache,
    weights_on_disk,
)
from tests.core.models.hub_server import sharded

SECOND = "model-00002-of-00002.safetensors"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The demo in two shards."""
    sharded(demo.MODEL_FOLDER, tmp_path / "model")
    return tmp_path / "model"


def test_the_demo_is_whole() -> None:
    found = look_at(demo.MODEL_FOLDER)
    assert found.is_complete
    assert found.has_tokenizer
    assert found.bytes == (demo.MODEL_FOLDER / "model.safetensors").stat().st_size
    assert problem_of(demo.MODEL_FOLDER) is None


def test_shards_are_held_against_the_index(folder: Path) -> None:
    assert look_at(folder).is_complete
    assert look_at(folder).shards == 2
    (folder / SECOND).unlink()
    assert look_at(folder).missing == (SECOND,)
    with pytest.raises(UserError, match=f"{SECOND} is missing"):
        require_whole(folder)


@pytest.mark.parametrize("kept", [0, 7, 100, 100_000, -1])
def test_a_cut_shard_is_seen_by_its_header(folder: Path, kept: int) -> None:
    data = (folder / SECOND).read_bytes()
    (folder / SECOND).write_bytes(data[:kept])
    assert [name for name, _ in look_at(folder).broken] == [SECOND]
    assert SECOND in str(problem_of(folder))


def test_a_header_that_is_not_one_is_said(folder: Path) -> None:
    for header in (b"\xff" * 40, b"[" * 40, b'{"a": 3}', b'{"a": {"data_offsets": [0, "x"]}}'):
        (folder / SECOND).write_bytes(len(header).to_bytes(8, "little") + header)
        assert look_at(folder).broken


def test_only_pickle_is_refused_with_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "pytorch_model.bin").write_bytes(b"pickle")
    with pytest.raises(UserError, match=r"pickle can run code.*safetensors"):
        require_whole(tmp_path)


def test_an_empty_folder_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no \*\.safetensors"):
        require_whole(tmp_path)


@pytest.mark.parametrize(
    ("quantisation", "words"),
    [
        ({"load_in_4bit": True, "quant_method": "bitsandbytes"}, "4-bit bitsandbytes"),
        ({"bits": 4, "quant_method": "gptq"}, "4-bit gptq"),
        ({"quant_method": "fp8"}, "fp8"),
    ],
)
def test_a_quantised_folder_is_told(folder: Path, quantisation: object, words: str) -> None:
    config = json.loads((folder / "config.json").read_text())
    assert look_at(folder).quantised is None
    (folder / "config.json").write_text(json.dumps(config | {"quantization_config": quantisation}))
    assert look_at(folder).quantised == words


def test_an_adapter_names_the_base_it_was_made_for(tmp_path: Path) -> None:
    config = {"peft_type": "LORA", "base_model_name_or_path": "microsoft/phi-2"}
    (tmp_path / "adapter_config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match="an adapter, made for microsoft/phi-2, not a model"):
        find_model(str(tmp_path))


def test_an_index_never_points_out_of_the_folder(folder: Path) -> None:
    index = {"weight_map": {"a": "../../etc/x.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(UserError, match="names a file that is no shard"):
        look_at(folder)
    assert "no shard" in str(problem_of(folder))


def snapshot_of(home: Path, name: str, commit: str = "a" * 40) -> Path:
    snapshot = home / "hub" / f"models--{name.replace('/', '--')}" / "snapshots" / commit
    shutil.copytree(demo.MODEL_FOLDER, snapshot)
    return snapshot


def test_the_cache_of_the_hub_is_scanned(tmp_path: Path) -> None:
    environment = {"HF_HOME": str(tmp_path)}
    names = ["microsoft/phi-2", "Qwen/Qwen2.5-0.5B", "Qwen/Qwen3-0.6B"]
    assert scan_cache(names, environment) == {}
    snapshot = snapshot_of(tmp_path, "microsoft/phi-2")
    partial = snapshot_of(tmp_path, "Qwen/Qwen2.5-0.5B")
    (partial / "model.safetensors").unlink()
    found = scan_cache(names, environment)
    assert found["microsoft/phi-2"].folder == snapshot
    assert not found["Qwen/Qwen2.5-0.5B"].is_complete
    assert found["Qwen/Qwen2.5-0.5B"].config == partial
    assert "Qwen/Qwen3-0.6B" not in found
    assert weights_on_disk("microsoft/phi-2", None, environment)
    assert not weights_on_disk("Qwen/Qwen2.5-0.5B", None, environment)


def test_the_snapshot_that_main_means_comes_first(tmp_path: Path) -> None:
    old = snapshot_of(tmp_path, "a/b", "1" * 40)
    snapshot_of(tmp_path, "a/b", "2" * 40)
    refs = old.parent.parent / "refs"
    refs.mkdir()
    (refs / "main").write_text("1" * 40)
    assert cached("a/b", {"HF_HOME": str(tmp_path)}).folder == old


def test_a_catalog_id_opens_from_its_whole_snapshot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    assert find_model("phi-2").folder is None
    snapshot = snapshot_of(tmp_path, "microsoft/phi-2")
    assert find_model("phi-2").folder == snapshot
    assert find_model("phi-2").weights == str(snapshot)
    assert find_model("phi-2").public_name == "microsoft/phi-2"


def test_where_the_cache_is() -> None:
    assert hub_cache({"HF_HUB_CACHE": "/a"}) == Path("/a")
    assert hub_cache({"HF_HOME": "/b"}) == Path("/b/hub")
    assert hub_cache({"XDG_CACHE_HOME": "/c"}) == Path("/c/huggingface/hub")
    assert hub_cache({}) == Path("~/.cache/huggingface/hub").expanduser()
