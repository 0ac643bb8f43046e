"""The command line of comparisons: what is asked for, what is refused, and what is shown of finished ones."""

import json
from pathlib import Path
from typing import Any

import pytest

from finetune_tui.core.evidence.comparison import Comparison
from finetune_tui.core.evidence.summary import compared_event, summary_words
from finetune_tui.core.runs.directory import RunDirectory
from finetune_tui.core.runs.queue import list_queue
from finetune_tui.core.runs.state import Status
from finetune_tui.core.tuning.task_spec import CompareSpec
from finetune_tui.tui.cli import main
from tests.core.runs.adapters import add_result
from tests.tui.comparison_fixture import compare_run, orders, write_result
from tests.tui.runs_fixture import make_run

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FINETUNE_TUI_HOME", str(tmp_path / "home"))
    for name in ("start_run", "start_runner"):
        monkeypatch.setattr(f"finetune_tui.core.runs.launch.{name}", lambda _what: None)
    return tmp_path / "home"


@pytest.fixture
def trained(home: Path) -> RunDirectory:
    return add_result(make_run(home, name="r1-demo", status=Status.FINISHED))


@pytest.fixture
def kept(home: Path, trained: RunDirectory) -> Comparison:
    older, newer = (compare_run(home, trained, name=name) for name in ("r2-older", "r3-newer"))
    write_result(trained, older, held_out=orders(3), forgetting=[], created=5.0)
    return write_result(trained, newer, held_out=orders(60), created=9.0)


def said(capsys: Capture, *words: str) -> list[str]:
    assert main(["compare", *words]) == 0
    return capsys.readouterr().out.splitlines()


def answer(capsys: Capture, *words: str, code: int = 0) -> Any:
    assert main(["compare", *words, "--json"]) == code
    (line,) = capsys.readouterr().out.splitlines()
    return json.loads(line)


def refusal(capsys: Capture, *words: str) -> str:
    assert main(["compare", *words]) == 2
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1
    assert captured.out == ""
    return captured.err


def test_what_is_asked_for_is_in_the_spec_of_a_run_of_its_own(
    trained: RunDirectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("f.jsonl").write_text('{"prompt": "a", "completion": "b"}\n')
    Path("s.json").write_text('{"type": "object"}')
    flags = ["--metric", "exact", "regex", "--regex", r"\d", "--schema", "s.json", "--rows", "0"]
    more = [
        "--data",
        "f.jsonl",
        "--forget",
        "f.jsonl",
        "--max-new-tokens",
        "9",
        "--cpu",
        "--detach",
    ]
    run = RunDirectory(Path(answer(capsys, "r1", *flags, *more)["path"]))
    rows = (str(tmp_path / "f.jsonl"),)
    assert run.task_spec() == CompareSpec(
        run=str(trained.path),
        metrics=("exact", "regex"),
        json_schema=str(tmp_path / "s.json"),
        regex=r"\d",
        compare_files=rows,
        forget_files=rows,
        rows=0,
        max_new_tokens=9,
        use_cpu=True,
    )
    state = run.state()
    assert (state.task, state.target, state.model) == ("compare", "r1-demo", "demo")


def test_it_can_wait_in_the_queue(home: Path, trained: RunDirectory, capsys: Capture) -> None:
    assert "is in the queue" in said(capsys, "r1", "--queue")[0]
    (item,) = list_queue(home).items
    assert item.task == "compare"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["r8"], "there is no run 'r8'"),
        (["r1", "--metric", "exakt"], "did you mean 'exact'?"),
        (["r1", "--metric", "schema"], "give --schema FILE"),
        (["r1", "--schema", "none.json"], "none.json: cannot be read"),
        (["r1", "--regex", "("], "not a regular expression"),
        (["r1", "--rows", "-1"], "not between 0 and"),
        (["r1", "--data", "none.jsonl"], "there is no such file"),
        (["r1", "--only", "fixt"], "has no comparison yet"),
        (["r1", "--show"], "`finetune-tui compare r1` makes one"),
    ],
)
def test_what_is_wrong_is_one_line(
    trained: RunDirectory, capsys: Capture, words: list[str], message: str
) -> None:
    assert message in refusal(capsys, *words)


