"""Answers on disk: what is whole stays, whatever happens to the file."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from finetune_tui.core.evidence.answers import Answers, digest_of
from finetune_tui.core.evidence.comparison import Which

HELD_OUT, FORGETTING = Which.HELD_OUT, Which.FORGETTING
TEXTS = ["a", 'b\n"\u2028', "", "\ud800 half"]


def filled(path: Path) -> Answers:
    answers = Answers(path, "asked")
    answers.add(HELD_OUT, "base", [2, 0], TEXTS[:2])
    answers.add(HELD_OUT, "tuned", [1], TEXTS[2:3])
    answers.add(FORGETTING, "base", [0], TEXTS[3:])
    return answers


def test_they_come_back_and_what_is_missing_is_known(tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl"
    assert len(filled(path)) == 4
    again = Answers(path, "asked")
    assert len(again) == 4
    assert again[HELD_OUT, "base", 0] == TEXTS[1]
    assert again[FORGETTING, "base", 0] == TEXTS[3]
    assert again.missing(HELD_OUT, "base", 4) == [1, 3]
    assert again.missing(HELD_OUT, "tuned", 2) == [0]
    assert again.missing(FORGETTING, "tuned", 1) == [0]


def test_another_question_begins_anew(tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl"
    filled(path)
    other = Answers(path, "something else")
    assert len(other) == 0
    other.add(HELD_OUT, "base", [5], ["new"])
    assert len(Answers(path, "something else")) == 1
    assert len(Answers(path, "asked")) == 0


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cut=st.integers(0, 400))
def test_a_kill_at_any_byte_loses_the_torn_line_alone(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "answers.jsonl"
    path.unlink(missing_ok=True)
    whole = filled(path)
    data = path.read_bytes()
    path.write_bytes(data[:cut])
    lines = data[:cut].count(b"\n")
    again = Answers(path, "asked")
    assert len(again) == max(lines - 1, 0)
    for which, who, number in (
        (HELD_OUT, "base", 2),
        (HELD_OUT, "base", 0),
        (HELD_OUT, "tuned", 1),
    ):
        if number not in again.missing(which, who, 3):  # type: ignore[arg-type]
            assert again[which, who, number] == whole[which, who, number]  # type: ignore[index]
    again.add(HELD_OUT, "base", [9], ["later"])
    assert Answers(path, "asked")[HELD_OUT, "base", 9] == "later"
    assert len(Answers(path, "asked")) == max(lines - 1, 0) + 1


def test_a_full_disk_keeps_nothing_of_a_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "answers.jsonl"
    answers = filled(path)
    before = path.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr("os.write", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left")))
        with pytest.raises(OSError, match="No space"):
            answers.add(HELD_OUT, "base", [7], ["x"])
    assert path.read_bytes() == before
    assert answers.missing(HELD_OUT, "base", 8) == [1, 3, 4, 5, 6, 7]
    answers.add(HELD_OUT, "base", [7], ["x"])
    assert Answers(path, "asked")[HELD_OUT, "base", 7] == "x"


def test_a_digest_tells_lists_apart() -> None:
    assert digest_of([[1, 2], [3]]) == digest_of([[1, 2], [3]])
    assert digest_of([[1, 2], [3]]) != digest_of([[1], [2, 3]])
