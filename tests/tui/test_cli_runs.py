"""The command line for living with runs: lists, labels, the bin, the queue, the hook, and coming back."""

import json
import time
from pathlib import Path
from typing import Any

import pytest

from finetune_tui.core.runs import running_queue
from finetune_tui.core.runs.directory import RunDirectory, create_run, list_runs
from finetune_tui.core.runs.events import append_event, read_events
from finetune_tui.core.runs.labels import change_labels
from finetune_tui.core.runs.processes import ProcessId, boot_id, host_name, this_process
from finetune_tui.core.runs.queue import ItemStatus, changing, enqueue, list_queue
from finetune_tui.core.runs.requests import take_requests
from finetune_tui.core.runs.running_queue import runner_state
from finetune_tui.core.runs.state import Status, write_state
from finetune_tui.core.runs.untold import expect_end
from finetune_tui.core.settings import change_setting, read_settings
from finetune_tui.core.tuning.spec import demo_spec
from finetune_tui.core.tuning.spec_file import parse_spec, write_spec
from finetune_tui.tui.cli import main

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FINETUNE_TUI_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture(autouse=True)
def started(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What would have been started as a process of its own, by the module it runs."""
    found: list[str] = []
    monkeypatch.setattr(running_queue, "spawn_detached", _refuse_to_start)
    monkeypatch.setattr(
        "finetune_tui.tui.commands.queue.start_runner", lambda _home: found.append("runner")
    )
    monkeypatch.setattr(
        "finetune_tui.core.runs.launch.start_runner", lambda _home: found.append("runner")
    )
    monkeypatch.setattr("finetune_tui.tui.commands.runs.visible_gpus", tuple)
    monkeypatch.setattr(
        "finetune_tui.tui.commands.runs.start_run",
        lambda run, resume: found.append(f"{run.short_id} {resume}"),
    )
    return found


def _refuse_to_start(*_words: object) -> None:
    raise AssertionError("nothing is started here")


def answer(capsys: Capture, *words: str, code: int = 0) -> Any:
    assert main([*words, "--json"]) == code
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1
    return json.loads(lines[0])


def said(capsys: Capture, *words: str) -> str:
    assert main(list(words)) == 0
    return capsys.readouterr().out


def refusal(capsys: Capture, *words: str, code: int = 2) -> str:
    """The one line on stderr."""
    assert main(list(words)) == code
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1
    assert "Traceback" not in captured.err
    return captured.err


def make(home: Path, name: str = "x", **state: Any) -> RunDirectory:
    run = create_run(home, write_spec(demo_spec()), name, model="demo", preset="personas")
    known = {"host": host_name(), "boot_id": boot_id(), "attempt": 1, "status": Status.FINISHED}
    write_state(run.state_path, run.state().changed(**(known | state)))
    return run


def with_checkpoint(run: RunDirectory, step: int = 12) -> RunDirectory:
    folder = run.checkpoints / f"step-{step:06}"
    folder.mkdir()
    (folder / "manifest.json").touch()
    return run


REBOOTED: dict[str, Any] = {
    "status": Status.RUNNING,
    "boot_id": "of another time",
    "worker": ProcessId(2**30, "1"),
    "heartbeat": 5.0,
}


# The list


def test_runs_are_filtered_sorted_and_labelled(capsys: Capture, home: Path) -> None:
    make(home, "a", eval_loss=0.5)
    make(home, "b", eval_loss=0.25, status=Status.FAILED, why="bad row")
    make(home, "c")
    said(capsys, "name", "r1", "first", "try")
    said(capsys, "tag", "r2", "Night,two")
    said(capsys, "note", "r2", "watch the loss")
    assert [row["id"] for row in answer(capsys, "runs")["runs"]] == ["r3-c", "r2-b", "r1-a"]
    rows = answer(capsys, "runs", "--sort", "eval-loss")["runs"]
    assert [row["id"] for row in rows] == ["r2-b", "r1-a", "r3-c"]
    (row,) = answer(capsys, "runs", "--filter", "status:failed", "tag:night")["runs"]
    assert (row["tags"], row["note"], row["name"]) == (["night", "two"], "watch the loss", None)
    assert row["words"] == "bad row"
    shown = said(capsys, "runs")
    assert "first try" in shown
    assert "#night #two watch the loss" in shown
    assert said(capsys, "runs", "--filter", "nothing") == "None of 3 runs is like that.\n"
    assert "did you mean 'eval-loss'" in refusal(capsys, "runs", "--sort", "evalloss")


def test_archived_runs_are_hidden_until_asked_for(capsys: Capture, home: Path) -> None:
    for name in "abc":
        make(home, name)
    assert said(capsys, "archive", "r2") == ("r2 is archived: `finetune-tui runs --all` shows it\n")

    def ids(*words: str) -> list[str]:
        return [row["id"] for row in answer(capsys, "runs", *words)["runs"]]

    assert ids() == ["r3-c", "r1-a"]
    assert ids("--all") == ["r3-c", "r2-b", "r1-a"]
    assert ids("--all", "--sort", "oldest") == ["r1-a", "r2-b", "r3-c"]
    assert ids("--filter", "is:archived") == ids("--filter", "is:archived", "--sort", "name")
    assert ids("--filter", "is:archived") == ["r2-b"]
    assert answer(capsys, "archive", "r2", "--undo") == {"archived": False, "runs": ["r2-b"]}
    assert len(ids()) == 3


def test_many_runs_are_shown_in_columns_made_for_the_first(capsys: Capture, home: Path) -> None:
    for number in range(60):
        make(home, f"n{number}")
    lines = said(capsys, "runs").splitlines()
    assert len(lines) == 61
    assert lines[-1].startswith("r1-n0")
    assert "r1-n0 " in lines[-1]


def test_states_have_the_right_words(capsys: Capture, home: Path) -> None:
    """Killed with the app closed, out of memory, after a reboot, on another host, without a supervisor."""
    make(home, "killed", status=Status.KILLED, why="killed by signal 9 (SIGKILL)", ended=5.0)
    make(home, "memory", status=Status.KILLED, why="killed by the kernel: out of memory", ended=5.0)
    make(home, "reboot", **(REBOOTED | {"heartbeat": time.time() - 40}))
    make(home, "far", status=Status.RUNNING, host="far", heartbeat=time.time() - 40)
    gone = ProcessId(2**30, "1")
    make(home, "alone", status=Status.RUNNING, supervisor=gone, worker=this_process(), step=3)
    make(home, "both", status=Status.RUNNING, supervisor=gone, worker=gone, heartbeat=time.time())
    found = {row["id"]: (row["status"], row["words"]) for row in answer(capsys, "runs")["runs"]}
    assert found == {
        "r1-killed": ("killed", "killed by signal 9 (SIGKILL)"),
        "r2-memory": ("killed", "killed by the kernel: out of memory"),
        "r3-reboot": ("dead", "the machine was restarted; last heard 40s ago"),
        "r4-far": ("elsewhere", "on far, last heard 40s ago"),
        "r5-alone": ("running", "step 3"),
        "r6-both": ("dead", "supervisor and worker are gone; last heard 0s ago"),
    }


def test_whoever_lists_runs_has_untold_ends_told(
    capsys: Capture, home: Path, tmp_path: Path
) -> None:
    run = make(home, "reboot", **REBOOTED)
    expect_end(run, 1)
    told = tmp_path / "told"
    change_setting("on_end", f"echo $FINETUNE_TUI_ID $FINETUNE_TUI_STATUS >> {told}")
    for _ in range(3):
        answer(capsys, "runs")
    deadline = time.monotonic() + 20
    while not any(event["kind"] == "hook" for event in read_events(run.events_path)):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    answer(capsys, "runs")
    assert told.read_text() == "r1-reboot dead\n"
    assert answer(capsys, "show", "r1")["status"] == "dead"


def test_a_run_on_another_host_is_asked_in_its_folder(capsys: Capture, home: Path) -> None:
    run = make(home, "far", status=Status.RUNNING, host="far", heartbeat=time.time())
    shown = said(capsys, "stop", "r1")
    assert shown.startswith("r1 is asked to stop with a checkpoint (on far, last heard 0s ago)")
    assert take_requests(run) == ["stop"]
    assert "is not running" in refusal(capsys, "stop", make(home, "over").short_id)


# Labels


def test_labels_are_said_and_taken_away(capsys: Capture, home: Path) -> None:
    make(home)
    said(capsys, "tag", "r1", "a", "b")
    said(capsys, "note", "r1", "a", "longer", "note")
    assert answer(capsys, "tag", "r1", "c", "--remove", "a")["tags"] == ["b", "c"]
    assert answer(capsys, "note", "r1")["note"] == "a longer note"
    assert answer(capsys, "note", "r1", "--clear")["note"] == ""
    assert answer(capsys, "tag", "r1", "--clear")["tags"] == []
    assert said(capsys, "name", "r1") == "r1\n  name  (none)\n  tags  (none)\n  note  (none)\n"
    assert "cannot be a tag" in refusal(capsys, "tag", "r1", "a/b")
    assert "there is no run 'r9'" in refusal(capsys, "name", "r9", "x")


# The bin


def test_deleted_runs_come_back(capsys: Capture, home: Path) -> None:
    for name in "ab":
        make(home, name)
    assert said(capsys, "delete", "r1") == (
        "r1 is in the bin: `finetune-tui restore r1` brings it back\n"
    )
    assert answer(capsys, "delete", "r2", "2")["deleted"][0]["id"] == "r2-b"
    assert list_runs(home) == []
    assert [one["id"] for one in answer(capsys, "bin")["bin"]] == ["r2-b", "r1-a"]
    assert "r1-a" in said(capsys, "bin")
    assert answer(capsys, "restore")["restored"][0]["id"] == "r2-b"
    assert "r1 is back in" in said(capsys, "restore", "r1")
    assert said(capsys, "bin") == "The bin is empty.\n"
    assert "nothing to bring back" in refusal(capsys, "restore")


def test_the_bin_is_emptied_only_when_asked(capsys: Capture, home: Path) -> None:
    make(home)
    said(capsys, "delete", "r1")
    assert said(capsys, "bin", "--empty", "--days", "30") == "Nothing to take away.\n"
    assert "--days says what --empty takes away" in refusal(capsys, "bin", "--days", "30")
    assert answer(capsys, "bin", "--empty")["taken_away"][0]["id"] == "r1-x"
    assert answer(capsys, "bin")["bin"] == []


def test_a_run_that_goes_on_is_not_deleted(capsys: Capture, home: Path) -> None:
    make(home, "live", status=Status.RUNNING, worker=this_process())
    make(home, "far", status=Status.RUNNING, host="far")
    assert "r1 is running" in refusal(capsys, "delete", "r1")
    assert "r2 may be running" in refusal(capsys, "delete", "r2")
    assert len(list_runs(home)) == 2


# Two runs, and a new one


def test_the_difference_of_two_runs(capsys: Capture, home: Path) -> None:
    make(home, "a")
    create_run(home, write_spec(demo_spec().changed(lora_r=64)), "b")
    found = answer(capsys, "diff", "r1", "r2")
    left = str(demo_spec().lora_r)
    assert found["differences"] == [{"key": "lora_r", "left": left, "right": "64"}]
    assert said(capsys, "diff", "r1", "r1") == "r1 and r1 have the same settings.\n"
    assert said(capsys, "diff", "r1", "r2").splitlines()[1].split() == ["lora_r", left, "64"]


def test_a_run_as_a_new_spec(capsys: Capture, home: Path) -> None:
    make(home, "a")
    said(capsys, "name", "r1", "the", "first")
    assert parse_spec(said(capsys, "duplicate", "r1")) == demo_spec().changed(name="the first")


# After the box went away


def test_what_was_cut_off_goes_on(capsys: Capture, home: Path, started: list[str]) -> None:
    with_checkpoint(make(home, "a", **REBOOTED))
    with_checkpoint(make(home, "b", **REBOOTED))
    make(home, "c", **REBOOTED)
    oom = {"status": Status.KILLED, "why": "killed by the kernel: out of memory", "ended": 5.0}
    with_checkpoint(make(home, "d", **oom))
    with_checkpoint(make(home, "e", status=Status.STOPPED, ended=5.0))
    with_checkpoint(make(home, "f", **(REBOOTED | {"host": "far"})))
    archived = with_checkpoint(make(home, "g", **REBOOTED))
    said(capsys, "archive", archived.short_id)
    shown = said(capsys, "resume", "--interrupted").splitlines()
    assert started == ["r1 True"]
    assert shown[0].startswith("r1 goes on (the machine was restarted; last heard")
    assert shown[1].startswith("r2 is left: r1 has its place; `finetune-tui resume r2` goes on (")
    assert shown[2].startswith("r3 is left: it has no checkpoint; `finetune-tui resume r3` begins")
    assert shown[3].startswith("r4 is left: it would run out of memory again (killed by the kernel")
    assert len(shown) == 4


def test_a_killed_one_goes_on_where_there_is_room(
    capsys: Capture, home: Path, started: list[str]
) -> None:
    assert said(capsys, "resume", "--interrupted") == "No run of this machine was cut off.\n"
    busy = make(home, "busy", status=Status.RUNNING, worker=this_process())
    expect_end(busy, 1)
    killed = {"status": Status.KILLED, "why": "killed by signal 9 (SIGKILL)", "ended": 5.0}
    with_checkpoint(make(home, "killed", **killed))
    (left,) = answer(capsys, "resume", "--interrupted")["runs"]
    assert left["left"] == "r1 has its place; `finetune-tui resume r2` goes on"
    write_state(busy.state_path, busy.state().changed(status=Status.FINISHED, ended=5.0))
    (gone_on,) = answer(capsys, "resume", "--interrupted")["runs"]
    assert (gone_on["id"], gone_on["left"], gone_on["failed"]) == ("r2-killed", None, False)
    assert started == ["r2 True"]
    assert "which run is to go on?" in refusal(capsys, "resume")
    assert "names no run" in refusal(capsys, "resume", "r2", "--interrupted")


# The queue


def test_specs_are_queued_and_ordered(capsys: Capture, home: Path, started: list[str]) -> None:
    assert "The queue is empty." in said(capsys, "queue")
    for name in "abc":
        words = ("train", "--model", "demo", "--queue", "--set", f"name={name}")
        assert f"({name}) is in the queue" in said(capsys, *words)
    assert started == ["runner"] * 3

    def titles(*words: str) -> list[str]:
        return [item["title"] for item in answer(capsys, "queue", *words)["items"]]

    assert titles("move", "Q3", "first") == ["c", "a", "b"]
    assert titles("move", "q3", "last") == ["a", "b", "c"]
    assert titles("move", "3", "before", "q2") == ["a", "c", "b"]
    assert titles("move", "q1", "after", "q3") == ["c", "a", "b"]
    assert titles("remove", "q3") == ["a", "b"]
    assert "where to is not clear" in refusal(capsys, "queue", "move", "q1", "up")
    assert "where to is not clear" in refusal(capsys, "queue", "move", "q1", "before")
    assert "beside itself" in refusal(capsys, "queue", "move", "q1", "before", "q1")
    assert "'q9' is not in the queue" in refusal(capsys, "queue", "remove", "q9")
    assert "did you mean 'remove'" in refusal(capsys, "queue", "remov", "q1")


def test_a_spec_that_cannot_work_is_refused_at_once(
    capsys: Capture, home: Path, started: list[str]
) -> None:
    words = ("train", "--model", "demo", "--queue", "--data", "nothing.jsonl")
    assert "nothing.jsonl" in refusal(capsys, *words)
    assert list_queue(home).items == ()
    assert started == []


def test_a_queue_is_held_and_started(capsys: Capture, home: Path, started: list[str]) -> None:
    enqueue(home, demo_spec())
    assert answer(capsys, "queue", "hold")["is_held"] is True
    assert "runner: held; `finetune-tui queue start` goes on" in said(capsys, "queue")
    found = answer(capsys, "queue", "start", "--stop-on-failure")
    assert (found["is_held"], found["stops_on_failure"]) == (False, True)
    assert started == ["runner"]
    assert answer(capsys, "queue", "start")["stops_on_failure"] is True
    assert answer(capsys, "queue", "start", "--keep-going")["stops_on_failure"] is False
    assert "belong to `queue start`" in refusal(capsys, "queue", "--keep-going")


def test_failed_items_say_why_and_wait_again(
    capsys: Capture, home: Path, started: list[str]
) -> None:
    enqueue(home, demo_spec())
    with changing(home) as change:
        failed = change.queue.items[0].changed(status=ItemStatus.FAILED, why="the data is gone")
        change.queue = change.queue.with_item(failed)
    assert "q1 failed: the data is gone" in said(capsys, "queue")
    assert answer(capsys, "queue", "retry", "q1")["items"][0]["status"] == "waiting"
    assert started == ["runner"]


def test_after_a_reboot_the_queue_waits_for_a_person(capsys: Capture, home: Path) -> None:
    enqueue(home, demo_spec())
    record = {"host": host_name(), "boot_id": "another", "heartbeat": time.time()}
    (home / "queue" / "runner.json").write_text(json.dumps(record))
    found = answer(capsys, "queue")
    words = "the machine was restarted; `finetune-tui queue start` goes on"
    assert found["runner"] == {"is_alive": False, "words": words}
    assert found["said"] == f"the queue waits: {words}"


# Settings and the hook


def test_settings_are_shown_and_changed(capsys: Capture) -> None:
    shown = said(capsys, "settings")
    assert "theme   dark" in shown
    assert said(capsys, "settings", "theme", "light") == "theme  light\n"
    assert said(capsys, "settings", "bell", "no") == "bell  no\n"
    found = answer(capsys, "settings")
    assert found["settings"]["theme"] == "light"
    assert found["settings"]["bell"] is False
    assert said(capsys, "settings", "theme", "--unset") == "theme  dark\n"
    assert "did you mean 'theme'" in refusal(capsys, "settings", "them")
    assert "is no theme" in refusal(capsys, "settings", "theme", "pink")
    assert "--unset wants a setting" in refusal(capsys, "settings", "--unset")
    assert "keys are set in the file" in refusal(capsys, "settings", "keys", "x")


def test_what_is_wrong_in_the_settings_is_said(capsys: Capture) -> None:
    path = read_settings().path
    path.write_text("theme: pink\nbell: no\n")
    assert main(["settings"]) == 1
    captured = capsys.readouterr()
    assert "bell    no" in captured.out
    assert captured.err.startswith(f"finetune-tui: {path}:1: 'pink' is no theme")
    assert len(answer(capsys, "settings", code=1)["problems"]) == 1


def test_the_hook_is_tested_and_remembers_it(capsys: Capture, tmp_path: Path) -> None:
    assert "no hook is set" in refusal(capsys, "hook")
    said(capsys, "settings", "on_end", f"echo $FINETUNE_TUI_STATUS > {tmp_path / 'told'}")
    assert "never tested" in said(capsys, "hook")
    assert "tested now: ran in" in said(capsys, "hook", "--test")
    assert (tmp_path / "told").read_text() == "finished\n"
    assert "tested 0s ago: ran in" in said(capsys, "hook")
    assert answer(capsys, "hook")["tested"]["exit_code"] == 0
    said(capsys, "settings", "on_end", "nosuchprogram")
    assert answer(capsys, "hook")["tested"] is None
    assert answer(capsys, "hook", "--test", code=1)["tested"]["exit_code"] == 127
    assert "the hook failed: exit code 127" in refusal(capsys, "hook", "--test", code=1)


def test_the_end_of_the_hook_is_in_the_run(capsys: Capture, home: Path) -> None:
    run = make(home)
    append_event(run, "hook", exit_code=3, words="exit code 3\x1b[2J", seconds=0.1)
    assert "the hook: exit code 3\n" in said(capsys, "show", "r1")


def test_states_of_the_runner(home: Path) -> None:
    assert runner_state(home).words == "nothing waits"
    enqueue(home, demo_spec())
    assert runner_state(home).words == "does not run; `finetune-tui queue start` starts it"


def test_a_list_fits_the_terminal_it_is_read_on(
    home: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in (1, 2):
        run = create_run(home, write_spec(demo_spec()), f"a name of a run that is long {number}")
        change_labels(run, name="held for the night", tags=("invoices", "rank"), note="n" * 60)
    assert main(["runs"]) == 0
    piped = capsys.readouterr().out.splitlines()
    assert len(piped[1]) > 120
    for width in (80, 100):
        monkeypatch.setattr("finetune_tui.tui.output.terminal_width", lambda width=width: width)
        assert main(["runs"]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert len(lines) == len(piped)
        assert max(map(len, lines)) <= width
        assert lines[1].startswith("r2-a-na")
        assert "…" in lines[1]