def test_runs_without_a_result_say_what_is_missing(
    home: Path, trained: RunDirectory, capsys: Capture
) -> None:
    make_run(home, name="r5-live")
    make_run(home, name="r6-failed", status=Status.FAILED)
    compare_run(home, trained, name="r7-compare")
    assert "r5 has no result yet" in refusal(capsys, "r5")
    assert "r6 has no result" in refusal(capsys, "r6")
    assert "r7 is a comparison, not a training" in refusal(capsys, "r7")


def test_the_table_fits_a_terminal_and_holds_every_figure(
    kept: Comparison, capsys: Capture
) -> None:
    lines = said(capsys, "r1", "--show")
    assert max(map(len, lines[:-3])) <= 80  # behind them: the path of the rows
    text = "\n".join(lines)
    exact = kept.held_out.judge
    assert f"{100 * exact.tuned.value:.0f}% [" in text
    for one in kept.held_out.measured:
        assert any(line.startswith(one.title) for line in lines)
    counts = kept.held_out.counts
    assert f"{counts.fixed} fixed, {counts.regressed} regressed" in text
    assert "forgetting, on 60 rows of other work" in text
    assert any(line.startswith("sku") for line in lines)
    assert lines[-3:] == [
        f"rows: {kept.folder}/rows.jsonl",
        "read them: finetune-tui compare r1 --only regressed",
        "what was forgotten: finetune-tui compare r1 --only regressed --forgotten",
    ]


def test_comparisons_are_listed_the_newest_first_and_named(
    kept: Comparison, capsys: Capture
) -> None:
    lines = said(capsys, "r1", "--list")
    assert [line.split()[0] for line in lines] == ["NAME", "r3", "r2"]
    assert summary_words(kept) in lines[1]
    assert said(capsys, "r1", "--show", "r2")[0].startswith("r2: ")
    assert [one["comparison"] for one in answer(capsys, "r1", "--list")["comparisons"]] == [
        "r3",
        "r2",
    ]
    assert "there are r3, r2" in refusal(capsys, "r1", "--show", "r9")


def test_rows_of_one_kind_are_printed_whole(kept: Comparison, capsys: Capture) -> None:
    lines = said(capsys, "r1", "--only", "regressed", "--all")
    assert sum(line.startswith("── ") for line in lines) == kept.held_out.counts.regressed
    assert any(line.startswith("expected {") for line in lines)
    few = said(capsys, "r1", "--only", "fixed")
    more = kept.held_out.counts.fixed - 20
    assert few[-1] == f"{more} more; --all shows every one"
    assert "did you mean 'fixed'?" in refusal(capsys, "r1", "--only", "fixd")
    assert "no second set" in refusal(
        capsys, "r1", "--only", "fixed", "--forgotten", "--show", "r2"
    )


def test_json_holds_the_figures_and_the_rows(kept: Comparison, capsys: Capture) -> None:
    found = answer(capsys, "r1", "--show")
    held_out = found["held_out"]
    assert held_out["counts"]["fixed"] == kept.held_out.counts.fixed
    assert [one["metric"] for one in held_out["metrics"]] == ["exact", "json", "fields", "rouge-l"]
    exact = held_out["metrics"][0]
    assert exact["tuned"]["low"] < exact["tuned"]["value"] < exact["tuned"]["high"]
    change = exact["tuned"]["value"] - exact["base"]["value"]
    assert exact["difference"]["value"] == pytest.approx(change)
    assert held_out["fields"][0].keys() == {"path", "base", "tuned"}
    assert found["forgetting"]["forgotten"]["of"] == 54
    rows = answer(capsys, "r1", "--only", "regressed")
    assert (rows["verdict"], rows["set"]) == ("regressed", "held_out")
    assert len(rows["rows"]) == kept.held_out.counts.regressed
    assert rows["rows"][0]["scores"]["exact"] == [1, 0]


def test_a_finished_comparison_leads_to_its_result(
    home: Path, trained: RunDirectory, kept: Comparison, capsys: Capture
) -> None:
    event = {"kind": "compared", "t": 3.0, **compared_event(kept)}
    compare_run(home, trained, [event], name="r4-done", status=Status.FINISHED)
    assert said(capsys, "r4", "--show")[0].startswith("r3: ")


def test_show_tells_the_last_comparison(kept: Comparison, capsys: Capture) -> None:
    assert main(["show", "r1"]) == 0
    assert f"compared  r3: {summary_words(kept)}" in capsys.readouterr().out
    assert main(["show", "r1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["comparisons"] == ["r3", "r2"]
