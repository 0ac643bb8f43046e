"""Where runs live."""

from pathlib import Path

import pytest

from finetune_tui.core.runs.home import find_home, lasting_mounts, on_container_disk


def mounts(folder: Path, *lines: tuple[str, str]) -> Path:
    path = folder / "mountinfo"
    path.write_text("".join(f"1 2 0:1 / {at} rw - {kind} dev rw\n" for at, kind in lines))
    return path


def test_the_option_wins_over_the_variable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FINETUNE_TUI_HOME", str(tmp_path / "b"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    assert find_home(str(tmp_path / "a")) == tmp_path / "a"
    assert find_home("~/a") == tmp_path / "a"
    assert find_home() == tmp_path / "b"
    monkeypatch.setenv("FINETUNE_TUI_HOME", "")
    assert find_home().name == "finetune-tui"
    assert not find_home().exists()


def test_the_innermost_mount_decides(tmp_path: Path) -> None:
    table = mounts(tmp_path, ("/", "overlay"), ("/data", "ext4"), (r"/my\040disk", "nfs4"))
    assert on_container_disk(Path("/root/x"), table)
    assert not on_container_disk(Path("/data/x"), table)
    assert not on_container_disk(Path("/my disk/x"), table)
    assert on_container_disk(Path("/database"), table)


def test_a_later_mount_hides_an_earlier_one(tmp_path: Path) -> None:
    table = mounts(tmp_path, ("/", "overlay"), ("/", "ext4"))
    assert not on_container_disk(Path("/x"), table)


def test_lasting_disks_are_offered(tmp_path: Path) -> None:
    volume = tmp_path / "volume"
    volume.mkdir()
    (tmp_path / "hosts").touch()
    table = mounts(
        tmp_path,
        ("/", "overlay"),
        (str(volume), "ext4"),
        (str(tmp_path / "hosts"), "ext4"),
        (str(tmp_path / "gone"), "nfs"),
        ("/proc", "proc"),
        ("/etc", "ext4"),
    )
    assert lasting_mounts(table) == (volume,)


def test_without_a_mount_table_nothing_is_claimed(tmp_path: Path) -> None:
    assert not on_container_disk(Path("/"), tmp_path / "none")
    assert lasting_mounts(tmp_path / "none") == ()
