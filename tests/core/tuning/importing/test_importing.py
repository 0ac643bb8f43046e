"""Whose file it is, what single keys become, and files that nobody meant well."""

import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from finetune_tui.core.errors import UserError
from finetune_tui.core.models.manifest import Manifest
from finetune_tui.core.models.resolve import ModelReference
from finetune_tui.core.tuning.importing import axolotl_keys, llama_factory_keys, trl_keys
from finetune_tui.core.tuning.importing.importing import (
    TOOLS,
    Imported,
    import_file,
    other_tool,
    recognise,
    translate,
)
from finetune_tui.core.tuning.importing.notes import Kind
from finetune_tui.core.tuning.importing.reading import LARGEST, parse_yaml
from finetune_tui.core.tuning.importing.regexes import matching
from finetune_tui.core.tuning.importing.telling import as_page, as_yaml
from finetune_tui.core.tuning.resolve import selection_of
from finetune_tui.core.tuning.spec_file import parse_spec
from tests.core.tuning.importing.test_files import FILES, look

AXOLOTL = {"base_model": "microsoft/phi-2", "adapter": "lora", "lora_target_linear": True}


def made(values: dict[str, Any], tool: str = "axolotl", folder: Path = FILES) -> Imported:
    file = parse_yaml(yaml.safe_dump(values, sort_keys=False), "config.yaml")
    return translate(file, tool, folder, look)


def words(found: Imported, kind: Kind) -> dict[str, str]:
    return {note.key: note.words for note in found.notes if note.kind is kind}


def modules(found: Imported) -> dict[str, str]:
    assert found.manifest is not None
    choices = selection_of(found.spec, found.manifest).choices
    return {name: choice.mode.value for name, choice in choices.items()}


# Whose file it is.


@pytest.mark.parametrize("path", sorted(FILES.glob("*.y*ml")), ids=lambda path: path.name)
def test_a_file_is_known_by_its_keys(path: Path) -> None:
    tool = next(tool for tool in TOOLS if path.name.startswith(tool))
    assert recognise(parse_yaml(path.read_text(), path.name)) == tool


def test_a_spec_of_this_app_is_nobody_else_s(tmp_path: Path) -> None:
    spec = tmp_path / "spec.yaml"
    spec.write_text("base_model: microsoft/phi-2\npreset: all-linear\nsequence_len: 64\n")
    assert other_tool(spec) is None
    assert parse_spec(spec.read_text()).max_length == 64
    with pytest.raises(UserError, match=r"spec of this app already.*finetune-tui train"):
        import_file(spec, look)


def test_when_nothing_tells_it_asks(tmp_path: Path) -> None:
    unsure = tmp_path / "unsure.yaml"
    unsure.write_text("model_name_or_path: microsoft/phi-2\nlearning_rate: 1e-4\n")
    with pytest.raises(UserError, match=r"cannot be told by its keys.*--from axolotl"):
        import_file(unsure, look)
    assert import_file(unsure, look, "trl").spec.learning_rate == 1e-4


def test_keys_tell_one_tool_only() -> None:
    tables = [axolotl_keys, llama_factory_keys, trl_keys]
    for table in tables:
        # A key that only changes its name is not also left out.
        assert not table.SAME.keys() & (table.DROPPED.keys() | table.CHANGES.keys())
        assert not table.DROPPED.keys() & table.CHANGES.keys()
        for key in table.TELLING:
            others = [other for other in tables if other is not table]
            assert not any(key in other.TELLING for other in others), key


# What single keys become.


def test_a_target_is_the_end_of_a_name_behind_a_dot() -> None:
    found = made({**AXOLOTL, "lora_target_linear": None, "lora_target_modules": ["dense", "proj"]})
    assert modules(found) == {f"model.layers.{n}.self_attn.dense": "lora" for n in range(32)}
    assert "'proj' names nothing" in words(found, Kind.DROPPED)["lora_target_modules"]


def test_one_text_alone_is_an_expression_for_whole_names() -> None:
    values = {**AXOLOTL, "lora_target_linear": None}
    found = made({**values, "lora_target_modules": r"model\.layers\.(3|7)\.mlp\.fc[12]"})
    assert modules(found) == {f"model.layers.{n}.mlp.fc{i}": "lora" for n in (3, 7) for i in (1, 2)}


def test_an_embedding_under_two_names_trains_as_one() -> None:
    values = {**AXOLOTL, "base_model": "Qwen/Qwen2.5-0.5B", "lora_modules_to_save": ["lm_head"]}
    found = made(values)
    assert modules(found)["model.embed_tokens"] == "full"
    assert "lm_head" not in modules(found)
    assert "one matrix" in words(found, Kind.CHANGES)["lora_modules_to_save"]


def test_what_cannot_be_adapted_is_told_and_the_rest_trains() -> None:
    values = {**AXOLOTL, "lora_target_linear": None}
    found = made({**values, "lora_target_modules": ["q_proj", "final_layernorm"]})
    assert set(modules(found)) == {f"model.layers.{n}.self_attn.q_proj" for n in range(32)}
    assert "final_layernorm" in words(found, Kind.IMPOSSIBLE)["lora_target_modules"]


