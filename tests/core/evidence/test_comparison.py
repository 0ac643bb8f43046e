"""A result on disk: written as a whole, read back, opened fast, and never trusted."""

import json
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from finetune_tui.core.errors import UserError
from finetune_tui.core.evidence.compared_rows import (
    ComparedRow,
    find_rows,
    read_index,
    read_rows,
)
from finetune_tui.core.evidence.comparison import (
    LONGEST_TEXT,
    ComparedSet,
    Comparison,
    Verdict,
    Which,
    comparisons_of,
    list_comparisons,
    read_comparison,
)
from finetune_tui.core.evidence.judge import Judge
from finetune_tui.core.evidence.metrics import METRICS
from finetune_tui.core.evidence.scoring import AnsweredRow, score_set
from finetune_tui.core.evidence.summary import compared_event, summary_words
from finetune_tui.core.evidence.writing import folder_for, write_comparison
from finetune_tui.core.runs.directory import RunDirectory, create_run

Rows = dict[Which, tuple[ComparedRow, ...]]
RECORD = '{"item": "lamp"}'


def two_runs(home: Path) -> tuple[RunDirectory, RunDirectory]:
    """A trained run and one that compares it."""
    return tuple(create_run(home, "task: train\n", name) for name in ("a", "b"))  # type: ignore[return-value]


def made(which: Which, rows: int) -> tuple[ComparedSet, tuple[ComparedRow, ...]]:
    answers = [
        AnsweredRow(
            n,
            f"f.jsonl:{n + 1}",
            f"prompt {n} é\u2028\ud800",
            RECORD,
            RECORD if n % 3 else "?",
            RECORD,
        )
        for n in range(rows)
    ]
    metrics = [METRICS[name] for name in ("exact", "json", "fields")]
    scored = score_set(which, answers, metrics, Judge())
    figures = ComparedSet(
        which=which,
        files=("f.jsonl",),
        rows=rows,
        left_out=1,
        longest_answer=20,
        judged_by="exact",
        right_words="the same",
        measured=scored.measured,
        counts=scored.counts,
        fields=scored.fields,
        further_fields=0,
        base_loss=1.5,
        tuned_loss=None,
        notes=("a note",),
    )
    return figures, scored.rows


def keep(trained: RunDirectory, by: RunDirectory, rows: int = 7, forgetting: int = 0) -> Comparison:
    figures, held_out = made(Which.HELD_OUT, rows)
    kept: Rows = {Which.HELD_OUT: held_out}
    second = None
    if forgetting:
        second, kept[Which.FORGETTING] = made(Which.FORGETTING, forgetting)
    folder = folder_for(trained, by)
    comparison = Comparison(
        folder=folder,
        name=folder.name,
        run=trained.id,
        model="demo",
        created=float(rows),
        seconds=2.5,
        device="cpu",
        dtype="float32",
        precision="nf4",
        held_out=figures,
        forgetting=second,
        spec={"run": "r1"},
        step=20 if forgetting else None,
    )
    write_comparison(comparison, kept, by)
    return comparison


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Comparison:
    return keep(*two_runs(tmp_path_factory.mktemp("home")), rows=7, forgetting=4)


def test_it_comes_back_as_it_was(kept: Comparison) -> None:
    assert read_comparison(kept.folder) == kept
    assert kept.folder.name == "r2"
    for which, rows in ((Which.HELD_OUT, 7), (Which.FORGETTING, 4)):
        index = read_index(kept.folder, which)
        found = read_rows(kept.folder, index.offsets)
        assert tuple(found) == made(which, rows)[1]
        assert [row.verdict for row in found] == list(index.verdicts)
    index = read_index(kept.folder, Which.HELD_OUT)
    assert index.only(Verdict.FIXED) == [0, 3, 6]
    assert index.only(None) == list(range(7))
    assert [row.number for row in read_rows(kept.folder, [index.offsets[5], index.offsets[2]])] == [
        5,
        2,
    ]


def test_rows_are_found_by_what_stands_in_them(kept: Comparison) -> None:
    index = read_index(kept.folder, Which.HELD_OUT)
    assert find_rows(kept.folder, index, "PROMPT 5 É", index.only(None)) == [5]
    assert find_rows(kept.folder, index, "LAMP", index.only(Verdict.FIXED)) == [0, 3, 6]
    assert find_rows(kept.folder, index, "nowhere", index.only(None)) == []


def test_the_words_and_the_event_hold_the_judging_figures(kept: Comparison) -> None:
    assert summary_words(kept) == (
        "exact match 57% → 100% on 7 rows, 3 fixed, 0 regressed, forgot 0 of 2"
    )
    event = compared_event(kept)
    assert json.loads(json.dumps(event)) == event
    assert (event["fixed"], event["both_right"], event["forgotten"]["base_right"]) == (3, 4, 2)
    assert event["comparison"] == str(kept.folder)


