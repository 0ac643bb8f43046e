"""Files are complete or absent."""

import errno
import os
from pathlib import Path

import pytest

from finetune_tui.core.errors import UserError
from finetune_tui.core.files import open_plain, read_json, write_atomically


def test_a_full_disk_leaves_the_old_file_and_nothing_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "state.json"
    write_atomically(path, "old")

    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_atomically(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("content", "says"),
    [(b'{"a": 1,\n}', ":2: not JSON"), (b"\xff", "not JSON"), (b"[" * 100_000, "not JSON")],
)
def test_broken_json_names_file_and_line(tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(content)
    with pytest.raises(UserError) as refused:
        read_json(path)
    assert says in str(refused.value)
    assert str(path) in str(refused.value)


def test_a_missing_or_huge_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read"):
        read_json(tmp_path / "none.json")
    (tmp_path / "big.json").write_text("[" + "1," * 100 + "1]")
    with pytest.raises(UserError, match="larger than"):
        read_json(tmp_path / "big.json", limit=50)


@pytest.mark.parametrize("what", ["pipe", "device", "folder", "loop", "missing"])
def test_only_plain_files_are_opened_and_nothing_is_waited_for(tmp_path: Path, what: str) -> None:
    path = tmp_path / "x.json"
    if what == "pipe":
        os.mkfifo(path)
    elif what == "device":
        path.symlink_to("/dev/zero")
    elif what == "folder":
        path.mkdir()
    elif what == "loop":
        path.symlink_to(path)
    with pytest.raises(OSError):  # noqa: PT011 - which one depends on what lies there
        open_plain(path)
    with pytest.raises(UserError, match="cannot be read"):
        read_json(path)


def test_a_plain_file_is_opened_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").write_bytes(b"[1]")
    (tmp_path / "x.json").symlink_to("real")
    with open_plain(tmp_path / "x.json") as file:
        assert file.read() == b"[1]"
    assert read_json(tmp_path / "x.json") == [1]
