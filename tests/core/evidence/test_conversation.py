"""What each side is asked, what a conversation gives to train on, and how answers are kept."""

import json
import os
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune_tui.core import demo
from finetune_tui.core.data.report import report_of
from finetune_tui.core.data.rows import Format, Row
from finetune_tui.core.errors import UserError, WorkFailed
from finetune_tui.core.evidence.conversation import (
    BOTH,
    Answer,
    Conversation,
    Ended,
    Side,
    Style,
    row_of,
)
from finetune_tui.core.evidence.held_out import held_out_rows, trained_style
from finetune_tui.core.evidence.keeping import keep_example
from finetune_tui.core.evidence.sampling import SAMPLING, Sampling
from finetune_tui.core.runs.directory import RunDirectory, create_run
from finetune_tui.core.tuning.spec import Spec, demo_spec
from finetune_tui.core.tuning.spec_file import write_spec
from tests.small_disk import mounted

CHAT = (
    {"role": "system", "content": "Be short."},
    {"role": "user", "content": "Who?"},
    {"role": "assistant", "content": "Ann."},
    {"role": "user", "content": "Where?"},
    {"role": "assistant", "content": "Oslo."},
)


def answered(text: str) -> Answer:
    return Answer(text, 1, 0.1, Ended.END)


def chat_row(*messages: dict[str, Any]) -> Row:
    return Row(Path("chats.jsonl"), 3, Format.MESSAGES, messages=tuple(messages))


# What is asked


def test_each_side_sees_its_own_answers() -> None:
    talk = Conversation(system="Be short.")
    talk.say("one").answers = {Side.BASE: answered("b1"), Side.TUNED: answered("t1")}
    talk.say("two")
    for side, said in ((Side.BASE, "b1"), (Side.TUNED, "t1")):
        assert talk.asked(side) == {
            "messages": [
                {"role": "system", "content": "Be short."},
                {"role": "user", "content": "one"},
                {"role": "assistant", "content": said},
                {"role": "user", "content": "two"},
            ]
        }


def test_a_prompt_as_it_stands_is_alone() -> None:
    talk = Conversation(Style.PROMPT, system="not put")
    talk.say("one").answers = {Side.TUNED: answered("1")}
    talk.say("two")
    assert talk.asked(Side.TUNED) == {"prompt": "two"}


def test_a_held_out_chat_is_asked_as_it_is_and_goes_on() -> None:
    talk = Conversation(Style.PROMPT, system="another")
    turn = talk.ask_row(chat_row(*CHAT))
    assert talk.style is Style.CHAT
    assert (turn.said, turn.expected) == ("Where?", "Oslo.")
    assert talk.asked(Side.BASE) == {"messages": list(CHAT)}
    turn.answers = {Side.BASE: answered("Bergen."), Side.TUNED: answered("Oslo.")}
    talk.say("Since when?")
    assert talk.asked(Side.BASE)["messages"] == [
        *CHAT[:4],
        {"role": "assistant", "content": "Bergen."},
        {"role": "user", "content": "Since when?"},
    ]


