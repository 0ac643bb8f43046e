"""`chat` in a pipe, once, and as a conversation; who answers is written down beforehand."""

import io
import json
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from finetune_tui.core.evidence.chat import Where
from finetune_tui.core.evidence.conversation import Conversation, Side, Style
from finetune_tui.core.evidence.sampling import Sampling
from finetune_tui.tui import cli
from finetune_tui.tui.commands import chat
from finetune_tui.tui.commands.talking import Interrupts, Talker
from tests.tui.chat_fixture import ENOUGH, NO_ROOM, SAYS, FakeChat, finished_run
from tests.tui.runs_fixture import make_run

Said = pytest.CaptureFixture[str]


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeChat:
    found = FakeChat()
    monkeypatch.setattr(chat, "ChatProcess", lambda: found)
    monkeypatch.setattr(chat, "chat_room", lambda *_: ENOUGH)
    monkeypatch.setenv("FINETUNE_TUI_HOME", str(tmp_path))
    finished_run(tmp_path)
    return found


def test_a_prompt_is_answered_once_in_json(fake: FakeChat, capsys: Said) -> None:
    words = ["chat", "r7", "--prompt", "six", "--set", "temperature=0.5", "--json"]
    assert cli.main(words) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["prompt"] == "six"
    assert answer["style"] == "prompt"
    assert answer["sampling"]["temperature"] == 0.5
    assert answer["answers"]["base"] == {
        "text": SAYS[Side.BASE],
        "tokens": 30,
        "seconds": 0.5,
        "tokens_per_second": 60.0,
        "ended": "end token",
        "exact": None,
        "prompt_tokens": 24,
    }
    assert set(answer) == {
        *("run", "model", "step", "device", "dtype", "style", "system", "prompt"),
        *("sampling", "answers"),
    }
    assert fake.is_closed


def test_a_pipe_gets_the_answer_and_nothing_else(
    fake: FakeChat, capsys: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"six\nshelves\n")))
    assert cli.main(["chat", "r7", "--tuned-only"]) == 0
    said = capsys.readouterr()
    assert said.out == SAYS[Side.TUNED] + "\n"
    assert said.err == ""
    assert fake.asked[0][0] == {Side.TUNED: {"prompt": "six\nshelves"}}


def test_both_are_told_one_after_the_other(fake: FakeChat, capsys: Said) -> None:
    assert cli.main(["chat", "r7", "--prompt", "six"]) == 0
    assert capsys.readouterr().out == f"base:\n{SAYS[Side.BASE]}\n\ntuned:\n{SAYS[Side.TUNED]}\n\n"
    assert [list(asked) for asked, _ in fake.asked] == [[Side.BASE], [Side.TUNED]]


def test_a_system_prompt_makes_it_a_chat(fake: FakeChat, capsys: Said) -> None:
    assert cli.main(["chat", "r7", "--prompt", "six", "--system", "Be short.", "--json"]) == 0
    messages = fake.asked[0][0][Side.BASE]["messages"]
    assert [message["role"] for message in messages] == ["system", "user"]


@pytest.mark.parametrize(
    ("words", "wrong"),
    [
        (["r9"], "there is no run 'r9'"),
        (["r8", "--prompt", "x"], "r8 has no result yet"),
        (["r7", "--prompt", "x", "--set", "temperatur=1"], "did you mean 'temperature'"),
        (["r7", "--prompt", "x", "--set", "top_p=2"], "top_p"),
        (["r7", "--prompt", " "], "the prompt is empty"),
    ],
)
def test_what_cannot_be_is_one_line(
    fake: FakeChat, tmp_path: Path, capsys: Said, words: list[str], wrong: str
) -> None:
    make_run(tmp_path, name="r8-goes-on")
    assert cli.main(["chat", *words]) == 2
    said = capsys.readouterr().err
    assert wrong in said
    assert said.count("\n") == 1
    assert not fake.opened


