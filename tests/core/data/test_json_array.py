"""A .json file that holds one array."""

from pathlib import Path

import pytest

from finetune_tui.core.data import index, json_array
from finetune_tui.core.data.source import Rows, open_rows
from finetune_tui.core.errors import UserError
from tests.core.data.conftest import Write

GOOD = '{"prompt": "2+2?", "completion": "4"}'


def errors(data: Rows) -> dict[int, str]:
    return {bad.line: bad.error for bad in data.bad_rows}


def refusal(path: Path) -> UserError:
    with pytest.raises(UserError) as caught:
        open_rows([path])
    return caught.value


def test_an_array_counts_the_line_where_each_object_begins(write: Write) -> None:
    text = '[\n  {"text":\n   "a"},\n  7,\n  {"text": "b"}\n]\n'
    data = open_rows([write(text, "train.json")])
    assert [(row.line, row.text) for row in data] == [(2, "a"), (5, "b")]
    assert list(errors(data)) == [4]


def test_a_json_file_may_hold_lines_too(write: Write) -> None:
    assert len(open_rows([write(f"{GOOD}\n{GOOD}\n", "train.json")])) == 2


@pytest.mark.parametrize(
    ("end", "line", "words"),
    [
        (',\n {"text": }\n]', 3, "a value is missing or cut off at line 3, column 11"),
        ("\n {", 3, "a comma is missing"),
        ("]\nmore", 2, "text follows the list"),
        (",", 2, "a value is missing"),
        (",]", 2, "a value is missing"),
        ("," + "[" * 20_000, 2, "nested too deeply"),
    ],
)
def test_what_breaks_an_array(write: Write, end: str, line: int, words: str) -> None:
    data = open_rows([write('[\n{"text": "a"}' + end, "train.json")])
    assert [row.text for row in data] == ["a"]
    assert list(errors(data)) == [line]
    assert words in errors(data)[line]


def test_an_array_that_is_cut_off_is_a_bad_row(write: Write) -> None:
    data = open_rows([write('[\n{"text": "a"}\n', "train.json")])
    assert len(data) == 1
    assert "the list is never closed" in errors(data)[3]


def test_arrays_that_cannot_be_read(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(b'[\n{"text": "\xff"}]', "train.json")
    assert refusal(path).where == f"{path}:2"
    assert "empty list" in refusal(write("[ ]", "none.json")).message
    monkeypatch.setattr(json_array, "ARRAY_LIMIT", 4)
    assert "a list of more than 4B" in refusal(path).message


def test_what_stands_before_a_row_is_counted_in_bytes(write: Write) -> None:
    text = '[{"text": "äöü 😀"}, {"text":\n "b"},{"text": "c"}]'
    data = open_rows([write(b"\xef\xbb\xbf" + text.encode(), "train.json")])
    assert [(row.line, row.text) for row in data] == [(1, "äöü 😀"), (1, "b"), (2, "c")]
    assert list(data.contents())[2] == b'{"text": "c"}'


def test_an_element_over_the_limit_is_a_bad_row(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index, "_READ", 100)
    text = '[{"text": "a"},\n{"text": "' + "x" * 200 + '"},\n{"text": "b"}]'
    data = open_rows([write(text, "train.json")])
    assert [row.text for row in data] == ["a", "b"]
    assert list(errors(data)) == [2]
