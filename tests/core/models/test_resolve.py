"""From what is typed to a model."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune_tui.core import demo
from finetune_tui.core.errors import UserError
from finetune_tui.core.models.catalog import catalog
from finetune_tui.core.models.resolve import find_model, load_manifest, tokenizer_folder
from tests.core.models.hub_server import FakeHub, files_of


@pytest.mark.parametrize("typed", ["microsoft/phi-2", "phi-2", "Phi-2"])
def test_a_catalog_id_or_its_short_name(typed: str) -> None:
    assert find_model(typed).name == "microsoft/phi-2"


def test_the_demo_brings_its_weights() -> None:
    reference = find_model("demo")
    assert reference.kind == "demo"
    assert reference.weights == str(demo.MODEL_FOLDER)


def test_a_folder_is_a_model_by_its_config(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no config\.json"):
        find_model(str(tmp_path))
    (tmp_path / "config.json").write_text("{}")
    assert find_model(str(tmp_path)).folder == tmp_path.resolve()


def test_an_unknown_model_names_the_nearest() -> None:
    with pytest.raises(UserError, match="did you mean 'microsoft/phi-2'"):
        find_model("microsoft/phi2")


def test_an_id_on_the_hub_is_found_without_a_network() -> None:
    reference = find_model("someone/small-1.5")
    assert (reference.kind, reference.folder) == ("hub", None)
    assert reference.short_title == "small-1.5"
    assert reference.public_name == "someone/small-1.5"


def test_the_config_of_a_hub_id_is_fetched_and_its_tokenizer_when_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with FakeHub("someone/small", files_of(demo.MODEL_FOLDER)).running() as hub:
        on_this_hub(monkeypatch, tmp_path, hub.url)

        def inspect(folder: Path, model: str) -> dict[str, Any]:
            assert (folder / "config.json").is_file()
            return catalog()["demo"].manifest().to_json() | {"model": model}

        reference = find_model("someone/small")
        assert load_manifest(reference, inspect).model == "someone/small"
        assert next(path for path in hub.paths() if "resolve" in path).endswith("/config.json")
        before = len(hub.asked)
        load_manifest(reference, inspect)
        assert len(hub.asked) == before
        assert (tokenizer_folder(reference) / "tokenizer.json").is_file()
        assert find_model("someone/small").folder is None


def test_without_a_network_the_nearest_known_model_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_this_hub(monkeypatch, tmp_path, "http://127.0.0.1:1")
    with pytest.raises(UserError, match=r"cannot be reached.*did you mean 'microsoft/phi-2'"):
        load_manifest(find_model("microsof/phi-2"), no_inspect)


def on_this_hub(monkeypatch: pytest.MonkeyPatch, folder: Path, url: str) -> None:
    for name in ("HF_HUB_CACHE", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_ENDPOINT", url)
    monkeypatch.setenv("HF_HOME", str(folder / "hf"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache"))


def no_inspect(_folder: Path, _model: str) -> dict[str, Any]:
    raise AssertionError("nothing is there to be inspected")


@given(st.text())
def test_no_text_is_a_crash_or_reaches_the_terminal(typed: str) -> None:
    try:
        find_model(typed)
    except UserError as error:
        assert "\x1b" not in str(error)
        assert "\n" not in str(error)


def test_a_folder_is_read_once_and_then_cached(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"model_type": "phi"}))
    asked: list[Path] = []

    def inspect(where: Path, model: str) -> dict[str, Any]:
        asked.append(where)
        return catalog()["demo"].manifest().to_json() | {"model": model}

    first = load_manifest(find_model(str(folder)), inspect)
    again = load_manifest(find_model(str(folder)), inspect)
    assert first == again
    assert len(asked) == 1

    (folder / "config.json").write_text(json.dumps({"model_type": "phi", "changed": True}))
    load_manifest(find_model(str(folder)), inspect)
    assert len(asked) == 2


def test_a_broken_cache_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "config.json").write_text("{}")

    def inspect(_where: Path, model: str) -> dict[str, Any]:
        return catalog()["demo"].manifest().to_json() | {"model": model}

    reference = find_model(str(tmp_path))
    load_manifest(reference, inspect)
    for cached in (tmp_path / "cache").rglob("*.json"):
        cached.write_text('{"model": 3')
    assert load_manifest(reference, inspect).model == reference.name