@pytest.mark.parametrize(("layers", "blocks"), [(3, range(29, 32)), (-2, range(2))])
def test_freeze_tuning_from_either_end(layers: int, blocks: range) -> None:
    found = made(
        {
            "model_name_or_path": "microsoft/phi-2",
            "finetuning_type": "freeze",
            "freeze_trainable_layers": layers,
            "freeze_trainable_modules": "all",
        },
        "llama-factory",
    )
    assert {name.split(".")[2] for name in modules(found)} == {str(block) for block in blocks}
    assert f"model.layers.{blocks[0]}.input_layernorm" in modules(found)


def test_no_command_comes_from_a_file() -> None:
    found = made({**AXOLOTL, "on_end": "touch /tmp/x", "hooks": ["rm"], "plugins": ["a.b.C"]})
    assert words(found, Kind.UNKNOWN).keys() == {"on_end", "hooks"}
    assert "code" in words(found, Kind.CHANGES)["plugins[0]"]
    assert "touch" not in as_yaml(found, "x").rpartition("model_name_or_path")[2]


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({**AXOLOTL, "rl": "dpo"}, "rl: asks for preference training"),
        ({**AXOLOTL, "adapter": "llama-adapter"}, "adapter: no 'llama-adapter' here"),
        ({**AXOLOTL, "learning_rate": "fast"}, "learning_rate: 'fast' is not a number"),
        ({**AXOLOTL, "micro_batch_size": 10**9}, "micro_batch_size: .*between 1 and"),
        ({**AXOLOTL, "lora_target_linear": "maybe"}, "lora_target_linear: 'maybe' is not true"),
        ({**AXOLOTL, "base_model": None}, "names no model"),
        ({**AXOLOTL, "load_in_8bit": True, "load_in_4bit": True}, "both load_in_4bit and"),
        ({"base_model": "microsoft/phi-2", "unfrozen_parameters": ["nothing"]}, "names no module"),
        ({"base_model": "microsoft/phi-2", "load_in_8bit": True}, "weights are quantised"),
        ({**AXOLOTL, "datasets": ["a", {"path": "b"}]}, r"datasets\[0\]: 'a' is no data set"),
        ({**AXOLOTL, "base_model": "microsoft/phi2"}, "unknown model.*did you mean"),
    ],
)
def test_what_cannot_be_is_one_line(values: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError, match=says) as told:
        made(values)
    assert "\n" not in str(told.value)


def test_a_model_that_cannot_be_looked_at_is_imported_where_a_preset_says_it_all() -> None:
    def blind(reference: ModelReference) -> Manifest:
        raise UserError("no network", where=reference.name)

    file = parse_yaml(yaml.safe_dump({**AXOLOTL, "base_model": "own/model"}), "config.yaml")
    found = translate(file, "axolotl", FILES, blind)
    assert found.spec.preset == "all-linear"
    assert found.manifest is None
    assert any("no name was checked" in note.words for note in found.notes)
    file = parse_yaml(
        yaml.safe_dump(
            {"base_model": "own/model", "adapter": "lora", "lora_target_modules": ["x"]}
        ),
        "config.yaml",
    )
    with pytest.raises(UserError, match="no network"):
        translate(file, "axolotl", FILES, blind)


def test_paths_are_found_from_the_file_and_from_above_it(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"text": "a"}\n')
    below = tmp_path / "configs" / "lora"
    below.mkdir(parents=True)
    for path, wanted in (
        ("rows.jsonl", str(tmp_path / "rows.jsonl")),
        ("a/b", "hf://datasets/a/b"),
    ):
        found = made({**AXOLOTL, "datasets": [{"path": path, "type": "completion"}]}, folder=below)
        assert found.spec.train_files == (wanted,)
    found = made({**AXOLOTL, "datasets": [{"path": "gone.jsonl"}]}, folder=below)
    assert "not on this disk" in words(found, Kind.IMPOSSIBLE)["datasets[0].path"]


# Files that nobody meant well.

BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{name}: &{name} [{','.join([f'*{before}'] * 9)}]\n"
    for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)
