"""Deleting a run: moved aside, brought back, taken away only on request."""

import time
from pathlib import Path

import pytest

from finetune_tui.core.errors import UserError, WorkFailed
from finetune_tui.core.runs.bin import delete_run, empty_bin, find_binned, list_bin, restore_run
from finetune_tui.core.runs.directory import RunDirectory, create_run, list_runs
from finetune_tui.core.runs.lock import take_lock
from finetune_tui.core.runs.processes import boot_id, host_name, pid_namespace, this_process
from finetune_tui.core.runs.state import State, Status, write_state


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.fixture
def ended(run: RunDirectory) -> RunDirectory:
    write_state(run.state_path, State(status=Status.FINISHED, attempt=1))
    (run.adapter).mkdir()
    (run.adapter / "weights").write_bytes(b"123")
    return run


def test_a_deleted_run_comes_back_as_it_was(home: Path, ended: RunDirectory) -> None:
    before = contents(ended.path)
    binned = delete_run(home, ended)
    assert list_runs(home) == []
    assert abs(binned.deleted - time.time()) < 60
    assert list_bin(home) == [binned]
    assert (
        find_binned(home, "1") == find_binned(home, "r1") == find_binned(home, "r1-demo") == binned
    )
    assert restore_run(home, binned) == ended
    assert contents(ended.path) == before
    assert list_bin(home) == []
    assert list((home / "bin").iterdir()) == []


def test_its_number_is_not_given_again(home: Path, ended: RunDirectory) -> None:
    delete_run(home, ended)
    assert create_run(home, "task: train\n", "other").short_id == "r2"


def test_two_of_one_name_are_both_kept_and_none_overwrites(home: Path) -> None:
    runs = [home / "runs" / "by hand" for _ in range(2)]
    binned = []
    for number, path in enumerate(runs):
        path.mkdir(parents=True)
        (path / "spec.yaml").write_text(str(number))
        binned.append(delete_run(home, RunDirectory(path)))
    assert [each.id for each in list_bin(home)] == ["by hand", "by hand"]
    restore_run(home, binned[0])
    with pytest.raises(UserError, match="there is a run called by hand now"):
        restore_run(home, binned[1])
    assert (runs[0] / "spec.yaml").read_text() == "0"
    assert (binned[1].path / "spec.yaml").read_text() == "1"


def alive() -> State:
    return State(
        status=Status.RUNNING,
        host=host_name(),
        boot_id=boot_id(),
        pid_namespace=pid_namespace(),
        worker=this_process(),
    )


def test_a_run_that_goes_on_stays(home: Path, run: RunDirectory) -> None:
    write_state(run.state_path, alive())
    with pytest.raises(UserError, match="r1 is running"):
        delete_run(home, run)
    write_state(run.state_path, alive().changed(host="elsewhere", heartbeat=0.0))
    with pytest.raises(UserError, match="r1 may be running"):
        delete_run(home, run)
    run.state_path.write_text('{"version": 99, "status": "dreaming"}')
    with pytest.raises(UserError, match="r1 was written by a newer version"):
        delete_run(home, run)
    write_state(run.state_path, State(status=Status.FINISHED))
    lock = take_lock(run)  # a supervisor that has not said a word yet
    with pytest.raises(UserError, match="already running"):
        delete_run(home, run)
    lock.close()
    delete_run(home, run)


def test_links_and_folders_of_others_stay(home: Path, ended: RunDirectory, tmp_path: Path) -> None:
    link = home / "runs" / "r9-link"
    link.symlink_to(ended.path)
    with pytest.raises(UserError, match="is a link"):
        delete_run(home, RunDirectory(link))
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    for path in (foreign, home / "runs" / ".." / "runs" / ".." / ".." / "foreign", home):
        with pytest.raises(UserError, match="no run of this home"):
            delete_run(home, RunDirectory(path))
    assert foreign.is_dir()


def test_another_disk_is_said_and_nothing_is_lost(
    home: Path, ended: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    before = contents(ended.path)
    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(WorkFailed, match="cross-device"):
        delete_run(home, ended)
    assert contents(ended.path) == before
    assert list_bin(home) == []


def test_emptying_takes_what_is_old_enough_and_follows_no_link(
    home: Path, ended: RunDirectory, tmp_path: Path
) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "data").write_text("keep")
    (ended.path / "link").symlink_to(mine)
    binned = delete_run(home, ended)
    assert empty_bin(home, days=1) == []
    assert empty_bin(home, days=1, now=time.time() + 90_000) == [binned]
    assert (mine / "data").read_text() == "keep"
    assert list((home / "bin").iterdir()) == []


def test_a_strange_bin_is_no_reason_to_fail(home: Path) -> None:
    (home / "bin" / "notes").mkdir(parents=True)
    (home / "bin" / "1700000000").touch()
    (home / "bin" / "1700000001").symlink_to(home)
    assert list_bin(home) == []
    with pytest.raises(UserError, match="the bin is empty"):
        find_binned(home, "r1")
