"""A run that came from somewhere: whatever its files say, it is one clear line, soon, and nothing is run."""

import json
import math
import os
import pickle
import shutil
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from finetune_tui.core.errors import UserError
from finetune_tui.core.models.inspection import inspect_folder
from finetune_tui.core.models.manifest import Manifest
from finetune_tui.core.models.resolve import find_model
from finetune_tui.core.models.tensor_file import read_header
from finetune_tui.core.runs.adapter_check import check_base, check_result
from finetune_tui.core.runs.directory import RunDirectory, create_run, list_runs
from finetune_tui.core.runs.launch import make_task_run
from finetune_tui.core.runs.state import Status, write_state
from finetune_tui.core.training.tuned import load_tuned
from finetune_tui.core.tuning.resolve import selection_of
from finetune_tui.core.tuning.spec import demo_spec
from finetune_tui.core.tuning.spec_file import write_spec
from finetune_tui.core.tuning.task_spec import CompareSpec
from tests.core.runs.adapters import add_result

from .conftest import finish
from .families import make_folder
from .trained_runs import as_trained, copy_of, finished_run, spec_of

SOON = 10.0  # seconds
BACKTRACKS = "(a+)+$|" + "model" * 3 + r"(.*)*(.*)*(.*)*x"
Q = "base_model.model.model.layers.0.self_attn.q_proj"
MODULES: list[Any] = [
    {"model.layers.{0..4}.self_attn.{q_proj,k_proj}": "lora"},
    {"model.layers.1.mlp.fc1": {"mode": "lora", "r": 2, "lora_alpha": 16}},
    {"model.layers.{0..4}.input_layernorm": "full"},
    {"model.layers.{0..4}.mlp.fc2": "bias"},
]


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    folder = tmp_path_factory.mktemp("hostile")
    spec = spec_of(make_folder("phi", folder / "model"), modules=MODULES)
    return finished_run(folder, spec, as_trained(spec))


@pytest.fixture
def run(sound: RunDirectory) -> Any:
    """A copy to be damaged."""
    copy = copy_of(sound, "r2-copy")
    yield copy
    shutil.rmtree(copy.path)


def refused(run: RunDirectory) -> str:
    """The one line with which the run is refused, in time and before a model is loaded."""
    began = time.monotonic()
    with pytest.raises(UserError) as error:
        load_tuned(run)
    assert time.monotonic() - began < SOON
    line = str(error.value)
    assert "\n" not in line
    assert "\x1b" not in line
    assert len(line) < 1200
    return line


def config_path(run: RunDirectory) -> Path:
    return run.adapter / "adapter_config.json"


def tensors_path(run: RunDirectory) -> Path:
    return run.adapter / "adapter_model.safetensors"


def change_config(run: RunDirectory, **values: Any) -> None:
    config = json.loads(config_path(run).read_text())
    config_path(run).write_text(json.dumps({**config, **values}))


def change_tensors(run: RunDirectory, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    tensors = load_file(tensors_path(run))
    change(tensors)
    save_file(tensors, tensors_path(run))


def write_header(path: Path, header: dict[str, Any] | bytes, numbers: bytes = b"") -> None:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + numbers)


def test_the_run_itself_is_sound(sound: RunDirectory) -> None:
    assert load_tuned(sound).step is None


# What the settings of an adapter may say

