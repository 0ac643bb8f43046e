"""Downloading: what is fetched, what a Hub may refuse, what breaks on the way, and what stays."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from finetune_tui.core import demo
from finetune_tui.core.errors import UserError, WorkFailed
from finetune_tui.core.models.hub import fetch_config, fetch_model, fetch_tokenizer
from finetune_tui.core.models.hub_files import Progress
from finetune_tui.core.models.weights import cached, look_at, scan_cache
from tests.core.models.hub_server import COMMIT, FakeHub, files_of, sharded
from tests.small_disk import mounted

NAME = "someone/small"
TOKEN = "hf_" + "secretsecret" * 3


def unheard(_: Progress) -> None:
    return


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[FakeHub]:
    files = sharded(demo.MODEL_FOLDER, tmp_path / "model")
    files |= {
        "pytorch_model.bin": b"pickle",
        "modeling_small.py": b"import os",
        "consolidated.safetensors": b"the same again",
        "README.md": b"words",
    }
    with FakeHub(NAME, files).running() as hub:
        yield hub


@pytest.fixture
def home(hub: FakeHub, tmp_path: Path) -> dict[str, str]:
    """An environment in which this Hub is the Hub."""
    return {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "hf")}


def test_what_training_needs_is_fetched_and_nothing_else(
    hub: FakeHub, home: dict[str, str], tmp_path: Path
) -> None:
    told: list[Progress] = []
    folder = fetch_model(NAME, told.append, home)
    names = {path.name for path in folder.iterdir()}
    assert {"config.json", "tokenizer.json", "model-00001-of-00002.safetensors"} <= names
    assert not names & {"pytorch_model.bin", "modeling_small.py", "consolidated.safetensors"}
    for path in folder.iterdir():
        assert path.read_bytes() == hub.files[path.name]
    assert told[-1].done == told[-1].total
    assert [one.done for one in told] == sorted(one.done for one in told)
    assert look_at(folder).is_complete

    found = cached(NAME, home)
    assert found.folder == folder
    assert found.bytes == sum(len(hub.files[name]) for name in names)
    assert set(scan_cache([NAME, "someone/else"], home)) == {NAME}


def test_the_cache_is_the_one_that_huggingface_hub_reads(home: dict[str, str]) -> None:
    folder = fetch_model(NAME, unheard, home)
    script = f"from huggingface_hub import snapshot_download\nprint(snapshot_download({NAME!r}))"
    environment = {**os.environ, **home, "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True
    )
    assert done.stdout.strip() == str(folder), done.stderr[-500:]


def test_a_second_fetch_asks_for_no_file_again(hub: FakeHub, home: dict[str, str]) -> None:
    fetch_model(NAME, unheard, home)
    before = len(hub.asked)
    fetch_model(NAME, unheard, home)
    assert len(hub.asked) == before + 1  # whether main has moved


def test_config_and_tokenizer_come_without_weights(hub: FakeHub, home: dict[str, str]) -> None:
    assert (fetch_config(NAME, home) / "config.json").is_file()
    assert cached(NAME, home).config is not None
    assert cached(NAME, home).folder is None
    assert (fetch_tokenizer(NAME, home) / "tokenizer.json").is_file()
    assert not any("safetensors" in path for path in hub.paths())


def test_a_hub_whose_list_has_no_sizes_is_asked_for_each(
    hub: FakeHub, home: dict[str, str]
) -> None:
    hub.lists_sizes = False
    assert look_at(fetch_model(NAME, unheard, home)).is_complete
    assert hub.paths("HEAD")


def test_a_break_in_the_middle_goes_on_by_itself(hub: FakeHub, home: dict[str, str]) -> None:
    hub.breaks, hub.cut_at = 2, 100_000
    folder = fetch_model(NAME, unheard, home)
    assert look_at(folder).is_complete
    assert "bytes=100000-" in hub.ranges()


def test_a_cut_that_stays_is_said_and_the_next_start_goes_on(
    hub: FakeHub, home: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", lambda _seconds: None)
    hub.breaks, hub.cut_at = 4, 200_000

    def cut_after_the_first(now: Progress) -> None:
        hub.cut_at = 0

    with pytest.raises(WorkFailed, match=r"cut at 195K of .* of model-00001") as cut:
        fetch_model(NAME, cut_after_the_first, home)
    assert "goes on from there" in str(cut.value)
    assert not cached(NAME, home).is_complete
    assert cached(NAME, home).bytes > 200_000

    hub.asked.clear()
    told: list[Progress] = []
    folder = fetch_model(NAME, told.append, home)
    assert look_at(folder).is_complete
    assert hub.ranges() == ["bytes=200000-"]
    assert told[0].done >= 200_000


def test_content_that_is_not_what_was_announced_is_thrown_away(
    hub: FakeHub, home: dict[str, str]
) -> None:
    good = hub.files["model-00001-of-00002.safetensors"]
    announced = hub.etag("model-00001-of-00002.safetensors")
    etag = hub.etag
    hub.etag = lambda file: announced if "00001" in file else etag(file)  # type: ignore[method-assign]
    hub.files["model-00001-of-00002.safetensors"] = bytes(len(good))
    with pytest.raises(WorkFailed, match="other content than the Hub announces"):
        fetch_model(NAME, unheard, home)
    hub.files["model-00001-of-00002.safetensors"] = good
    assert look_at(fetch_model(NAME, unheard, home)).is_complete


def test_stopping_keeps_what_came(hub: FakeHub, home: dict[str, str]) -> None:
    class Stop(Exception):
        pass

    def stop(now: Progress) -> None:
        if now.done:
            raise Stop

    with pytest.raises(Stop):
        fetch_model(NAME, stop, home)
    assert look_at(fetch_model(NAME, unheard, home)).is_complete
    assert hub.ranges()


@pytest.mark.parametrize(
    ("refusal", "token", "words"),
    [
        ((401, "GatedRepo", ""), None, r"gated.*hf auth login.*accept the licence at http.*small"),
        ((401, "", ""), None, r"hf auth login"),
        (
            (403, "GatedRepo", "Access to model is restricted, you are not in the list"),
            TOKEN,
            r"token from HF_TOKEN has not accepted the licence; accept it at http.*someone/small",
        ),
        (
            (403, "GatedRepo", "Your request to access is awaiting a review"),
            TOKEN,
            r"its owners have not answered yet; http.*someone/small",
        ),
        ((401, "", "Invalid credentials in Authorization header"), TOKEN, "does not accept the"),
        ((500, "", ""), None, "answers 500"),
        ((429, "", ""), None, "too many requests"),
    ],
)
def test_every_refusal_is_one_line_that_says_what_to_do(
    hub: FakeHub,
    home: dict[str, str],
    refusal: tuple[int, str, str],
    token: str | None,
    words: str,
) -> None:
    hub.refusal = refusal
    environment = home | ({"HF_TOKEN": token} if token else {})
    began = time.monotonic()
    with pytest.raises(UserError, match=words) as refused:
        fetch_config(NAME, environment)
    assert time.monotonic() - began < 5
    assert "\n" not in str(refused.value)
    assert TOKEN not in str(refused.value)


def test_an_unknown_model_is_said(home: dict[str, str]) -> None:
    with pytest.raises(UserError, match="no model 'someone/other' on the Hub"):
        fetch_config("someone/other", home)


def test_only_pickle_is_refused(hub: FakeHub, home: dict[str, str]) -> None:
    hub.files = {"config.json": b"{}", "pytorch_model.bin": b"pickle"}
    with pytest.raises(UserError, match=r"only \*\.bin on the Hub: pickle can run code"):
        fetch_model(NAME, unheard, home)
    assert not any("bin" in path for path in hub.paths())


def test_an_adapter_names_its_base(hub: FakeHub, home: dict[str, str]) -> None:
    config = b'{"base_model_name_or_path": "microsoft/phi-2"}'
    hub.files = {"adapter_config.json": config, "adapter_model.safetensors": b""}
    with pytest.raises(UserError, match="adapter, made for microsoft/phi-2"):
        fetch_config(NAME, home)


def test_a_config_of_100_mb_is_not_fetched(hub: FakeHub, home: dict[str, str]) -> None:
    hub.files["config.json"] = b" " * (100 * 2**20)
    with pytest.raises(UserError, match=r"config\.json has 100M: not fetched"):
        fetch_config(NAME, home)
    assert not any("resolve" in path for path in hub.paths())


def test_an_index_never_points_out_of_the_folder(hub: FakeHub, home: dict[str, str]) -> None:
    hub.files["model.safetensors.index.json"] = b'{"weight_map": {"a": "../../x.safetensors"}}'
    with pytest.raises(UserError, match="names a file that is no shard"):
        fetch_model(NAME, unheard, home)


def test_no_server_is_said_at_once(tmp_path: Path) -> None:
    environment = {"HF_ENDPOINT": "http://127.0.0.1:1", "HF_HOME": str(tmp_path)}
    began = time.monotonic()
    with pytest.raises(WorkFailed, match=r"127\.0\.0\.1:1 cannot be reached \(Connection refused"):
        fetch_model(NAME, unheard, environment)
    assert time.monotonic() - began < 2


def test_offline_is_honoured(hub: FakeHub, home: dict[str, str]) -> None:
    with pytest.raises(UserError, match="HF_HUB_OFFLINE"):
        fetch_config(NAME, home | {"HF_HUB_OFFLINE": "1"})
    assert not hub.asked


def test_too_little_room_is_said_before_a_shard_is_fetched(
    hub: FakeHub, home: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _path: os_usage(free=2**20))
    with pytest.raises(UserError, match=r"to download, 1\.0M free.*HF_HOME"):
        fetch_model(NAME, unheard, home)
    assert not any(path.endswith("safetensors") for path in hub.paths())


def os_usage(free: int) -> object:
    class Usage:
        pass

    usage = Usage()
    usage.free = free  # type: ignore[attr-defined]
    return usage


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    with mounted(tmp_path / "disk", mebibytes=1) as folder:
        yield folder


def test_a_disk_that_fills_is_said_and_what_came_goes_on(
    hub: FakeHub, home: dict[str, str], small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _path: os_usage(free=2**40))
    environment = home | {"HF_HOME": str(small_disk)}
    with pytest.raises(WorkFailed, match=r"the disk is full; make room"):
        fetch_model(NAME, unheard, environment)
    halves = list(small_disk.rglob("*.incomplete"))
    assert len(halves) == 1
    subprocess.run(["mount", "-o", "remount,size=16m", str(small_disk)], check=True)
    assert look_at(fetch_model(NAME, unheard, environment)).is_complete
    assert hub.ranges()


def test_the_token_goes_to_the_hub_and_nowhere_else(
    hub: FakeHub, home: dict[str, str], tmp_path: Path
) -> None:
    hub.wanted_token = TOKEN
    storage = FakeHub(NAME, hub.files)
    with storage.running():
        hub.storage = storage.url.replace("127.0.0.1", "localhost")
        folder = fetch_model(NAME, unheard, home | {"HF_TOKEN": TOKEN})
    assert look_at(folder).is_complete
    assert all(token for _, _, _, token in hub.asked)
    assert storage.asked
    assert not any(token for _, _, _, token in storage.asked)
    assert not holding(TOKEN, tmp_path)


def test_a_token_from_a_login_is_found(hub: FakeHub, home: dict[str, str], tmp_path: Path) -> None:
    hub.wanted_token = TOKEN
    (tmp_path / "hf").mkdir()
    (tmp_path / "hf" / "token").write_text(f"{TOKEN}\n")
    assert fetch_config(NAME, home).is_dir()
    with pytest.raises(UserError, match="gated"):
        fetch_config(NAME, home | {"HF_HUB_DISABLE_IMPLICIT_TOKEN": "1"})


def holding(text: str, folder: Path) -> list[Path]:
    """The files below a folder that hold a text."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return [path for path in files if text.encode() in path.read_bytes()]


def test_a_model_of_one_file(home: dict[str, str], hub: FakeHub) -> None:
    hub.files = files_of(demo.MODEL_FOLDER)
    folder = fetch_model(NAME, unheard, home)
    assert folder.name == COMMIT
    assert look_at(folder).is_complete
