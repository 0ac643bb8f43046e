"""What the data command answers."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune_tui.core.data import duplicates, report, source
from finetune_tui.core.data.report import MAX_BARS, lengths_of, report_of


def test_the_answer_has_every_key_and_null_for_what_needs_a_model(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    rows = [{"prompt": "", "completion": "four"}, {"prompt": "", "completion": "four"}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows) + "{\n")
    answer = json.loads(json.dumps(report_of([path]).to_json()))
    assert answer["format"] == "prompt/completion"
    assert answer["rows"] == 2
    assert [bad["line"] for bad in answer["bad_rows"]] == [3]
    assert answer["tokens"] is answer["trained_tokens"] is answer["ends_trained"] is None
    assert answer["lengths"] == {
        "unit": "characters",
        "min": 4,
        "median": 4,
        "p95": 4,
        "max": 4,
        "histogram": [[4, 2]],
    }
    assert answer["duplicates"] == 1
    assert answer["notes"] == [
        "1 row cannot be used",
        "1 row repeats an earlier one",
        "2 rows have empty prompts",
    ]


def test_notes_on_chats(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    turns = [{"role": "assistant", "content": "hi"}, {"role": "user", "content": "bye"}]
    path.write_text(json.dumps({"messages": turns, "tools": [{}]}))
    report = report_of([path])
    assert report.notes == ("1 row ends without an answer", "1 row offers tools")
    assert report.lengths.max == len("hibye")


def test_a_large_file_is_sampled_and_the_report_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.jsonl"
    rows = [json.dumps({"text": "x" * (1 + number % 100)}) for number in range(8000)]
    rows[7000] = "{"
    path.write_text("\n".join(rows))
    monkeypatch.setattr(source, "SMALL", 0)
    monkeypatch.setattr(source, "CHECKED", 10)
    monkeypatch.setattr(report, "SAMPLED", 400)
    told: list[tuple[int, int]] = []
    found = report_of([path], progress=lambda *now: told.append(now))
    assert found.rows == 8000
    assert 400 <= found.looked_at <= 405
    assert (found.lengths.min, found.lengths.max) == (1, 100)
    assert 40 < found.lengths.median < 60
    assert found.duplicates == 7899  # 100 texts and the broken line are the first of their kind
    assert "a large file: lengths and notes are those of 40" in found.notes[0]
    assert "7899 rows repeat earlier ones" in found.notes
    assert [row.line for row in found.examples] == [1, 2, 3, 4, 5]
    assert told[-1][1] == path.stat().st_size

    monkeypatch.setattr(duplicates, "MOST", 50)
    reckoned = report_of([path])
    assert reckoned.duplicates != 7899
    assert any("repeat earlier ones, reckoned from a part" in note for note in reckoned.notes)


@given(st.lists(st.integers(0, 10**6), min_size=1))
def test_lengths(values: list[int]) -> None:
    lengths = lengths_of(values, "tokens")
    assert lengths.min <= lengths.median <= lengths.p95 <= lengths.max
    assert sum(value <= lengths.p95 for value in values) >= 0.95 * len(values)
    uppers = [upper for upper, _ in lengths.histogram]
    assert len(uppers) <= MAX_BARS
    assert uppers == sorted(set(uppers))
    assert uppers[-1] >= lengths.max
    below = -1
    for upper, number in lengths.histogram:
        assert number == sum(below < value <= upper for value in values)
        below = upper
