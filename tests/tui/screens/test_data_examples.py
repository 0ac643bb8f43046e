"""Examples of data: what trains is told by style and not by colour alone, and every character is seen."""

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune_tui.core.data.report import report_of
from finetune_tui.core.data.rows import Row
from finetune_tui.core.data.token_report import TokenExample
from finetune_tui.core.text import visible
from finetune_tui.core.tuning.spec import Spec
from finetune_tui.tui.pieces import merged
from finetune_tui.tui.screens.data_examples import counted_example, raw_example
from finetune_tui.tui.widgets.lines import Line, Lines, cells, text_of

HEAD = 4  # lines: where, numbers, legend, empty


def row_of(folder: Path, value: dict[str, Any]) -> Row:
    path = folder / "t.jsonl"
    path.write_text(json.dumps(value) + "\n")
    return report_of([path]).examples[0]


def styles(lines: list[Line]) -> dict[str, str]:
    return {span.text.strip(): span.style for one in lines for span in one}


def body(lines: list[Line]) -> str:
    return "".join(text_of(one)[1:] for one in lines[HEAD:])


def test_the_style_of_what_trains_is_more_than_a_colour() -> None:
    assert "text-style: bold underline" in Lines.DEFAULT_CSS.partition(".lines--under")[2][:60]


def test_trained_tokens_are_marked_one_by_one() -> None:
    made = TokenExample("t.jsonl:4", (("Say", False), (" yes", False), (" yes", True)), 0)
    lines = counted_example(made, 60, with_borders=False)
    shown = [(span.text, span.style) for span in lines[HEAD]]
    assert shown == [
        (" ", ""), ("Say", "dim"), (" ", "dim"), ("yes", "dim"), (" ", "under"), ("yes", "under"),
    ]  # fmt: skip
    assert "t.jsonl:4" in text_of(lines[0])
    assert "3 tokens, 1 trained" in text_of(lines[1])


def test_what_is_cut_is_said_where_it_is_missing() -> None:
    made = TokenExample("t.jsonl:4", (("a", True),), 7)
    lines = counted_example(made, 60, with_borders=False)
    assert "7 tokens are cut off" in text_of(lines[-1])


def test_control_characters_are_signs_and_special_tokens_are_text() -> None:
    made = TokenExample("t", (("<|im_end|>\n\x1b[31m\u200b\u202e[/x][@click=app.quit]", True),), 0)
    shown = body(counted_example(made, 200, with_borders=False))
    assert shown == "<|im_end|>⏎␛[31m‹200B›‹202E›[/x][@click=app.quit]"


def test_prompts_train_too_when_asked(tmp_path: Path) -> None:
    row = row_of(tmp_path, {"prompt": "why", "completion": "so"})
    assert styles(raw_example(row, Spec(), 80))["why"] == "dim"
    assert styles(raw_example(row, Spec(), 80))["so"] == "under"
    assert styles(raw_example(row, Spec(completion_only_loss=False), 80))["why"] == "under"


def test_of_a_chat_the_assistant_s_turns_train(tmp_path: Path) -> None:
    chat = [
        {"role": role, "content": content}
        for role, content in (
            ("user", "u1"),
            ("assistant", "a1"),
            ("user", "u2"),
            ("assistant", "a2"),
        )
    ]
    row = row_of(tmp_path, {"messages": chat})

    def trained(spec: Spec) -> set[str]:
        return {
            text for text, style in styles(raw_example(row, spec, 80)).items() if style == "under"
        }

    assert {"a1", "a2"} <= trained(Spec())
    assert not {"u1", "u2"} & trained(Spec())
    assert "a1" not in trained(Spec(last_turn_only=True))
    assert {"u1", "a1"} <= trained(Spec(assistant_only_loss=False))


@given(
    st.lists(st.tuples(st.text(max_size=30), st.booleans()), max_size=20),
    st.sampled_from([20, 38, 80]),
)
def test_every_character_is_shown_and_every_line_fits(
    tokens: list[tuple[str, bool]], width: int
) -> None:
    made = TokenExample("t.jsonl:1", tuple(tokens), 0)
    lines = counted_example(made, width, with_borders=False)
    text = "".join(text for text, _ in tokens)
    assert body(lines) == visible(text).replace("\n", "⏎")
    assert all(cells(one) <= width for one in lines[HEAD:])


@pytest.mark.parametrize("with_borders", [False, True])
@given(tokens=st.lists(st.tuples(st.text(max_size=8), st.booleans()), max_size=20))
def test_a_character_trains_when_its_token_does(
    with_borders: bool, tokens: list[tuple[str, bool]]
) -> None:
    lines = counted_example(TokenExample("t", tuple(tokens), 0), 60, with_borders)
    shown = [
        (character, span.style == "under")
        for one in lines[HEAD:]
        for span in one[1:]
        if span.style != "rule"
        for character in span.text
    ]
    expected = [
        (character, trains)
        for text, trains in tokens
        for character in visible(text).replace("\n", "⏎")
    ]
    assert shown == expected


@pytest.mark.parametrize("again", ["\n", "\u0301", "word "], ids=["lines", "marks", "words"])
def test_of_an_endless_row_the_begin_is_shown(again: str, tmp_path: Path) -> None:
    text = "e" + again * 100_000 + "e"
    counted = counted_example(TokenExample("t", ((text, True),), 0), 80, with_borders=False)
    raw = raw_example(row_of(tmp_path, {"text": text}), Spec(), 80)
    for lines in (counted, raw):
        assert len(lines) < 2100
        assert sum(len(text_of(one)) for one in lines) < 30_000
        assert "the rest of this row is not shown" in text_of(lines[-1])


@given(st.lists(st.tuples(st.text(max_size=4), st.booleans()), max_size=20))
def test_merging_loses_nothing(tokens: list[tuple[str, bool]]) -> None:
    pieces = list(merged(tokens))
    assert "".join(text for text, _ in pieces) == "".join(text for text, _ in tokens)
    assert all(one[1] != other[1] for one, other in pairwise(pieces))
