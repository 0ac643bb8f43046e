"""Which rows a comparison asks, and what it refuses before anything starts."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from finetune_tui.core import demo
from finetune_tui.core.errors import UserError
from finetune_tui.core.evidence.asking import changed_since, check_compare, rows_to_ask
from finetune_tui.core.evidence.comparison import Which
from finetune_tui.core.runs.directory import RunDirectory, create_run
from finetune_tui.core.tuning.spec import Spec, demo_spec
from finetune_tui.core.tuning.spec_file import write_spec
from finetune_tui.core.tuning.task_spec import CompareSpec

CHAT = {
    "messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": '{"b": 1}'}]
}


def written(path: Path, *rows: Any) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def pairs(number: int) -> list[dict[str, str]]:
    return [{"prompt": f"p{n}", "completion": f"c{n}"} for n in range(number)]


def run_of(home: Path, spec: Spec) -> RunDirectory:
    return create_run(home, write_spec(spec), "x")


def refusal(spec: CompareSpec, trained: Spec, home: Path) -> str:
    with pytest.raises(UserError) as caught:
        check_compare(spec, run_of(home, trained))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_rows_held_out_are_asked_those_of_the_files_of_the_run() -> None:
    (asked,) = rows_to_ask(CompareSpec(rows=0), demo_spec())
    assert (asked.which, len(asked.rows), asked.notes) == (Which.HELD_OUT, 240, ())
    assert asked.files == (str(demo.HELDOUT_FILE),)


def test_a_share_of_the_data_is_the_one_that_never_trained(tmp_path: Path) -> None:
    data = written(tmp_path / "d.jsonl", *pairs(100))
    trained = demo_spec().changed(train_files=[data], eval_files=[], eval_split=0.2)
    (asked,) = rows_to_ask(CompareSpec(rows=0), trained)
    assert len(asked.rows) == 20
    (again,) = rows_to_ask(CompareSpec(rows=0), trained)
    assert asked.rows == again.rows
    (other,) = rows_to_ask(CompareSpec(rows=0), trained.changed(seed=7))
    assert asked.rows != other.rows


def test_as_many_as_asked_for_are_drawn_evenly_and_always_the_same(tmp_path: Path) -> None:
    data = written(tmp_path / "d.jsonl", *pairs(100))
    forget = written(tmp_path / "f.jsonl", *pairs(5))
    spec = CompareSpec(rows=10, compare_files=(data,), forget_files=(forget,))
    asked, forgetting = rows_to_ask(spec, demo_spec())
    lines = [row.line for row in asked.rows]
    assert len(lines) == 10
    assert lines == sorted(lines)
    assert max(lines) > 50
    assert asked.notes == ("10 of 100 rows, evenly drawn",)
    assert rows_to_ask(spec, demo_spec())[0].rows == asked.rows
    assert (forgetting.which, len(forgetting.rows), forgetting.notes) == (Which.FORGETTING, 5, ())


def test_what_cannot_be_asked_is_one_line(tmp_path: Path) -> None:
    text = written(tmp_path / "text.jsonl", {"text": "a"})
    empty = written(tmp_path / "empty.jsonl")
    chat = written(tmp_path / "chat.jsonl", CHAT)
    trained = demo_spec()
    assert "plain text" in refusal(CompareSpec(compare_files=(text,)), trained, tmp_path)
    assert "plain text" in refusal(CompareSpec(forget_files=(text,)), trained, tmp_path)
    assert "the file is empty" in refusal(CompareSpec(compare_files=(empty,)), trained, tmp_path)
    assert "no chat template" in refusal(CompareSpec(compare_files=(chat,)), trained, tmp_path)
    assert "no chat template" in refusal(CompareSpec(forget_files=(chat,)), trained, tmp_path)
    assert "held no rows out" in refusal(
        CompareSpec(), trained.changed(eval_files=[], eval_split=0), tmp_path
    )
    gone = refusal(
        CompareSpec(), trained.changed(eval_files=[str(tmp_path / "gone.jsonl")]), tmp_path
    )
    assert "cannot be read" in gone
    assert "--data FILE" in gone
    assert "not a regular expression" in refusal(CompareSpec(regex="("), trained, tmp_path)


def test_a_model_that_trained_on_chats_without_a_template_is_asked_as_it_trained(
    tmp_path: Path,
) -> None:
    chat = written(tmp_path / "chat.jsonl", CHAT, CHAT)
    trained = demo_spec().changed(train_files=[chat], eval_files=[chat])
    check_compare(CompareSpec(), run_of(tmp_path, trained))
    check_compare(CompareSpec(metrics=("fields",)), run_of(tmp_path, trained))


def test_data_written_after_the_training_began_is_named(tmp_path: Path) -> None:
    data = written(tmp_path / "d.jsonl", *pairs(3))
    trained = demo_spec().changed(train_files=[data], eval_files=[])
    os.utime(data, (1000, 1000))
    assert changed_since(trained, 1001) == ()
    assert changed_since(trained, 999) == (data,)
    assert changed_since(trained, None) == ()