CONFIGS: dict[str, tuple[dict[str, Any], str]] = {
    "a pattern for names": ({"target_modules": BACKTRACKS}, "is a pattern"),
    "names that do not exist": ({"target_modules": ["q_proj", "k_proj", "zz"]}, "names 'zz'"),
    "more modules": ({"target_modules": ["q_proj", "k_proj", "fc1"]}, "fc1', which this run did"),
    "fewer modules": ({"target_modules": ["q_proj"]}, "does not name 'model.layers."),
    "no modules": ({"target_modules": None}, "target_modules: not a list of names"),
    "names of no kind": ({"target_modules": [["q_proj"]]}, "not a list of names"),
    "saved modules that do not exist": ({"modules_to_save": ["nothing"]}, "names 'nothing'"),
    "a pattern of saved modules": ({"modules_to_save": BACKTRACKS}, "is a pattern"),
    "r of 10⁷": ({"r": 10**7}, "r: 10000000 for model.layers.0.self_attn.q_proj, where 4"),
    "r below nothing": ({"r": -4}, "r: -4 for"),
    "r as text": ({"r": "4"}, "r: '4' for"),
    "no r": ({"r": None}, "r: None for"),
    "alpha of infinity": ({"lora_alpha": math.inf}, "lora_alpha: inf for"),
    "alpha that is none": ({"lora_alpha": math.nan}, "lora_alpha: nan for"),
    "another alpha": ({"lora_alpha": 1200}, "lora_alpha: 1200 for"),
    "a pattern of ranks": ({"rank_pattern": {BACKTRACKS: 4}}, "rank_pattern: names '(a+)+$"),
    "another rank": ({"rank_pattern": {"model.layers.1.mlp.fc1": 3}}, "r: 3 for model.layers.1"),
    "ranks of no kind": ({"rank_pattern": [4]}, "rank_pattern: not a list of modules"),
    "a pattern of alphas": ({"alpha_pattern": {".*": 4}}, "alpha_pattern: names '.*'"),
    "layers": ({"layers_to_transform": [0], "layers_pattern": BACKTRACKS}, "layers_to_transform"),
    "a pattern of layers": ({"layers_pattern": BACKTRACKS}, "layers_pattern: an adapter trained"),
    "layers twice": ({"layer_replication": [[0, 10**9]]}, "layer_replication"),
    "a library to import": (
        {"auto_mapping": {"base_model_class": "x", "parent_library": "os"}},
        "auto_mapping",
    ),
    "megatron": ({"megatron_config": {"a": 1}}, "megatron_config"),
    "parameters": ({"target_parameters": ["mlp.fc2.weight"]}, "target_parameters"),
    "another method": ({"peft_type": "IA3"}, "peft_type: 'IA3', where 'LORA'"),
    "DoRA": ({"use_dora": True}, "use_dora: True, where False was trained"),
    "biases": ({"bias": "all"}, "bias: 'all', where 'none'"),
    "another start": ({"init_lora_weights": "pissa"}, "plain PEFT would change the base for it"),
    "tokens": ({"trainable_token_indices": {"model.embed_tokens": [1]}}, "trainable_token_indices"),
}


def test_tokens_that_were_not_trained(sound: RunDirectory, tmp_path: Path) -> None:
    spec = spec_of(Path(sound.spec().model_name_or_path), trainable_token_indices=["5", "9"])
    run = finished_run(tmp_path, spec, as_trained(spec))
    for tokens, said in (
        ([5, 8], "of other tokens"),
        ([9, 5], "of other tokens"),
        ([5], "not the 2 tokens"),
        ([5, 10**9], "not the 2 tokens"),
        ("5, 9", "not the 2 tokens"),
    ):
        change_config(run, token_indices=tokens)
        assert said in refused(run)
    change_config(run, token_indices=[5, 9])
    load_tuned(run)


@pytest.mark.parametrize("name", CONFIGS)
def test_settings_that_were_not_trained(name: str, run: RunDirectory) -> None:
    values, said = CONFIGS[name]
    change_config(run, **values)
    line = refused(run)
    assert said in line
    assert "adapter_config.json" in line


def test_the_base_of_an_adapter_is_the_runs(run: RunDirectory) -> None:
    """Of a model with a public name; where that of a folder lies now is its owner's business."""
    change_config(run, base_model_name_or_path="\x1b[2J\x1b]0;evil\x07somebody/other")
    load_tuned(run)
    public = find_model("microsoft/phi-2")
    with pytest.raises(UserError) as error:
        check_base(json.loads(config_path(run).read_text()), public)
    assert "made for" in str(error.value)
    assert "\x1b" not in str(error.value)


