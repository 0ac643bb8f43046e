"""Names of runs, and runs by their names."""

import contextlib
import errno
import json
import multiprocessing
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from finetune_tui.core.errors import UserError
from finetune_tui.core.runs import directory
from finetune_tui.core.runs.directory import (
    RunDirectory,
    create_run,
    find_run,
    list_runs,
    slug_of,
)
from finetune_tui.core.runs.requests import drop_request, take_requests
from finetune_tui.core.runs.state import Status

SPEC = "task: train\n"


def test_a_new_run_is_whole(home: Path) -> None:
    run = create_run(home, SPEC, "Demo: structured output", model="demo", preset="p")
    assert run.id == "r1-demo-structured-output"
    assert (run.number, run.short_id) == (1, "r1")
    assert run.spec_path.read_text() == SPEC
    state = run.state()
    assert (state.status, state.model, state.preset) == (Status.STARTING, "demo", "p")
    assert run.liveness().status is Status.STARTING
    assert run.liveness(time.time() + 3600).status is Status.DEAD


def test_numbers_grow_and_are_not_given_twice(home: Path) -> None:
    first, second = create_run(home, SPEC, "a"), create_run(home, SPEC, "b")
    assert [first.id, second.id] == ["r1-a", "r2-b"]
    second.path.rename(home / "elsewhere")
    assert create_run(home, SPEC, "").id == "r3"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(st.text())
def test_no_slug_leaves_the_runs_folder(home: Path, slug: str) -> None:
    run = create_run(home, SPEC, slug)
    assert run.path.parent == home / "runs"
    assert run.path.is_dir()
    assert run.id.isascii()
    assert run.id.replace("-", "").isalnum()
    assert find_run(home, run.short_id) == run


@given(st.text())
def test_slugs_are_stable(text: str) -> None:
    assert slug_of(slug_of(text)) == slug_of(text)


def test_many_at_once_get_numbers_of_their_own(home: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        runs = pool.starmap(create_run, [(home, SPEC, f"s{n}") for n in range(40)])
    assert sorted(run.number or 0 for run in runs) == list(range(1, 41))


def test_a_home_that_cannot_be_written_is_one_clear_line(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(directory, "write_atomically", full)
    with pytest.raises(UserError, match="No space left on device") as caught:
        create_run(home, SPEC, "a")
    assert caught.value.exit_code == 1
    assert list_runs(home) == []
    assert not list((home / "runs").glob(".new-*"))


def test_ten_thousand_runs_and_broken_ones_are_listed(home: Path) -> None:
    runs = home / "runs"
    for number in range(1, 10_001):
        (runs / f"r{number}-x").mkdir(parents=True)
    (runs / "r10001").mkdir()
    (runs / "r10001" / "state.json").write_bytes(b"\xff{")
    (runs / "by hand").mkdir()
    (runs / "a file").touch()
    (runs / "r10002-loop").symlink_to("r10002-loop")
    start = time.perf_counter()
    found = list_runs(home)
    print(f"listing {len(found)} runs: {time.perf_counter() - start:.3f} s")
    assert len(found) == 10_003
    assert [run.id for run in found[:3]] == ["r10002-loop", "r10001", "r10000-x"]
    assert found[-1].id == "by hand"
    assert found[1].liveness().status is Status.BROKEN
    assert found[0].summary()["status"] == "broken"
    assert found[2].summary()["status"] == "foreign"
    assert find_run(home, "9999").id == "r9999-x"


@pytest.mark.parametrize("text", ["r7", "7", "R7", "r7-demo", "r7-d"])
def test_a_run_by_any_of_its_names(home: Path, text: str) -> None:
    for name in ("r7-demo", "r70-demo", "r6-phi"):
        (home / "runs" / name).mkdir(parents=True)
    assert find_run(home, text).id == "r7-demo"


def test_an_unclear_name_lists_what_it_could_be(home: Path) -> None:
    for name in ("r71-a", "r72-b"):
        (home / "runs" / name).mkdir(parents=True)
    with pytest.raises(UserError, match="r72-b, r71-a"):
        find_run(home, "r7")


def test_an_unknown_name_gets_the_nearest(home: Path) -> None:
    with pytest.raises(UserError, match="there are no runs yet"):
        find_run(home, "r1")
    create_run(home, SPEC, "invoices")
    with pytest.raises(UserError, match="did you mean 'r1-invoices'"):
        find_run(home, "r1-invocies")
    with pytest.raises(UserError, match="the newest is r1"):
        find_run(home, "\x1b[31mzzzz")


def test_a_run_is_found_by_its_path_anywhere(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    away = tmp_path / "copied"
    away.mkdir()
    with pytest.raises(UserError):
        find_run(home, str(away))
    (away / "state.json").write_text("{}")
    assert find_run(home, str(away)).path == away
    monkeypatch.chdir(away)
    assert find_run(home, ".").path == away


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text() | st.just("a" * 5000) | st.just("~nobody/x") | st.just("../../etc"))
def test_no_text_does_harm(home: Path, text: str) -> None:
    (home / "runs" / "r1-a").mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(UserError):
        assert isinstance(find_run(home, text), RunDirectory)


def test_the_newest_checkpoint(run: RunDirectory) -> None:
    assert run.newest_checkpoint_step() is None
    for name in ("step-000120", "step-000080", ".step-000200.x", "step-1x"):
        (run.checkpoints / name).mkdir()
        (run.checkpoints / name / "manifest.json").touch()
    (run.checkpoints / "step-000999").mkdir()
    assert run.newest_checkpoint_step() == 120


def test_requests_are_taken_once(run: RunDirectory) -> None:
    assert take_requests(run) == []
    drop_request(run, "checkpoint")
    drop_request(run, "stop")
    drop_request(run, "stop")
    (run.requests / "format the disk").touch()
    assert take_requests(run) == ["checkpoint", "stop"]
    assert take_requests(run) == []
    with pytest.raises(UserError, match="did you mean 'stop'"):
        drop_request(run, "stopp")


def test_a_request_for_a_run_that_is_gone(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be written"):
        drop_request(RunDirectory(tmp_path / "gone"), "stop")


def test_the_summary_has_every_key(run: RunDirectory) -> None:
    summary = json.loads(json.dumps(run.summary()))
    assert set(summary) == {
        *("id", "task", "target", "model", "preset", "status"),
        *("step", "total_steps", "eval_loss", "created"),
    }
