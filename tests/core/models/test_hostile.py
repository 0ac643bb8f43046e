"""Folders that are not meant well: refused or bounded, with one clear line, the asking process unharmed."""

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from finetune_tui.core import demo
from finetune_tui.core.calls.client import CallProcess, inspect_folder
from finetune_tui.core.errors import UserError
from finetune_tui.core.models.manifest import Manifest
from finetune_tui.core.models.resolve import find_model, load_manifest
from finetune_tui.core.models.weights import look_at, require_whole

CONFIG: dict[str, Any] = json.loads((demo.MODEL_FOLDER / "config.json").read_text())
ESCAPES = "\x1b[31m[@click=app.quit]x[/]\u202e"


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def model(folder: Path, config: Any = None, **changes: Any) -> Path:
    """A folder with this config, or the demo's with changes."""
    folder.mkdir(exist_ok=True)
    text = json.dumps({**CONFIG, **changes} if config is None else config)
    (folder / "config.json").write_text(text)
    return folder


def must_not_be_asked(_folder: Path, _model: str) -> dict[str, Any]:
    raise AssertionError("this should have been refused without torch")


def is_one_clear_line(error: UserError) -> bool:
    text = str(error)
    return len(text) < 600 and not any(ord(letter) < 32 for letter in text)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"num_hidden_layers": 20_000}, "num_hidden_layers: 20,000 is outside 1 to 1,000"),
        ({"hidden_size": -128}, "hidden_size: -128 is outside"),
        ({"num_hidden_layers": -1}, "num_hidden_layers: -1 is outside"),
        ({"vocab_size": 10**13}, "vocab_size: 10,000,000,000,000 is outside"),
        ({"text_config": {"vocab_size": 10**13}}, "vocab_size"),
        ({"hidden_size": 1e400}, "hidden_size"),
        ({"hidden_size": "12"}, "hidden_size: '12' is not a whole number"),
        ({"intermediate_size": [128] * 10 + [-1]}, "intermediate_size: -1"),
        ({"num_attention_heads": True}, "num_attention_heads"),
        ({"anything": 10**30}, "does not fit 64 bits"),
        ({"layer_types": ["x"] * 30_000}, "30000 entries in one place"),
        ({"vocab_size": ESCAPES}, "not a whole number"),
    ],
)
def test_numbers_that_no_model_has_are_refused_without_torch(
    tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    reference = find_model(str(model(tmp_path / "m", **changes)))
    with pytest.raises(UserError, match=words) as refused:
        load_manifest(reference, must_not_be_asked)
    assert is_one_clear_line(refused.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b'{"a": "' + b"x" * (100 * 2**20) + b'"}', "larger than"),
        (b"[" * 100_000, "not JSON"),
        (b'{"a":' * 100 + b"1" + b"}" * 100, "nested deeper"),
        (b"[1, 2]", "a JSON object is expected"),
        (b'{"vocab_size": ' + b"9" * 10_000 + b"}", "not JSON"),
        (b"\xff\xfe{}", "not JSON"),
        (b"", "not JSON"),
    ],
    ids=["100 MB", "brackets", "nested", "list", "digits", "bytes", "empty"],
)
def test_a_config_that_is_not_one_is_refused_without_torch(
    tmp_path: Path, text: bytes, words: str
) -> None:
    (tmp_path / "config.json").write_bytes(text)
    began = time.monotonic()
    with pytest.raises(UserError, match=words) as refused:
        load_manifest(find_model(str(tmp_path)), must_not_be_asked)
    assert is_one_clear_line(refused.value)
    assert time.monotonic() - began < 5


def test_only_pickle_is_refused_before_a_run(tmp_path: Path) -> None:
    (model(tmp_path) / "pytorch_model.bin").write_bytes(b"pickle")
    with pytest.raises(UserError, match="pickle can run code"):
        require_whole(tmp_path)


