"""Coming back: what is said of runs that ended while nobody looked."""

from pathlib import Path
from typing import Any

from finetune_tui.core.runs.directory import RunDirectory, list_runs
from finetune_tui.core.runs.processes import ProcessId
from finetune_tui.core.runs.state import State, Status
from finetune_tui.tui.returning import Returning, ending_words, last_seen, look_back, write_seen
from tests.tui.runs_fixture import NOW, make_run

HOUR = 3600.0


def ended(home: Path, name: str, ago: float = 600, **state: Any) -> RunDirectory:
    known: dict[str, Any] = {"status": Status.FINISHED, "ended": NOW - ago}
    return make_run(home, name=name, **(known | state))


def back(home: Path, seen: float | None = NOW - HOUR) -> Returning:
    return look_back(list_runs(home), seen, NOW)


def test_one_run_is_told_with_its_score_and_the_key_that_shows_it(tmp_path: Path) -> None:
    ended(tmp_path, "r7-x", best_eval_loss=0.447, best_step=560, adapter_bytes=3 * 2**20)
    assert back(tmp_path).away == (
        "r7-x finished 10m00 ago · best .447 at step 560 · adapter 3.0M · c shows it"
    )
    assert back(tmp_path, seen=NOW - 60).away is None
    assert back(tmp_path, seen=None).away is None


def test_several_runs_the_latest_end_first_and_in_short(tmp_path: Path) -> None:
    ended(tmp_path, "r1-x", 300, best_eval_loss=0.447, best_step=560, adapter_bytes=3 * 2**20)
    ended(tmp_path, "r3-x", 600, status=Status.KILLED, why="killed by signal 9 (SIGKILL)")
    for number, ago in ((2, 60), (4, 900), (5, 1200)):
        ended(tmp_path, f"r{number}-x", ago, status=Status.FAILED, why="bad\x1b[2J row")
    assert back(tmp_path).away == (
        "r2 failed: bad row; r1 finished, best .447, 3.0M; r3 killed by signal 9 (SIGKILL);"
        " 2 more · 5 shows runs"
    )


def test_after_a_reboot_it_says_so(tmp_path: Path) -> None:
    run = make_run(tmp_path, boot_id="another", heartbeat=NOW - 40)
    assert back(tmp_path).away == (
        f"{run.id} dead · the machine was restarted; last heard 40s ago · c shows it"
    )


def test_when_both_were_killed_it_says_so(tmp_path: Path) -> None:
    gone = ProcessId(2**30, "1")
    make_run(tmp_path, worker=gone, supervisor=gone, heartbeat=NOW - 40)
    assert "supervisor and worker are gone; last heard 40s ago" in (back(tmp_path).away or "")


def test_a_run_on_another_host_did_not_end(tmp_path: Path) -> None:
    make_run(tmp_path, host="far", heartbeat=NOW - 40)
    found = back(tmp_path)
    assert (found.away, found.live) == (None, None)


def test_a_run_that_goes_on_and_one_that_ended(tmp_path: Path) -> None:
    over = ended(tmp_path, "r7-x")
    live = make_run(tmp_path, name="r8-x")
    found = back(tmp_path)
    assert (found.live, found.last) == (live, live)
    assert found.away == f"{over.id} finished 10m00 ago · 5 shows runs"


def test_a_broken_memory_of_the_last_time_is_none(tmp_path: Path) -> None:
    assert last_seen(tmp_path) is None
    write_seen(tmp_path, NOW)
    assert last_seen(tmp_path) == NOW
    for content in ("", "[]", '{"seen": "x"}', "{}"):
        (tmp_path / "app.json").write_text(content)
        assert last_seen(tmp_path) is None


def test_an_end_is_told_once_and_a_small_loss_is_not_rounded_away() -> None:
    state = State(
        status=Status.STOPPED,
        why="stopped on request at step 204",
        ended=NOW - 5,
        best_eval_loss=3.7e-4,
        best_step=200,
    )
    told = "stopped on request at step 204, 5s ago · best 3.7e-4 at step 200"
    assert ending_words(state, state.status, NOW) == told
