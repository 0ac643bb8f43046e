"""What a person may name: a file, a folder, a data set."""

from pathlib import Path

import pytest

from finetune_tui.core.data.finding import look_up
from finetune_tui.core.data.source import open_rows
from finetune_tui.core.errors import UserError
from finetune_tui.core.models.data_set_name import DataSetName
from tests.core.data.conftest import Write

ROW = '{"text": "a"}\n'


def names(folder: Path) -> list[str]:
    found = look_up(folder)
    assert isinstance(found, list)
    return [str(path.relative_to(folder)) for path in found]


def refusal(source: str | Path) -> UserError:
    with pytest.raises(UserError) as caught:
        look_up(source)
    return caught.value


def test_a_folder_is_its_data_files_in_order(write: Write, tmp_path: Path) -> None:
    for name in ("b.jsonl", "a.jsonl", "README.md", ".hidden.jsonl", "dataset_info.json"):
        write(ROW, name)
    (tmp_path / "c.jsonl").mkdir()
    assert names(tmp_path) == ["a.jsonl", "b.jsonl"]
    data = open_rows([tmp_path])
    assert [row.path.name for row in data] == ["a.jsonl", "b.jsonl"]


def test_training_files_of_a_folder_are_those_called_so(write: Write, tmp_path: Path) -> None:
    for name in ("train-1.jsonl", "Train-0.jsonl", "test.jsonl", "extra.csv"):
        write(ROW, name)
    assert names(tmp_path) == ["Train-0.jsonl", "train-1.jsonl"]


def test_a_folder_may_keep_its_files_in_data(write: Write, tmp_path: Path) -> None:
    write(ROW, "data/train.jsonl")
    write(ROW, "data/test.jsonl")
    assert names(tmp_path) == ["data/train.jsonl"]


def test_folders_that_cannot_be_data(write: Write, tmp_path: Path) -> None:
    write("words", "README.md")
    refused = refusal(tmp_path)
    assert refused.message == "no data file in this folder"
    assert ".jsonl" in (refused.hint or "")
    write(ROW, "a.jsonl")
    write("text\na\n", "b.csv")
    assert refusal(tmp_path).message == "holds .csv and .jsonl files"
    write("", "train.jsonl")
    assert refusal(tmp_path).message == "the file is empty"


def test_what_is_not_there_may_be_a_slip_or_a_data_set(write: Write, tmp_path: Path) -> None:
    write(ROW)
    assert refusal(tmp_path / "trian.jsonl").hint == f"did you mean {tmp_path / 'train.jsonl'}?"
    assert look_up("someone/orders") == DataSetName("someone/orders", "")
    assert "there is no such file" in refusal("data/none.jsonl").message
    assert "there is no such file" in refusal("/none").message
    assert "there is no such file" in refusal("a b").message


@pytest.mark.parametrize(
    ("source", "name", "part"),
    [
        ("hf://datasets/a/b", "a/b", ""),
        ("hf://datasets/a/b/test", "a/b", "test"),
        ("hf:/datasets/a/b/data/x.jsonl", "a/b", "data/x.jsonl"),
        ("hf://a/b/", "a/b", ""),
    ],
)
def test_names_of_data_sets(source: str, name: str, part: str) -> None:
    assert look_up(source) == DataSetName(name, part)
    assert look_up(Path(source)) == DataSetName(name, part)


@pytest.mark.parametrize("source", ["hf://datasets/a", "hf://", "hf://datasets/../b"])
def test_what_names_no_data_set(source: str) -> None:
    assert "names no data set" in refusal(source).message


def test_a_home_folder_is_found(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    path = write(ROW)
    assert look_up("~/train.jsonl") == [path]
    assert "no such" in refusal("~nobody-at-all/train.jsonl").message
