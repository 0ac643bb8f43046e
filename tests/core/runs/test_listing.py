"""Lists of runs: read in slices, and again only what has changed."""

import os
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune_tui.core.runs import listing as module
from finetune_tui.core.runs.arranging import FILTER_KEYS, SORTS, Filter, arrange
from finetune_tui.core.runs.directory import RunDirectory, create_run
from finetune_tui.core.runs.labels import change_labels
from finetune_tui.core.runs.listing import Listing, RunFacts, read_facts
from finetune_tui.core.runs.liveness import Liveness
from finetune_tui.core.runs.processes import boot_id, host_name, pid_namespace, this_process
from finetune_tui.core.runs.state import State, Status, write_state

NOW = 1_800_000_000.0


def some_runs(home: Path, number: int) -> list[RunDirectory]:
    runs = [
        create_run(home, "task: train\n", f"n{n}", model="m", preset="p") for n in range(number)
    ]
    for run in runs:
        write_state(run.state_path, State(status=Status.FINISHED, step=3, model="m", created=NOW))
    return runs[::-1]


def read_all(listing: Listing) -> None:
    while not listing.is_complete:
        listing.poll()


def test_names_are_there_at_once_and_facts_come_in_slices(home: Path) -> None:
    runs = some_runs(home, 30)
    listing = Listing(home)
    assert listing.poll(seconds=0)
    assert list(listing.runs) == runs
    assert (listing.total, listing.is_complete) == (30, False)
    assert runs[0] in listing.facts  # the newest first
    polls = 0
    while not listing.is_complete:
        before = listing.read
        assert listing.poll(seconds=0)
        assert listing.read > before
        polls += 1
    assert polls > 10
    assert listing.facts[runs[7]].step == 3


def test_those_in_view_come_first(home: Path) -> None:
    runs = some_runs(home, 30)
    listing = Listing(home)
    listing.poll(seconds=0, in_view=runs[20:25])
    assert set(runs[20:25]) <= set(listing.facts)


