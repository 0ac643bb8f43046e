"""Data sets from the Hub: what is fetched, what is meant by a name, and what stays on the disk."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from finetune_tui.core.data.source import open_rows
from finetune_tui.core.errors import UserError, WorkFailed
from finetune_tui.core.models.data_set_name import DataSetName
from finetune_tui.core.models.hub_data import fetch_data_set
from finetune_tui.core.models.hub_files import Progress
from tests.core.models.hub_server import COMMIT, FakeHub

NAME = "someone/orders"
TOKEN = "hf_" + "secretsecret" * 3
SUFFIXES = (".jsonl", ".csv", ".parquet", ".json")
ROW = b'{"text": "a"}\n'


@pytest.fixture
def hub() -> Iterator[FakeHub]:
    files = {
        "README.md": b"words",
        "orders.py": b"import os",
        "dataset_infos.json": b"{}",
        "data/train-00000-of-00002.jsonl": ROW * 20_000,
        "data/train-00001-of-00002.jsonl": ROW,
        "data/test-00000-of-00001.jsonl": ROW,
    }
    with FakeHub(NAME, files, kind="dataset").running() as hub:
        yield hub


@pytest.fixture
def home(hub: FakeHub, tmp_path: Path) -> dict[str, str]:
    return {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "hf")}


@pytest.fixture
def records(tmp_path: Path) -> Path:
    return tmp_path / "records"


def fetch(part: str, records: Path, home: dict[str, str]) -> list[str]:
    paths = fetch_data_set(DataSetName(NAME, part), SUFFIXES, records, None, home)
    return [path.as_posix().partition(f"{COMMIT}/")[2] for path in paths]


TRAIN = ["data/train-00000-of-00002.jsonl", "data/train-00001-of-00002.jsonl"]
TEST = ["data/test-00000-of-00001.jsonl"]


@pytest.mark.parametrize(
    ("part", "names"),
    [("", TRAIN), ("train", TRAIN), ("data", TRAIN), ("test", TEST), (TEST[0], TEST)],
)
def test_a_part_is_a_split_a_folder_or_a_file(
    hub: FakeHub, home: dict[str, str], records: Path, part: str, names: list[str]
) -> None:
    assert fetch(part, records, home) == names
    fetched = [path for path in hub.paths() if "/resolve/" in path]
    assert fetched == [f"/datasets/{NAME}/resolve/{COMMIT}/{name}" for name in names]


def test_it_is_read_as_any_other_source(
    hub: FakeHub, home: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for key, value in home.items():
        monkeypatch.setenv(key, value)
    told: list[tuple[int, int]] = []
    data = open_rows(
        [f"hf://datasets/{NAME}"], cache=tmp_path / "cache", progress=lambda *now: told.append(now)
    )
    assert len(data) == 20_001
    assert data[20_000].path.name == "train-00001-of-00002.jsonl"
    assert told[-1][0] <= told[-1][1]
    assert (Path(home["HF_HOME"]) / "hub" / "datasets--someone--orders" / "refs" / "main").is_file()


def test_what_was_fetched_is_used_without_the_hub(
    hub: FakeHub, home: dict[str, str], records: Path
) -> None:
    first = fetch("", records, home)
    hub.asked.clear()
    assert fetch("", records, home | {"HF_HUB_OFFLINE": "1"}) == first
    assert not hub.asked
    with pytest.raises(UserError, match="HF_HUB_OFFLINE"):
        fetch("test", records, home | {"HF_HUB_OFFLINE": "1"})
    for blob in Path(home["HF_HOME"]).rglob("blobs/*"):
        blob.unlink()
    assert fetch("", records, home) == first
    assert hub.asked


def test_a_cut_goes_on_where_it_was(hub: FakeHub, home: dict[str, str], records: Path) -> None:
    hub.breaks, hub.cut_at = 2, 100_000
    told: list[Progress] = []
    wanted = DataSetName(NAME, "")
    (first, _) = fetch_data_set(wanted, SUFFIXES, records, told.append, home)
    assert first.read_bytes() == hub.files[TRAIN[0]]
    assert "bytes=100000-" in hub.ranges()
    assert told[-1].done == told[-1].total


@pytest.mark.parametrize(
    ("files", "part", "words"),
    [
        ({"README.md": b"", "orders.py": b""}, "", "no file that is read as data"),
        ({"train.jsonl": ROW}, "test", r"has no 'test'; name one after a slash: train\.jsonl"),
        ({"en/train.jsonl": ROW, "de/train.jsonl": ROW}, "", "several folders; .*: de, en"),
        ({"train.jsonl": ROW, "train.csv": b"text\na"}, "", r"data in \.csv and \.jsonl; name one"),
    ],
)
def test_what_cannot_be_meant(
    hub: FakeHub,
    home: dict[str, str],
    records: Path,
    files: dict[str, bytes],
    part: str,
    words: str,
) -> None:
    hub.files = files
    with pytest.raises(UserError, match=words) as refused:
        fetch(part, records, home)
    assert "\n" not in str(refused.value)
    assert not any("resolve" in path for path in hub.paths())


@pytest.mark.parametrize(
    ("refusal", "token", "words"),
    [
        ((401, "GatedRepo", ""), None, r"hf auth login.*licence at http.*/datasets/someone/orders"),
        ((403, "GatedRepo", "not in the list"), TOKEN, r"has not accepted the licence"),
        ((404, "RepoNotFound", ""), None, r"no data set 'someone/orders' on the Hub"),
        ((429, "", ""), None, r"too many requests"),
    ],
)
def test_refusals_speak_of_the_data_set(
    hub: FakeHub,
    home: dict[str, str],
    records: Path,
    refusal: tuple[int, str, str],
    token: str | None,
    words: str,
) -> None:
    hub.refusal = refusal
    with pytest.raises(UserError, match=words):
        fetch("", records, home | ({"HF_TOKEN": token} if token else {}))


def test_no_hub_is_said(records: Path, tmp_path: Path) -> None:
    environment = {"HF_ENDPOINT": "http://127.0.0.1:1", "HF_HOME": str(tmp_path)}
    with pytest.raises(WorkFailed, match="a folder with the files works with no network"):
        fetch("", records, environment)


def test_a_name_never_points_out_of_the_folder(
    hub: FakeHub, home: dict[str, str], records: Path, tmp_path: Path
) -> None:
    hub.files = {"train.jsonl": ROW, "../../train.jsonl": ROW, "/etc/train.jsonl": ROW}
    assert fetch("", records, home) == ["train.jsonl"]


def test_the_token_is_never_written(
    hub: FakeHub, home: dict[str, str], records: Path, tmp_path: Path
) -> None:
    hub.wanted_token = TOKEN
    fetch("", records, home | {"HF_TOKEN": TOKEN})
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert files
    assert not [path for path in files if TOKEN.encode() in path.read_bytes()]
