"""What the data command answers."""

import json
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

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