MERGES = "a: &a {x: 1, y: 2}\n" + "".join(
    f"{name}: &{name} {{<<: [{','.join([f'*{before}'] * 9)}], k{name}: 1}}\n"
    for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (BOMB, "stands for more than 20000 values"),
        (MERGES, "stands for more than 20000 values"),
        ("a: &a [*a]", "nested too deeply, or in itself"),
        ("a: &a {b: *a}", "nested too deeply, or in itself"),
        ("[" * 5000, "nested too deeply|not YAML"),
        ("- " * 50_000, "nested too deeply|not YAML"),
        ("? " * 50_000, "nested too deeply|not YAML"),
        ("[" * 200_000, "nested too deeply"),
        ("\n".join(" " * n + "a:" for n in range(500)), "nested too deeply|not YAML"),
        ("{a: " * 5000, "nested too deeply|not YAML"),
        ("a: !!python/object/apply:os.system ['true']", "a setting is no code"),
        ("a: !!python/name:os.system", "a setting is no code"),
        ("!!set {a, b}", "a setting is no code"),
        ("a: 1\nb: 2\na: 3", "config.yaml:3: 'a' is written twice"),
        ("? [a, b]\n: c", "a key is a single word"),
        ("- a\n- b", "not a list of `key: value` lines"),
        ("", "not a list of `key: value` lines"),
        ("a: [1", "not YAML"),
        ("a: \x00", "not YAML"),
        ("a: " + "9" * 5000, "not YAML"),
        ("x" * (LARGEST + 1), "larger than such a file can be"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_a_hostile_text_is_refused_in_one_line(text: str, says: str) -> None:
    began = time.monotonic()
    with pytest.raises(UserError, match=says) as told:
        parse_yaml(text, "config.yaml")
    assert "\n" not in str(told.value)
    assert len(str(told.value)) < 300
    assert time.monotonic() - began < 10


def test_merge_keys_are_followed_and_what_stands_there_wins() -> None:
    text = "base: &base {lr: 1, r: 2}\nmore: {<<: *base, r: 3}\n"
    file = parse_yaml(text, "config.yaml")
    assert file.values["more"] == {"lr": 1, "r": 3}
    assert file.line("more.r") == 2


@pytest.mark.parametrize("kind", ["folder", "pipe", "absent", "binary", "large"])
def test_what_is_no_file_of_text_is_refused(tmp_path: Path, kind: str) -> None:
    import os

    path = tmp_path / "config.yml"
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "binary":
        path.write_bytes(b"\xff\xfe\x00\x01")
    elif kind == "large":
        path.write_bytes(b"a" * 10 * 2**20)
    assert other_tool(path) is None
    with pytest.raises(UserError, match=r"config\.yml"):
        import_file(path, look)


def test_an_expression_that_backtracks_is_ended() -> None:
    began = time.monotonic()
    with pytest.raises(UserError, match=r"more than 0\.7 seconds"):
        matching([r"(a|aa)+$"], ["a" * 60 + "b"], "config.yml:3", seconds=0.7)
    assert time.monotonic() - began < 10


@pytest.mark.parametrize("pattern", ["(", "a{5,2}", "(?P<x>a)(?P<x>b)", "[", "a" * 2000])
def test_what_is_no_expression_is_one_line(pattern: str) -> None:
    with pytest.raises(UserError, match="regular expression") as told:
        matching([pattern], ["a"], "config.yml:3")
    assert "\n" not in str(told.value)


def test_notes_of_hostile_keys_are_words() -> None:
    found = made({**AXOLOTL, "\x1b[31mred\nline": "[@click=app.quit]x[/]", "# [a](b)": "`"})
    page, text = as_page(found), as_yaml(found, "a\nb")
    assert "\x1b" not in page + text
    assert parse_spec(text) == found.spec
    assert page.count("`") % 2 == 0


_SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.text(max_size=20),
    st.sampled_from(
        ["lora", "qlora", "all", "auto", "epoch", "no", "4", "q_proj", "-3", "nan", "1e400"]
    ),
)
_VALUES = st.recursive(
    _SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["path", "type", "split", "data_files", "x"]), inner, max_size=3
        )
    ),
    max_leaves=8,
)
_KEYS = {
    "axolotl": [
        *axolotl_keys.SAME,
        *axolotl_keys.TELLING,
        *axolotl_keys.DROPPED,
        *axolotl_keys.CHANGES,
    ],
    "llama-factory": [
        *llama_factory_keys.SAME,
        *llama_factory_keys.TELLING,
        *llama_factory_keys.CHANGES,
    ],
    "trl": [*trl_keys.SAME, *trl_keys.TELLING, *trl_keys.DROPPED, *trl_keys.CHANGES],
}


@given(st.data())
@settings(max_examples=25, deadline=None)
def test_whatever_stands_in_a_file_it_is_a_spec_or_one_line(data: st.DataObject) -> None:
    tool = data.draw(st.sampled_from(sorted(_KEYS)))
    own = sorted(set(_KEYS[tool]) - {"unfrozen_parameters", "lora_rank_pattern"})
    keys = st.sampled_from(own) | st.text(max_size=8)
    values = data.draw(st.dictionaries(keys, _VALUES, max_size=6))
    model = "base_model" if tool == "axolotl" else "model_name_or_path"
    text = yaml.safe_dump({**values, model: "demo"}, sort_keys=False, allow_unicode=True)
    try:
        found = translate(parse_yaml(text, "config.yaml"), tool, FILES, look)
    except UserError as error:
        assert "\n" not in str(error)
        assert len(str(error)) < 2000
    else:
        assert parse_spec(as_yaml(found, "x")) == found.spec
        told = {note.key for note in found.notes}
        for key, value in values.items():
            if key not in own and value is not None:
                assert any(key[:2] in one or not key.isprintable() for one in told), key


@given(st.text(max_size=200) | st.binary(max_size=200).map(lambda raw: raw.decode("latin-1")))
@settings(max_examples=150, deadline=None)
def test_any_text_is_values_or_one_line(text: str) -> None:
    try:
        parse_yaml(text, "config.yaml")
    except UserError as error:
        assert "\n" not in str(error)