def test_a_newer_one_is_listed_first_and_broken_ones_not_at_all(tmp_path: Path) -> None:
    trained, by = two_runs(tmp_path)
    assert list_comparisons(trained) == ()
    keep(trained, by, rows=3)
    newer = keep(trained, create_run(tmp_path, "task: compare\n", "c"), rows=5)
    (comparisons_of(trained) / "half").mkdir()
    (comparisons_of(trained) / "r9").mkdir()
    (comparisons_of(trained) / "r9" / "result.json").write_text('{"version": 1}')
    found = list_comparisons(trained)
    assert [one.name for one in found] == ["r3", "r2"]
    assert found[0] == newer


def test_the_same_run_replaces_its_own_and_another_home_does_not(tmp_path: Path) -> None:
    trained, by = two_runs(tmp_path)
    keep(trained, by, rows=3)
    assert keep(trained, by, rows=4).name == "r2"
    elsewhere = two_runs(tmp_path / "other")[1]
    assert keep(trained, elsewhere, rows=5).name == "r2-2"
    assert {one.held_out.rows for one in list_comparisons(trained)} == {4, 5}


def test_a_full_disk_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trained, by = two_runs(tmp_path)
    keep(trained, by, rows=3)
    monkeypatch.setattr(
        "finetune_tui.core.evidence.writing.sync_folder",
        lambda _folder: (_ for _ in ()).throw(OSError(28, "No space left on device")),
    )
    with pytest.raises(OSError, match="No space"):
        keep(trained, by, rows=6)
    assert [one.held_out.rows for one in list_comparisons(trained)] == [3]
    assert [path.name for path in comparisons_of(trained).iterdir()] == ["r2"]


def test_ten_thousand_rows_open_at_once(tmp_path: Path) -> None:
    kept = keep(*two_runs(tmp_path), rows=1)
    row = (kept.folder / "rows.jsonl").read_bytes()
    (kept.folder / "rows.jsonl").write_bytes(row * 10_000)
    offsets = list(range(0, len(row) * 10_000, len(row)))
    index = {"held_out": {"offsets": offsets, "verdicts": "f" * 10_000}}
    (kept.folder / "index.json").write_text(json.dumps(index))
    began = time.process_time()
    read_comparison(kept.folder)
    found = read_index(kept.folder, Which.HELD_OUT)
    read_rows(kept.folder, found.offsets[5000:5040])
    assert time.process_time() - began < 0.25
    assert len(found) == 10_000


def test_long_texts_are_cut_on_reading(tmp_path: Path) -> None:
    kept = keep(*two_runs(tmp_path), rows=1)
    path = kept.folder / "rows.jsonl"
    row = json.loads(path.read_text())
    path.write_text(json.dumps({**row, "base": "x" * 10 * LONGEST_TEXT}) + "\n")
    assert len(read_rows(kept.folder, [0])[0].base) == LONGEST_TEXT


def refusal(call: Any, *args: Any) -> str:
    with pytest.raises(UserError) as caught:
        call(*args)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_what_is_missing_or_newer_is_one_line(kept: Comparison, tmp_path: Path) -> None:
    assert "cannot be read" in refusal(read_comparison, tmp_path)
    (tmp_path / "result.json").write_text('{"version": 2}')
    assert "newer version" in refusal(read_comparison, tmp_path)
    (tmp_path / "index.json").write_text('{"held_out": {"offsets": [0, 1], "verdicts": "f"}}')
    assert "no index" in refusal(read_index, tmp_path, Which.HELD_OUT)
    assert "broken" in refusal(read_rows, kept.folder, [1])
    assert "broken" in refusal(read_rows, kept.folder, [10**9])


def places_in(value: Any) -> list[tuple[Any, Any]]:
    """Every dictionary or list in it with each of its keys."""
    keys = list(value) if isinstance(value, dict) else list(range(len(value)))
    found = [(value, key) for key in keys]
    inner = [value[key] for key in keys if isinstance(value[key], dict | list)]
    return found + [place for one in inner for place in places_in(one)]


junk = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=5,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(data=st.data())
def test_no_damage_to_a_result_is_more_than_one_line(
    kept: Comparison, tmp_path: Path, data: st.DataObject
) -> None:
    """One value anywhere in the files is replaced by another: it is read all the same, or refused."""
    folder = tmp_path / "damaged"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(kept.folder, folder)
    path = folder / data.draw(st.sampled_from(["result.json", "index.json"]))
    value = json.loads(path.read_text())
    place, key = data.draw(st.sampled_from(places_in(value)))
    place[key] = data.draw(junk)
    path.write_text(json.dumps(value))
    for call in (read_comparison, lambda one: read_index(one, Which.HELD_OUT)):
        try:
            call(folder)
        except UserError as error:
            assert "\n" not in str(error)