def test_names_with_escape_codes_are_shown_as_text(tmp_path: Path) -> None:
    folder = model(tmp_path / ESCAPES.replace("/", "|"), model_type=ESCAPES)
    index = {"weight_map": {"a": f"{ESCAPES}.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(UserError, match="no shard"):
        look_at(folder)
    assert "\x1b" not in find_model(str(folder)).title
    assert "\u202e" not in find_model(str(folder)).title


def test_strange_files_are_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "model.safetensors")  # opening it would wait for ever
    assert not look_at(tmp_path).is_complete


@pytest.fixture(scope="module")
def process() -> Iterator[CallProcess]:
    with CallProcess() as process:
        yield process


def inspect_with(process: CallProcess) -> Callable[[Path, str], dict[str, Any]]:
    def inspect(folder: Path, name: str) -> dict[str, Any]:
        answer: dict[str, Any] = process.call("inspect", {"folder": str(folder), "model": name})
        return answer

    return inspect


def test_code_of_its_own_never_runs(tmp_path: Path, process: CallProcess) -> None:
    ran = tmp_path / "ran"
    code = f"open({str(ran)!r}, 'w')\n"
    folder = model(
        tmp_path / "m",
        {
            "model_type": "zorg",
            "auto_map": {
                "AutoConfig": "configuration_zorg.ZorgConfig",
                "AutoModelForCausalLM": "modeling_zorg.ZorgForCausalLM",
            },
        },
    )
    for name in ("configuration_zorg.py", "modeling_zorg.py"):
        (folder / name).write_text(code)
    with pytest.raises(UserError, match="remote code never runs") as refused:
        load_manifest(find_model(str(folder)), inspect_with(process))
    assert is_one_clear_line(refused.value)
    assert not ran.exists()


def test_a_kernel_repository_in_the_config_is_not_fetched(
    tmp_path: Path, process: CallProcess
) -> None:
    names = ("attn_implementation", "_attn_implementation", "_attn_implementation_internal")
    folder = model(tmp_path / "m", **dict.fromkeys(names, "someone/kernel"))
    manifest = load_manifest(find_model(str(folder)), inspect_with(process))
    assert isinstance(manifest, Manifest)
    assert manifest.blocks == CONFIG["num_hidden_layers"]


@pytest.mark.parametrize(
    "changes",
    [
        {"num_attention_heads": 3, "hidden_size": 1},
        {"rope_parameters": {"rope_type": ESCAPES}},
        {"hidden_act": ESCAPES},
        {"model_type": ESCAPES},
        {"pad_token_id": 10**9},
    ],
)
def test_a_config_that_cannot_be_built_is_one_line(
    tmp_path: Path, process: CallProcess, changes: dict[str, Any]
) -> None:
    folder = model(tmp_path / "m", **changes)
    try:
        load_manifest(find_model(str(folder)), inspect_with(process))
    except UserError as error:
        assert is_one_clear_line(error)


def test_a_model_that_takes_too_long_to_build_is_ended(tmp_path: Path) -> None:
    """The largest that the numbers allow: either it is built in time or it is ended in time."""
    folder = model(
        tmp_path / "m",
        {
            "model_type": "olmoe",
            "num_hidden_layers": 1_000,
            "num_experts": 10_000,
            "hidden_size": 128,
            "intermediate_size": 128,
            "num_attention_heads": 4,
            "vocab_size": 700,
        },
    )
    try:
        load_manifest(find_model(str(folder)), inspect_folder)
    except UserError as error:
        assert is_one_clear_line(error)
        assert "did not come to an end" in str(error)


@contextmanager
def changed(path: Path) -> Iterator[dict[str, Any]]:
    value = json.loads(path.read_text())
    yield value
    path.write_text(json.dumps(value))


def chat(folder: Path, template: str | None = None, regex: str | None = None) -> dict[str, Any]:
    """What the call `tokens` gets: one chat, and the demo with another template or regex."""
    shutil.copytree(demo.MODEL_FOLDER, folder / "m")
    with changed(folder / "m" / "tokenizer_config.json") as config:
        if template is not None:
            config["chat_template"] = template
    with changed(folder / "m" / "tokenizer.json") as tokenizer:
        if regex is not None:
            tokenizer["normalizer"] = {
                "type": "Replace",
                "pattern": {"Regex": regex},
                "content": "x",
            }
    turns = [
        {"role": "user", "content": "a" * 40 + "!"},
        {"role": "assistant", "content": "b"},
    ]
    (folder / "rows.jsonl").write_text(json.dumps({"messages": turns}) + "\n")
    return {
        "files": [str(folder / "rows.jsonl")],
        "weights": str(folder / "m"),
        "name": "hostile",
        "max_length": 64,
        "completion_only_loss": True,
        "assistant_only_loss": True,
        "last_turn_only": False,
        "strict": False,
        "examples": 1,
    }


LOOP = "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}"


@pytest.mark.parametrize(
    ("template", "regex", "words"),
    [
        (LOOP, None, "tokenising did not come to an end within"),
        ("{{ 'a' * 10**10 }}", None, "too much memory for one row|needed more than|to an end"),
        ("{{ 9 ** (9 ** 9) }}", None, "tokenising did not come to an end within"),
        (None, "(a|aa)+$", "the tokenizer gives up on this row"),
    ],
    ids=["loop", "memory", "power", "regex"],
)
def test_a_template_or_regex_that_does_not_end_is_ended(
    tmp_path: Path, process: CallProcess, template: str | None, regex: str | None, words: str
) -> None:
    with pytest.raises(UserError, match=words) as refused:
        process.call("tokens", chat(tmp_path, template, regex))
    assert is_one_clear_line(refused.value)


def test_a_template_cannot_reach_python(tmp_path: Path, process: CallProcess) -> None:
    template = "{{ ''.__class__.__mro__[1].__subclasses__() }}"
    with pytest.raises(UserError, match="chat template refuses this row"):
        process.call("tokens", chat(tmp_path, template))
