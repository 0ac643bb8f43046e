"""`data FILE --model M`: the answer of the real call, as text, as JSON, and as the app reads it."""

import json
from pathlib import Path

import pytest

from finetune_tui.core import demo
from finetune_tui.core.data.token_report import TokenQuestion, TokenReport
from finetune_tui.tui.cli import main
from finetune_tui.tui.commands.data import _say_tokens


@pytest.fixture
def orders(tmp_path: Path) -> Path:
    """Forty of the demo's rows, one broken."""
    lines = demo.TRAIN_FILE.read_text().splitlines()[:40]
    lines[6] = '{"prompt": '
    path = tmp_path / "orders.jsonl"
    path.write_text("\n".join(lines) + "\n")
    return path


def test_in_tokens(
    orders: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["data", str(orders), "--model", "demo", "--set", "max_length=64", "--json"]
    assert main(words) == 0
    answer = json.loads(capsys.readouterr().out)
    question = TokenQuestion((str(orders),), "demo", 64, True, True, False, False)
    report = TokenReport.from_json(question, answer)
    assert report.rows == 39
    assert [bad.line for bad in report.bad_rows] == [7]
    assert report.lengths.max > 64
    assert 0 < report.cut_rows < 39
    (example,) = report.examples
    shown = "".join(text for text, _ in example.tokens)
    learnt = "".join(text for text, trains in example.tokens if trains)
    first = json.loads(orders.read_text().splitlines()[0])
    whole = first["prompt"] + first["completion"] + "<|endoftext|>"
    assert whole.startswith(shown)
    assert learnt == shown.removeprefix(first["prompt"])

    _say_tokens(answer)
    said = capsys.readouterr().out
    assert f"cut        {report.cut_rows} rows" in said
    assert f"⟦{learnt}⟧" in said
    monkeypatch.setattr("finetune_tui.tui.commands.data.on_terminal", lambda: True)
    _say_tokens(answer)
    assert f"\x1b[1;4m{learnt}\x1b[0m" in capsys.readouterr().out


def test_foreign_text_is_shown_and_not_obeyed(capsys: pytest.CaptureFixture[str]) -> None:
    example = {"where": "a\x1b[2J.jsonl:1", "tokens": [["\x1b[2J\u202e", True]], "cut": 3}
    _say_tokens({"tokens": None, "notes": ["\x1b[2J"], "examples": [example]})
    said = capsys.readouterr().out
    assert not {"\x1b", "\u202e"} & set(said)
    assert "⟦␛[2J‹202E›⟧" in said
    assert "3 tokens are cut off" in said


def test_a_length_that_cannot_be_is_refused(
    orders: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["data", str(orders), "--model", "demo", "--max-length", "0"]) == 2
    assert "max_length: 0 is not between" in capsys.readouterr().err
