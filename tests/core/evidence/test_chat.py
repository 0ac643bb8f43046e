"""A real process that holds a model: loaded once, stopped, killed, asked for another run."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from finetune_tui.core.errors import UserError, WorkFailed
from finetune_tui.core.evidence.chat import ChatProcess, Where
from finetune_tui.core.evidence.conversation import BOTH, Answer, Conversation, Ended, Side, Style
from finetune_tui.core.evidence.sampling import Sampling
from finetune_tui.core.runs.directory import RunDirectory
from tests.core.training.families import make_folder
from tests.core.training.trained_runs import as_trained, copy_of, finished_run, spec_of

LONG = Sampling(max_new_tokens=60)


@pytest.fixture
def chat() -> Iterator[ChatProcess]:
    chat = ChatProcess()
    yield chat
    chat.close()


def tiny_run(folder: Path) -> RunDirectory:
    spec = spec_of(make_folder("llama", folder / "llama"), preset="all-linear")
    return finished_run(folder / "home", spec, as_trained(spec))


def asked(text: str) -> dict[Side, dict[str, object]]:
    talk = Conversation(Style.PROMPT)
    talk.say(text)
    return {side: talk.asked(side) for side in BOTH}


@pytest.mark.training
def test_one_process_from_the_first_question_to_the_last(chat: ChatProcess, tmp_path: Path) -> None:
    run, never = tiny_run(tmp_path), threading.Event()
    words: list[str] = []
    opened = chat.open(run, Where(), words.append, never)
    assert (opened.device, opened.dtype, opened.context) == ("CPU", "float32", 128)
    assert opened.bytes is None
    assert words
    told: list[tuple[Side, Answer]] = []
    answers = chat.ask(
        asked("hello"), LONG, lambda side, answer: told.append((side, answer)), never
    )
    assert [side for side, _ in told[:4]] == [Side.BASE, Side.TUNED] * 2
    for side in BOTH:
        last = next(answer for one, answer in reversed(told) if one is side)
        assert last.text == answers[side].text
        assert answers[side].ended in (Ended.END, Ended.LENGTH)

    # Loaded once.
    begun = time.monotonic()
    assert chat.open(run, Where(), words.append, never) == opened
    assert time.monotonic() - begun < 2

    # Stopped within a token, the model stays.
    stop = threading.Event()

    def stop_soon(_side: Side, answer: Answer) -> None:
        if answer.tokens > 2:
            stop.set()

    answers = chat.ask(asked("x"), LONG, stop_soon, stop)
    assert {answer.ended for answer in answers.values()} <= {Ended.STOPPED, Ended.END}
    assert all(answer.tokens < 60 for answer in answers.values())

    # A prompt that is too long is one line, and the model stays.
    with pytest.raises(UserError, match="the model takes 128"):
        chat.ask(asked("long " * 200), LONG, lambda *_: None, never)


@pytest.mark.soak
def test_what_is_killed_is_replaced_and_another_run_is_loaded(
    chat: ChatProcess, tmp_path: Path
) -> None:
    run, never = tiny_run(tmp_path), threading.Event()
    chat.open(run, Where(), print, never)
    servers = [p for p in psutil.Process().children() if "calls.server" in " ".join(p.cmdline())]

    def kill(_side: Side, _answer: Answer) -> None:
        for server in servers:
            if server.is_running():
                server.kill()

    with pytest.raises(WorkFailed, match="ended with code -9"):
        chat.ask(asked("x"), LONG, kill, never)
    assert chat.ask(asked("hello"), LONG, lambda *_: None, never)[Side.BASE].text
    other = copy_of(run, "r2-copy")
    assert chat.open(other, Where(), print, never).seconds > 0
    (other.adapter / "adapter_model.safetensors").unlink()
    chat.close()
    with pytest.raises(UserError):
        chat.open(other, Where(), print, never)