def test_a_busy_gpu_is_left_alone(
    fake: FakeChat, capsys: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    rooms = iter([NO_ROOM, NO_ROOM, ENOUGH])
    monkeypatch.setattr(chat, "chat_room", lambda *_: next(rooms))
    assert cli.main(["chat", "r7", "--prompt", "six"]) == 2
    said = capsys.readouterr().err
    assert "r9 trains there" in said
    assert "--wait waits for it, --cpu answers there" in said
    monkeypatch.setattr(chat, "_LOOK_EVERY", 0.01)
    assert cli.main(["chat", "r7", "--prompt", "six", "--wait"]) == 0
    assert len(fake.opened) == 1


# A conversation


def talker(fake: FakeChat, tmp_path: Path, interrupts: Interrupts) -> Talker:
    opened = fake.open(finished_run(tmp_path, "r6-x"), Where(), print, threading.Event())
    return Talker(
        fake, opened, Conversation(Style.CHAT), Sampling(), tuple(Side), tmp_path, interrupts
    )


def typing(monkeypatch: pytest.MonkeyPatch, *lines: str | type[BaseException]) -> None:
    said = iter(lines)

    def typed(_mark: str = "") -> str:
        line = next(said, EOFError)
        if isinstance(line, str):
            return line
        raise line

    monkeypatch.setattr("builtins.input", typed)


def test_a_conversation_with_its_commands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Said
) -> None:
    fake = FakeChat()
    typing(
        monkeypatch,
        *("one\\", "and more", "/set temperature=0.7 seed=5", "two", "/keep base", "/reset"),
        *("three", "/set top_p=7", "/what", "/quit", "never"),
    )
    with Interrupts() as interrupts:
        assert talker(fake, tmp_path, interrupts).talk(lambda: 80) == 0
    said = capsys.readouterr().out
    assert "(30 tokens, 60 t/s, end token)" in said
    assert "top_p: 7" in said
    assert "/keep" in said
    asked = [row for asked, _ in fake.asked for row in asked.values()]
    assert asked[0]["messages"] == [{"role": "user", "content": "one\nand more"}]
    assert [message["content"] for message in asked[2]["messages"]] == [
        "one\nand more",
        SAYS[Side.BASE],
        "two",
    ]
    assert len(asked[4]["messages"]) == 1
    assert {sampling.seed for _, sampling in fake.asked[2:]} == {5}
    kept = (tmp_path / "kept" / "chats.jsonl").read_text().splitlines()
    assert json.loads(kept[0])["messages"][-1]["content"] == SAYS[Side.BASE]


def test_ctrl_c_twice_leaves_and_once_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Said
) -> None:
    typing(monkeypatch, KeyboardInterrupt, "one", KeyboardInterrupt, KeyboardInterrupt, "never")
    fake = FakeChat()
    with Interrupts() as interrupts:
        assert talker(fake, tmp_path, interrupts).talk(lambda: 80) == 0
    assert len(fake.asked) == 2
    assert "ctrl-c again leaves" in capsys.readouterr().out


def test_ctrl_c_stops_an_answer_and_the_conversation_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Said
) -> None:
    typing(monkeypatch, "one", "two")
    fake = FakeChat()
    fake.gate.clear()
    answer = fake.ask

    def interrupted(*given: Any) -> Any:
        if fake.asked:
            fake.gate.set()
        else:
            os.kill(os.getpid(), signal.SIGINT)
        return answer(*given)

    monkeypatch.setattr(fake, "ask", interrupted)
    with Interrupts() as interrupts:
        assert talker(fake, tmp_path, interrupts).talk(lambda: 80) == 0
    said = capsys.readouterr().out
    assert "stopped)" in said
    assert said.count("end token") == 2


def test_where_it_is_wide_both_write_side_by_side(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Said
) -> None:
    says = {Side.BASE: "word " * 40, Side.TUNED: '{\n  "a": 1\n}'}
    typing(monkeypatch, "one")
    with Interrupts() as interrupts:
        talker(FakeChat(says), tmp_path, interrupts).talk(lambda: 120)
    rows = [line for line in capsys.readouterr().out.splitlines() if " │" in line]
    assert [row.partition(" │ ")[2] for row in rows[:4]] == ["tuned", "{", '  "a": 1', "}"]
    assert " ".join(row.partition(" │")[0] for row in rows[1:-1]).split() == ["word"] * 40
    assert len({row.index("│") for row in rows}) == 1


@pytest.mark.parametrize("width", [80, 120, None])
def test_what_a_model_says_never_acts_on_the_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Said, width: int | None
) -> None:
    monkeypatch.chdir(tmp_path)
    evil = "\x1b[2J\x1b]0;x\x07\u202e plain"
    typing(monkeypatch, "one", "/keep nowhere/\x1b[31m")
    with Interrupts() as interrupts:
        talker(FakeChat(dict.fromkeys(Side, evil)), tmp_path, interrupts).talk(lambda: width)
    said = capsys.readouterr().out
    assert not any(ord(letter) < 32 and letter != "\n" for letter in said)
    assert "\u202e" not in said
    assert "plain" in said