@given(
    st.lists(
        st.dictionaries(st.sampled_from(BOTH), st.sampled_from(["", "a", " \n"]), max_size=2),
        max_size=6,
    )
)
def test_no_template_gets_two_turns_of_one_speaker(turns: list[dict[Side, str]]) -> None:
    talk = Conversation()
    for number, answers in enumerate(turns):
        talk.say(str(number)).answers = {side: answered(text) for side, text in answers.items()}
    talk.say("last")
    for side in BOTH:
        roles = [message["role"] for message in talk.asked(side)["messages"]]
        assert roles == ["user", "assistant"] * (len(roles) // 2) + ["user"]


def test_what_is_asked_survives_the_wire() -> None:
    talk = Conversation()
    talk.ask_row(chat_row(*CHAT))
    row = row_of(json.loads(json.dumps(talk.asked(Side.BASE))))
    assert row.messages == CHAT
    prompt = Row(Path("x"), 1, Format.INSTRUCTION, prompt="p", completion="c")
    talk.ask_row(prompt)
    assert row_of(talk.asked(Side.TUNED)).completion == "c"


# What is kept


def test_a_kept_chat_is_data_of_its_kind(tmp_path: Path) -> None:
    talk = Conversation()
    talk.say("Who?").answers = {Side.TUNED: answered("Ann.")}
    talk.say("Where?").answers = {Side.TUNED: answered("Oslo.")}
    example = talk.example(Side.TUNED)
    assert example is not None
    file = tmp_path / "new" / "kept.jsonl"
    assert keep_example(file, example) == 1
    assert keep_example(file, example) == 2
    report = report_of([file])
    assert (report.format, report.rows, report.bad_rows) == (Format.MESSAGES, 2, ())
    assert talk.example(Side.BASE) is None


def test_a_kept_prompt_is_data_of_its_kind(tmp_path: Path) -> None:
    talk = Conversation(Style.PROMPT)
    talk.say("Order: \u2028 one\nJSON:").answers = {Side.BASE: answered(' {"a": 1}')}
    example = talk.example(Side.BASE)
    assert example == {"prompt": "Order: \u2028 one\nJSON:", "completion": ' {"a": 1}'}
    file = tmp_path / "kept.jsonl"
    file.write_text('{"prompt": "x", "completion": "y"}')  # no line break at its end
    assert keep_example(file, example) == 2
    assert report_of([file]).rows == 2


def test_a_held_out_chat_is_kept_with_the_answer_that_came() -> None:
    talk = Conversation()
    talk.ask_row(chat_row(*CHAT)).answers = {Side.BASE: answered("Bergen.")}
    example = talk.example(Side.BASE)
    assert example == {"messages": [*CHAT[:4], {"role": "assistant", "content": "Bergen."}]}


def test_rows_of_another_kind_are_refused_and_the_file_stays(tmp_path: Path) -> None:
    file = tmp_path / "kept.jsonl"
    file.write_text('{"messages": []}\n')
    with pytest.raises(UserError, match="holds rows of one kind"):
        keep_example(file, {"prompt": "p", "completion": "c"})
    assert file.read_text() == '{"messages": []}\n'


def test_a_pipe_is_no_file_and_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UserError, match="not a plain file"):
        keep_example(tmp_path / "pipe", {"prompt": "p", "completion": "c"})


def test_a_full_disk_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    with mounted(tmp_path / "disk", 1) as disk:
        file = disk / "kept.jsonl"
        keep_example(file, {"prompt": "p", "completion": "c"})
        before = file.read_bytes()
        with pytest.raises(WorkFailed, match="No space left"):
            keep_example(file, {"prompt": "p", "completion": "c" * 2**21})
        assert file.read_bytes() == before


def test_many_at_once_are_all_kept_whole(tmp_path: Path) -> None:
    file = tmp_path / "kept.jsonl"
    example = {"prompt": "p" * 9000, "completion": "c"}
    threads = [threading.Thread(target=keep_example, args=(file, example)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [json.loads(line) for line in file.read_text().splitlines()] == [example] * 8


# Which rows were held out, and how answers are drawn


def run_of(home: Path, spec: Spec) -> RunDirectory:
    return create_run(home, write_spec(spec), "x")


def test_the_rows_held_out_are_those_that_training_held_out(tmp_path: Path) -> None:
    assert len(held_out_rows(demo_spec())) == 240
    spec = demo_spec().changed(eval_files=[], eval_split=0.1)
    assert len(held_out_rows(spec)) == 200
    assert trained_style(run_of(tmp_path, demo_spec())) is Style.PROMPT
    chats = tmp_path / "chats.jsonl"
    chats.write_text(json.dumps({"messages": CHAT}) + "\n")
    spec = spec.changed(train_files=[str(chats)])
    assert trained_style(run_of(tmp_path, spec)) is Style.CHAT
    spec = spec.changed(train_files=[str(tmp_path / "gone.jsonl")])
    assert trained_style(run_of(tmp_path, spec)) is None
    assert demo.TRAIN_FILE.exists()


def test_sampling_is_read_as_typed_and_a_wrong_value_names_itself() -> None:
    drawn = Sampling().changed({"temperature": ".7", "top_k": "40"})
    assert (drawn.temperature, drawn.top_k, drawn.is_greedy) == (0.7, 40, False)
    assert Sampling(**drawn.to_json()) == drawn  # type: ignore[arg-type]
    assert set(drawn.to_json()) == set(SAMPLING)
    with pytest.raises(UserError, match="did you mean 'temperature'"):
        Sampling().changed({"temprature": 1})
    with pytest.raises(UserError, match="top_p"):
        Sampling().changed({"top_p": 0})
    assert Sampling().words == "greedy"
    assert drawn.words == "temperature 0.7, top_k 40, seed 1"