CONTENTS: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "not JSON"),
    "a list": (b"[]", "no JSON object"),
    "brackets": (b"[" * 100_000, "not JSON"),
    "digits": (b'{"r": ' + b"9" * 5000 + b"}", "not JSON"),
    "deep": (b'{"peft_type": ' + b"[" * 900 + b"]" * 900 + b"}", "peft_type: [["),
    "no text": (b"\xff\xfe{}", "not JSON"),
    "too much": (b" " * (17 * 2**20), "larger than"),
    "a million names": (
        b'{"peft_type": "LORA", "target_modules": [' + b'"a",' * 10**6 + b'"b"]}',
        "names 'a'",
    ),
}


@pytest.mark.parametrize("name", CONTENTS)
def test_settings_that_are_none(name: str, run: RunDirectory) -> None:
    content, said = CONTENTS[name]
    config_path(run).write_bytes(content)
    assert said in refused(run)


# What the tensors may be


def _nan(tensors: dict[str, torch.Tensor]) -> None:
    tensors[f"{Q}.lora_B.weight"][1, 1] = math.nan


def _infinite(tensors: dict[str, torch.Tensor]) -> None:
    tensors["base_model.model.model.layers.2.input_layernorm.weight"][0] = math.inf


def _missing(tensors: dict[str, torch.Tensor]) -> None:
    del tensors[f"{Q}.lora_A.weight"], tensors[f"{Q}.lora_B.weight"]


def _more(tensors: dict[str, torch.Tensor]) -> None:
    tensors["base_model.model.lm_head.weight"] = torch.zeros(700, 32)


def _of_another_base(tensors: dict[str, torch.Tensor]) -> None:
    for name in list(tensors):
        tensors[name.replace("model.layers", "transformer.h")] = tensors.pop(name)


def _wider(tensors: dict[str, torch.Tensor]) -> None:
    tensors[f"{Q}.lora_A.weight"] = torch.zeros(4, 64)


def _of_higher_rank(tensors: dict[str, torch.Tensor]) -> None:
    tensors[f"{Q}.lora_A.weight"] = torch.zeros(1000, 32)
    tensors[f"{Q}.lora_B.weight"] = torch.zeros(32, 1000)


def _of_whole_numbers(tensors: dict[str, torch.Tensor]) -> None:
    tensors[f"{Q}.lora_A.weight"] = tensors[f"{Q}.lora_A.weight"].to(torch.int64)


def _with_an_odd_name(tensors: dict[str, torch.Tensor]) -> None:
    tensors["\x1b[31m" + "x" * 5000] = torch.zeros(1)


def _nan_everywhere(tensors: dict[str, torch.Tensor]) -> None:
    """holds numbers that are none"""
    for tensor in tensors.values():
        tensor.fill_(math.nan)


def _missing_all(tensors: dict[str, torch.Tensor]) -> None:
    """tensors are missing"""
    tensors.clear()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_nan, f"{Q}.lora_B.weight holds numbers that are none"),
        (_infinite, "input_layernorm.weight holds numbers that are none"),
        (_missing, f"2 tensors are missing, first: {Q}.lora_A.weight"),
        (_more, "1 tensor is too many, first: 'base_model.model.lm_head.weight'"),
        (_of_another_base, "tensors are missing, first: base_model.model.model.layers"),
        (_wider, f"{Q}.lora_A.weight is 4 × 64 and should be 4 × 32"),
        (_of_higher_rank, f"{Q}.lora_A.weight is 1,000 × 32 and should be 4 × 32"),
        (_of_whole_numbers, f"{Q}.lora_A.weight is I64"),
        (_with_an_odd_name, "1 tensor is too many"),
    ],
)
def test_tensors_that_were_not_trained(
    change: Callable[[dict[str, torch.Tensor]], object], said: str, run: RunDirectory
) -> None:
    change_tensors(run, change)
    assert said in refused(run)


def test_what_trained_in_place_is_looked_at_too(run: RunDirectory) -> None:
    tensors = load_file(run.trained)
    name = "model.layers.0.mlp.fc2.bias"
    save_file({**tensors, name: torch.full((32,), math.nan)}, run.trained)
    assert f"{name} holds numbers that are none" in refused(run)
    save_file({**tensors, "model.embed_tokens.weight": torch.zeros(700, 32)}, run.trained)
    assert "1 tensor is too many, first: 'model.embed_tokens.weight'" in refused(run)
    run.trained.unlink()
    assert "trained.safetensors is missing" in refused(run)