def test_only_what_changed_is_read_again(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = some_runs(home, 20)
    listing = Listing(home)
    read_all(listing)
    for _ in range(3):
        listing.poll()
    reads: list[RunDirectory] = []
    real = RunDirectory.state

    def counted(run: RunDirectory) -> State:
        reads.append(run)
        return real(run)

    monkeypatch.setattr(RunDirectory, "state", counted)
    kept = listing.facts
    assert not listing.poll(in_view=runs)
    assert reads == []
    write_state(runs[3].state_path, State(status=Status.FAILED, why="no"))
    assert listing.poll(in_view=runs)
    assert reads == [runs[3]]
    assert listing.facts[runs[3]].status is Status.FAILED
    assert kept[runs[3]].status is Status.FINISHED  # what was handed out stays as it was
    change_labels(runs[4], name="new name")
    assert listing.poll(in_view=runs)
    assert listing.facts[runs[4]].name == "new name"


def test_what_goes_on_is_looked_at_wherever_it_stands(home: Path) -> None:
    runs = some_runs(home, 20)
    ours: dict[str, Any] = {"host": host_name(), "boot_id": boot_id(), "worker": this_process()}
    alive = State(status=Status.RUNNING, step=1, pid_namespace=pid_namespace(), **ours)
    write_state(runs[19].state_path, alive)
    listing = Listing(home)
    read_all(listing)
    write_state(runs[19].state_path, alive.changed(step=2))
    assert listing.poll(in_view=runs[:5])
    assert listing.facts[runs[19]].step == 2


def test_a_run_that_ended_long_ago_and_goes_on_again_is_noticed_in_turn(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_AGAIN", 5)
    runs = some_runs(home, 20)
    listing = Listing(home)
    read_all(listing)
    write_state(runs[13].state_path, State(status=Status.STARTING, attempt=2))
    for _ in range(6):
        listing.poll(in_view=runs[:2])
    assert listing.facts[runs[13]].status is not Status.FINISHED


def test_runs_that_come_and_go_are_noticed(home: Path) -> None:
    runs = some_runs(home, 3)
    listing = Listing(home)
    read_all(listing)
    new = create_run(home, "task: train\n", "new")
    runs[1].path.rename(home / "gone")
    assert listing.poll()
    assert list(listing.runs) == [new, runs[0], runs[2]]
    read_all(listing)
    assert set(listing.facts) == set(listing.runs)
    new.path.rename(home / "gone too")
    listing.poll(in_view=listing.runs)  # the screen still shows it
    assert set(listing.facts) == set(listing.runs) == {runs[0], runs[2]}
    assert listing.is_complete


def test_names_are_looked_for_when_the_folder_has_changed(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = some_runs(home, 3)
    os.utime(home / "runs", (1e9, 1e9))
    listing = Listing(home)
    read_all(listing)
    looks: list[Path] = []

    def counted(path: Path) -> list[RunDirectory]:
        looks.append(path)
        return [RunDirectory(home / "runs" / name) for name in ("r9", "r8")]

    monkeypatch.setattr(module, "list_runs", counted)
    listing.poll()
    assert looks == []
    os.utime(home / "runs", (2e9, 2e9))
    listing.poll()
    assert [run.id for run in listing.runs] == ["r9", "r8"] != [run.id for run in runs]


def test_no_home_is_an_empty_list(tmp_path: Path) -> None:
    listing = Listing(tmp_path / "none")
    listing.poll()
    assert (listing.runs, listing.is_complete) == ((), True)


def test_a_thousand_runs_hold_nobody_up(home: Path) -> None:
    """Names and the rows in view in one short look; the rest slice by slice."""
    state = b'{"status": "finished", "step": 3, "model": "m", "created": 1}'
    for number in range(1_000):
        folder = home / "runs" / f"r{number}-x"
        folder.mkdir(parents=True)
        (folder / "state.json").write_bytes(state)
    listing = Listing(home)
    began = time.perf_counter()
    listing.poll()
    listing.poll(in_view=listing.runs[:50])
    seconds = time.perf_counter() - began
    assert (listing.total, len(set(listing.runs[:50]) & set(listing.facts))) == (1_000, 50)
    assert seconds < 2  # 0.1 s when nothing else runs; benchmarks/runs.py has the figures
    slowest = 0.0
    while not listing.is_complete:
        began = time.process_time()
        listing.poll(seconds=0.05)
        slowest = max(slowest, time.process_time() - began)
    assert slowest < 0.5


# Broken, foreign, newer, hostile: listed as what they are.


def a_pipe(run: RunDirectory, name: str) -> None:
    os.mkfifo(run.path / name)


def hostile(home: Path) -> dict[str, tuple[Status, str]]:
    """Folders by name, and what a list says of each."""
    runs = home / "runs"
    expected: dict[str, tuple[Status, str]] = {}

    def folder(name: str, status: Status, words: str) -> RunDirectory:
        run = RunDirectory(runs / name)
        run.path.mkdir(parents=True)
        expected[name] = (status, words)
        return run

    folder("r1-empty", Status.FOREIGN, "no run")
    folder("r2-no-state", Status.BROKEN, "missing").spec_path.write_text("task: train\n")
    folder("r3-torn", Status.BROKEN, "not JSON").state_path.write_text('{"status": "runn')
    folder("r4-list", Status.BROKEN, "no JSON object").state_path.write_text("[1]")
    folder("r5-word", Status.BROKEN, "means nothing").state_path.write_text(
        '{"status":"\\u001b[2J"}'
    )
    newer = '{"version": 2, "status": "dreaming", "step": 7}'
    folder("r6-newer", Status.NEWER, "newer version").state_path.write_text(newer)
    folder("r7-deep", Status.BROKEN, "not JSON").state_path.write_text("[" * 100_000)
    huge = folder("r8-huge", Status.BROKEN, "larger than").state_path
    with huge.open("wb") as file:
        file.truncate(2**40)  # a hole: it takes no room
    a_pipe(folder("r9-pipe", Status.BROKEN, "not a plain file"), "state.json")
    folder("r10-device", Status.BROKEN, "not a plain file").state_path.symlink_to("/dev/zero")
    folder("r11-folder", Status.BROKEN, "not a plain file").state_path.mkdir()
    looping = folder("r12-loop", Status.BROKEN, "symbolic links").state_path
    looping.symlink_to(looping)
    (runs / "r13-loop").symlink_to("r13-loop")
    expected["r13-loop"] = (Status.BROKEN, "symbolic links")
    (runs / "r14-nowhere").symlink_to(home / "none")
    expected["r14-nowhere"] = (Status.BROKEN, "leads nowhere")
    labels = folder("r15-labels", Status.FINISHED, "finished")
    write_state(labels.state_path, State(status=Status.FINISHED))
    a_pipe(labels, "labels.json")
    for name in ("\x1b[31mred\x1b[0m", "‮bidi", "n" * 250, "two\nlines", "-rf", " "):
        folder(name, Status.FOREIGN, "no run")
    (runs / "a file").touch()
    return expected


def test_whatever_lies_there_is_listed_as_what_it_is(home: Path) -> None:
    expected = hostile(home)
    began = time.perf_counter()
    listing = Listing(home)
    read_all(listing)
    found = {run.id: (facts.status, facts.liveness.words) for run, facts in listing.facts.items()}
    assert time.perf_counter() - began < 5  # nothing waits: a pipe would for ever
    assert found.keys() == expected.keys()
    for name, (status, words) in expected.items():
        assert found[name][0] is status, (name, found[name])
        assert words in found[name][1], (name, found[name])
    for facts in listing.facts.values():
        assert facts.id.isprintable()
        assert facts.liveness.words.isprintable()
        assert facts == read_facts(facts.run, time.time())
        facts.run.summary()


def test_what_lies_there_is_not_touched(home: Path) -> None:
    hostile(home)
    before = sorted((path.name, path.lstat().st_mtime_ns) for path in home.rglob("*"))
    read_all(Listing(home))
    assert sorted((path.name, path.lstat().st_mtime_ns) for path in home.rglob("*")) == before


def test_a_folder_that_may_not_be_read_is_broken_and_says_why(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = some_runs(home, 1)[0]
    real = os.open

    def refuse(path: Any, *more: Any, **named: Any) -> int:
        if str(path).startswith(str(run.path)):
            raise PermissionError(13, "Permission denied")
        return real(path, *more, **named)

    monkeypatch.setattr(os, "open", refuse)
    facts = read_facts(run, NOW)
    assert facts.status is Status.BROKEN
    assert "Permission denied" in facts.liveness.words


# Filters and sorting


def facts_of(number: int, status: Status = Status.FINISHED, **values: Any) -> RunFacts:
    return RunFacts(RunDirectory(Path(f"/runs/r{number}-x")), Liveness(status, "words"), **values)


RUNS = [
    facts_of(3, Status.RUNNING, model="microsoft/phi-2", name="Invoices", created=3.0),
    facts_of(2, Status.FAILED, tags=("paper", "v2"), eval_loss=0.4, created=2.0),
    facts_of(1, note="the good one", preset="style", eval_loss=0.3, created=1.0, archived=True),
]


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("", [3, 2]),
        ("invoices", [3]),
        ("INVOICES phi", [3]),
        ("invoices llama", []),
        ("status:failed", [2]),
        ("-status:failed", [3]),
        ("tag:paper", [2]),
        ("tag:pap", []),
        ("pap", [2]),
        ("model:phi", [3]),
        ("r2", [2]),
        ("good is:archived", [1]),
        ("is:archived", [1]),
        ("note:good", []),
        ("is:live", [3]),
        ("nothing:else", []),
        ("-", [3, 2]),
    ],
)
def test_what_a_filter_shows(text: str, numbers: list[int]) -> None:
    assert [facts.run.number for facts in arrange(RUNS, Filter.parse(text))] == numbers


def test_archived_runs_are_among_the_others_when_asked() -> None:
    shown = arrange(RUNS, Filter.parse("", with_archived=True))
    assert [facts.run.number for facts in shown] == [3, 2, 1]
    assert arrange(RUNS, Filter.parse("-is:archived", with_archived=True)) == arrange(RUNS)


@pytest.mark.parametrize(
    ("sort", "numbers"),
    [
        ("newest", [3, 2, 1]),
        ("oldest", [1, 2, 3]),
        ("eval loss", [1, 2, 3]),
        ("status", [3, 2, 1]),
        ("model", [3, 2, 1]),
        ("no such", [3, 2, 1]),
    ],
)
def test_sorting_puts_the_unknown_last(sort: str, numbers: list[int]) -> None:
    runs = [facts for facts in RUNS if not facts.archived] + [
        facts_of(1, eval_loss=0.3, created=1.0)
    ]
    assert [facts.run.number for facts in arrange(runs, sort=sort)] == numbers


KEYS = st.sampled_from([*(f"{key}:" for key in FILTER_KEYS), "", "-"])


@given(st.lists(st.tuples(KEYS, st.text(max_size=5))), st.sampled_from([*SORTS, "other"]))
def test_no_filter_fails_and_sorting_loses_nothing(words: list[tuple[str, str]], sort: str) -> None:
    text = " ".join(key + word for key, word in words)
    shown = arrange(RUNS, Filter.parse(text), sort)
    assert set(shown) == {facts for facts in RUNS if Filter.parse(text).matches(facts)}
