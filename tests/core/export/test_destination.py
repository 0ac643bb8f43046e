"""An export lands whole or not at all, and never on what is there."""

import os
from pathlib import Path

import pytest

from finetune_tui.core.errors import UserError
from finetune_tui.core.export.destination import check_out, free_beside, made_aside


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_it_is_there_as_a_whole_or_not_at_all(tmp_path: Path) -> None:
    out = tmp_path / "new" / "model"
    with made_aside(out) as folder:
        (folder / "weights").write_text("half")
        (folder / "weights").chmod(0o600)
        assert not out.exists()
    assert names(out) == ["weights"]
    assert names(out.parent) == ["model"]
    # As readable as what this user makes otherwise; safetensors writes for its owner alone.
    assert (out / "weights").stat().st_mode & 0o777 == out.stat().st_mode & 0o666


def _fill(out: Path, error: BaseException) -> None:
    with made_aside(out) as folder:
        (folder / "weights").write_text("half")
        raise error


@pytest.mark.parametrize("error", [OSError("disk"), KeyboardInterrupt(), ValueError()])
def test_what_fails_leaves_nothing(error: BaseException, tmp_path: Path) -> None:
    out = tmp_path / "model"
    with pytest.raises(type(error)):
        _fill(out, error)
    assert names(tmp_path) == []


def test_what_a_killed_export_left_goes_with_the_next_one(tmp_path: Path) -> None:
    left = tmp_path / ".model.partial"
    (left / "inner").mkdir(parents=True)
    (left / "inner" / "weights").write_text("half of another")
    (left / "link").symlink_to(tmp_path)
    with made_aside(tmp_path / "model") as folder:
        assert names(folder) == []
    assert names(tmp_path) == ["model"]


def test_an_empty_folder_may_be_filled(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    with made_aside(tmp_path / "model") as folder:
        (folder / "weights").touch()
    assert names(tmp_path / "model") == ["weights"]


def test_two_exports_to_one_place(tmp_path: Path) -> None:
    out = tmp_path / "model"
    with made_aside(out) as folder:
        (folder / "weights").touch()
        with pytest.raises(UserError, match="another export writes there now"), made_aside(out):
            pass
        assert names(folder) == ["weights"]


def test_what_came_to_be_meanwhile_stays(tmp_path: Path) -> None:
    out = tmp_path / "model"

    def take_the_place() -> None:
        with made_aside(out) as folder:
            (folder / "weights").touch()
            out.mkdir()
            (out / "mine").touch()

    with pytest.raises(UserError, match="not empty"):
        take_the_place()
    assert names(tmp_path) == ["model"]
    assert names(out) == ["mine"]


def test_places_where_nothing_can_land(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").touch()
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    refused = {
        "full": "not empty",
        "file": "a file lies there",
        "link": "a link",
        "file/below": "no folder",
        "x" * 300: "cannot be looked at",
        "a\0b": "cannot be looked at",
    }
    for name, words in refused.items():
        with pytest.raises(UserError, match=words) as found:
            check_out(tmp_path / name)
        assert (found.value.where or "").startswith("out: ")
        assert "\n" not in str(found.value)
    for path in (Path("/"), Path("relative")):
        with pytest.raises(UserError, match="no folder's whole path"):
            check_out(path)
    check_out(tmp_path / "new" / "below")
    assert names(tmp_path) == ["file", "full", "link"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(UserError, match="cannot be written in"):
        check_out(tmp_path / "model")


def test_free_room_is_that_of_the_disk_it_would_lie_on(tmp_path: Path) -> None:
    free = free_beside(tmp_path / "not" / "yet" / "there")
    assert free is not None
    assert free > 0