# What the files may be


class _Runs:
    def __reduce__(self) -> Any:
        return (os.system, ("touch was-run",))


def test_pickle_is_never_opened(run: RunDirectory) -> None:
    (run.adapter / "adapter_model.bin").write_bytes(pickle.dumps(_Runs()))
    assert "adapter_model.bin: pickle can run code" in refused(run)
    tensors_path(run).unlink()
    assert "only adapter_model.bin: pickle can run code" in refused(run)
    assert not Path("was-run").exists()


def test_a_file_that_leads_out_of_the_run_is_not_followed(
    run: RunDirectory, sound: RunDirectory
) -> None:
    for path in (tensors_path(run), config_path(run), run.trained, run.adapter):
        is_folder = path.is_dir()
        aside = path.rename(path.with_name("aside"))
        path.symlink_to(sound.path / path.relative_to(run.path))
        assert "leads out of the run" in refused(run)
        path.unlink()
        path.symlink_to(path)  # in a circle
        assert refused(run)
        path.unlink()
        if not is_folder:
            os.mkfifo(path)
            assert "not a plain file" in refused(run)
            path.unlink()
        aside.rename(path)
    load_tuned(run)


def test_a_missing_part_is_named(run: RunDirectory) -> None:
    config_path(run).unlink()
    assert "adapter_config.json is missing" in refused(run)
    tensors_path(run).unlink()
    assert "adapter_model.safetensors is missing" in refused(run)
    run.adapter.rmdir()
    assert "adapter/ is missing" in refused(run)


F32 = {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]}
TENSOR = {"a": F32}


@pytest.mark.parametrize(
    ("header", "numbers", "said"),
    [
        ({}, b"1234", "4B of numbers, where its header speaks of 0B"),
        (TENSOR, b"", "where its header speaks of 16B"),
        ({"a": {**F32, "shape": [-2, -2]}}, b"0" * 16, "'a' makes no sense"),
        ({"a": {**F32, "shape": [2**40, 2**40]}}, b"0" * 16, "'a' makes no sense"),
        ({"a": {**F32, "shape": [2.0, 2]}}, b"0" * 16, "'a' makes no sense"),
        ({"a": {**F32, "shape": [1] * 10_000}}, b"0" * 16, "'a' makes no sense"),
        ({"a": {**F32, "dtype": "F33"}}, b"0" * 16, "'a' makes no sense"),
        ({"a": {**F32, "data_offsets": [16, 0]}}, b"0" * 16, "'a' makes no sense"),
        ({"a": {**F32, "data_offsets": [0]}}, b"0" * 16, "'a' makes no sense"),
        ({"a": [1]}, b"", "'a' makes no sense"),
        ({"a": F32, "b": F32}, b"0" * 32, "'b' does not begin where the tensor before it ends"),
        ({"a": {**F32, "data_offsets": [8, 24]}}, b"0" * 24, "'a' does not begin"),
        (b"[]", b"", "its header is not safetensors"),
        (b"{", b"", "its header is not safetensors"),
    ],
)
def test_a_header_that_lies(
    header: dict[str, Any] | bytes, numbers: bytes, said: str, run: RunDirectory
) -> None:
    write_header(tensors_path(run), header, numbers)
    assert said in refused(run)


def test_a_header_of_brackets(run: RunDirectory) -> None:
    write_header(tensors_path(run), b"[" * 200_000)
    assert "its header is not safetensors" in refused(run)


def test_a_header_longer_than_any_is_not_read(run: RunDirectory) -> None:
    path = tensors_path(run)
    path.write_bytes(struct.pack("<Q", 2**63) + b"{}")
    assert "not a whole safetensors file" in refused(run)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", 2**33))
        file.truncate(2**34)  # no byte of it on the disk
    assert "a header of 8.0G, so it is not read" in refused(run)


def test_a_long_header_is_not_read(run: RunDirectory) -> None:
    write_header(tensors_path(run), b'{"a' + b"a" * (17 * 2**20) + b'":1}')
    assert "so it is not read" in refused(run)


@pytest.mark.soak
def test_as_many_tensors_as_a_header_holds_are_refused_in_time(run: RunDirectory) -> None:
    entry = b'"%d":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}'
    for tensors, said in ((99_000, "tensors are missing"), (280_000, "more than 100,000 tensors")):
        write_header(tensors_path(run), b"{" + b",".join(entry % n for n in range(tensors)) + b"}")
        assert said in refused(run)


# The command and the worker, as they are used


@pytest.fixture
def demo_run(tmp_path: Path) -> RunDirectory:
    """A finished run of the demo, all numbers 0."""
    run = create_run(tmp_path / "home", write_spec(demo_spec()), "demo", model="demo")
    write_state(run.state_path, run.state().changed(status=Status.FINISHED, attempt=1))
    return add_result(run)


@pytest.mark.soak
@pytest.mark.parametrize(
    "values", [{"target_modules": BACKTRACKS}, {"r": 10**7, "rank_pattern": {}}]
)
def test_the_command_refuses_before_it_starts_anything(
    values: dict[str, Any], demo_run: RunDirectory, tmp_path: Path
) -> None:
    change_config(demo_run, **values)
    began = time.monotonic()
    words = ["--home", str(tmp_path / "home"), "compare", "r1", "--json"]
    command = [sys.executable, "-m", "finetune_tui.tui.cli", *words]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert time.monotonic() - began < SOON
    assert ended.returncode == 2, ended.stderr
    assert next(iter(values)) in json.loads(ended.stdout)["error"]["where"]
    assert list_runs(tmp_path / "home") == [demo_run]


@pytest.mark.training
@pytest.mark.soak
@pytest.mark.parametrize("change", [_nan_everywhere, _missing_all])
def test_the_worker_refuses_soon_after_it_looked(
    change: Callable[[dict[str, torch.Tensor]], object], demo_run: RunDirectory, tmp_path: Path
) -> None:
    """What became of the files after the comparison was asked for."""
    run = make_task_run(tmp_path / "home", CompareSpec(run="r1"))
    change_tensors(demo_run, change)
    events = finish(run)
    assert run.state().status is Status.FAILED
    looked = next(event["t"] for event in events if event.get("phase") == "checking the result")
    assert events[-1]["t"] - looked < SOON
    assert change.__doc__ in events[-1]["message"]
    assert not (demo_run.path / "comparisons").exists()


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3)
    ),
    max_leaves=6,
)
KEYS = (
    *("peft_type", "r", "lora_alpha", "target_modules", "modules_to_save", "rank_pattern"),
    *("alpha_pattern", "use_dora", "use_rslora", "bias", "init_lora_weights", "auto_mapping"),
    *("layers_pattern", "trainable_token_indices", "base_model_name_or_path", "fan_in_fan_out"),
)


@pytest.fixture(scope="module")
def manifest(sound: RunDirectory) -> Manifest:
    return inspect_folder(Path(sound.spec().model_name_or_path), "tiny")


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=50
)
@given(values=st.dictionaries(st.sampled_from(KEYS), json_values, max_size=4))
def test_no_settings_break_the_check(
    values: dict[str, Any], run: RunDirectory, manifest: Manifest, sound: RunDirectory
) -> None:
    """Whatever the settings say, it is a line or the run as it was trained."""
    shutil.copy(config_path(sound), config_path(run))
    change_config(run, **values)
    spec = sound.spec()
    try:
        check_result(
            run, spec, manifest, selection_of(spec, manifest), find_model(spec.model_name_or_path)
        )
    except UserError as error:
        assert "\n" not in str(error)


@given(st.binary(max_size=200), st.dictionaries(st.text(max_size=5), json_values, max_size=4))
def test_no_header_breaks_the_reader(
    tmp_path_factory: pytest.TempPathFactory, numbers: bytes, header: dict[str, Any]
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.safetensors"
    for content in (numbers, header):
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            write_header(path, content, numbers)
        try:
            found = read_header(path)
        except UserError as error:
            assert "\n" not in str(error)
        else:
            assert sum(tensor.end - tensor.begin for tensor in found.values()) <= len(numbers)
