"""CSV and TSV: quotes, line breaks in cells, exact lines, and what people's spreadsheets write."""

import csv
import io
import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from finetune_tui.core.data import source, tables
from finetune_tui.core.data.rows import BadRowError, Format
from finetune_tui.core.data.source import Rows, open_rows
from finetune_tui.core.errors import UserError
from tests.core.data.conftest import Write


def errors(data: Rows) -> dict[int, str]:
    return {bad.line: bad.error for bad in data.bad_rows}


def texts(data: Rows) -> list[tuple[int, str | None]]:
    return [(row.line, row.text) for row in data]


def refusal(path: Path) -> UserError:
    with pytest.raises(UserError) as caught:
        open_rows([path])
    return caught.value


def test_cells_hold_commas_quotes_and_lines(write: Write) -> None:
    content = 'id,prompt,completion\n1,"a, ""b""","c\nd\n"\n\n2,e,f\n'
    data = open_rows([write(content, "a.csv")])
    assert data.format is Format.PROMPT_COMPLETION
    assert data.columns == ("id", "prompt", "completion")
    assert [(row.line, row.prompt, row.completion) for row in data] == [
        (2, 'a, "b"', "c\nd\n"),
        (6, "e", "f"),
    ]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("bom", ["", "\ufeff"])
@pytest.mark.parametrize(
    ("name", "delimiter"), [("a.csv", ","), ("a.csv", ";"), ("a.csv", "\t"), ("a.tsv", "\t")]
)
def test_what_other_programs_write(
    write: Write, name: str, delimiter: str, bom: str, end: str
) -> None:
    lines = [["instruction", "input", "output"], ["Add.", "1 2", "3"], ["Say.", "", "ä"]]
    content = bom + end.join(delimiter.join(f'"{cell}"' for cell in line) for line in lines)
    data = open_rows([write(content, name)])
    assert [(row.line, row.prompt, row.completion) for row in data] == [
        (2, "Add.\n\n1 2", "3"),
        (3, "Say.", "ä"),
    ]


def test_chats_and_tools_as_json_in_cells(write: Write) -> None:
    turns = [{"role": "user", "content": 'a "b"'}, {"role": "assistant", "content": "c\nd"}]
    out = io.StringIO()
    csv.writer(out).writerows([["messages", "tools"], [json.dumps(turns), ""]])
    data = open_rows([write(out.getvalue(), "a.csv")])
    assert (data[0].messages, data[0].tools) == (tuple(turns), None)


@pytest.mark.parametrize("is_large", [False, True])
def test_bad_rows_by_line(write: Write, is_large: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    content = b'text,n\na,1\nb\n"c"d,2\n"e\nf",3\n\xff,4\ng\x00,5\nh,6,7\n"",8\ni\rj,9\nk,10\n'
    if is_large:
        monkeypatch.setattr(source, "SMALL", 0)
    data = open_rows([write(content, "a.csv")])
    assert errors(data) == {
        3: "has 1 cells, the header names 2",
        4: "text follows a closing quote; a quote inside a cell is written twice",
        7: "not UTF-8 text",
        8: "holds NUL bytes: the file was cut off, or is not text",
        9: "has 3 cells, the header names 2",
        10: "'text' is empty",
        11: "a carriage return outside quotes",
    }
    good = []
    for place in range(len(data)):
        try:
            good.append((data[place].line, data[place].text))
        except BadRowError as error:
            assert error.bad.line in errors(data)
    assert good == [(2, "a"), (5, "e\nf"), (12, "k")]


def test_a_quote_that_is_never_closed_is_said_at_its_line(write: Write) -> None:
    data = open_rows([write('text\na\n"b\nc\nd\n', "a.csv")])
    assert texts(data) == [(2, "a")]
    assert errors(data) == {3: "a quote is opened and never closed; what follows is not read"}


def test_a_cell_over_the_limit_ends_the_reading(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "RECORD_LIMIT", 1000)
    data = open_rows([write("text\na\n" + "b" * 2000 + "\nc\n", "a.csv")])
    assert texts(data) == [(2, "a")]
    assert list(errors(data)) == [3]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\n\n", "only blank lines"),
        (b"text\n", "no rows"),
        (b"prompt,prompt,completion\na,b,c\n", "two columns are called 'prompt'"),
        (b"question,answer\na,b\n", "has 'question', 'answer'; expected 'text'"),
        (b"t\xffxt\na\n", "not UTF-8 text"),
        (b"te\x00xt\na\n", "NUL"),
        (b'"text\na\n', "never closed"),
        ("text\na\n".encode("utf-16"), "UTF-16"),
        (b"\x89PNG\r\n\x1a\n\x00\x00", ""),
    ],
)
def test_files_that_are_no_tables(write: Write, content: bytes, words: str) -> None:
    refused = refusal(write(content, "a.csv"))
    assert words in refused.message
    assert "a.csv" in str(refused)


CELL = st.text(st.sampled_from('ab ,;\t"\n\r\u2028ä😀'), max_size=8)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
@given(
    rows=st.lists(st.tuples(CELL, CELL), min_size=1, max_size=8),
    delimiter=st.sampled_from([",", ";", "\t"]),
    quoting=st.sampled_from([csv.QUOTE_ALL, csv.QUOTE_MINIMAL]),
    end=st.sampled_from(["\n", "\r\n"]),
)
def test_what_csv_writes_is_read_back_with_its_lines(
    write: Write, rows: list[tuple[str, str]], delimiter: str, quoting: int, end: str
) -> None:
    # csv before Python 3.13 leaves a carriage return outside quotes, which no reader takes.
    assume(quoting == csv.QUOTE_ALL or "\r" not in "".join(map("".join, rows)))
    out = io.StringIO(newline="")
    writer = csv.writer(out, delimiter=delimiter, quoting=quoting, lineterminator=end)  # type: ignore[arg-type]
    writer.writerow(["prompt", "completion"])
    lines = []
    for prompt, completion in rows:
        lines.append(out.getvalue().count("\n") + 1)
        writer.writerow([prompt, f"x{completion}"])
    data = open_rows([write(out.getvalue(), "a.csv")])
    assert [(row.line, row.prompt, row.completion) for row in data] == [
        (line, prompt, f"x{completion}")
        for line, (prompt, completion) in zip(lines, rows, strict=True)
    ]
    assert not data.bad_rows


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
@given(content=st.text(st.sampled_from('ab,"\n\r \x00é'), max_size=40).map(str.encode))
def test_small_and_large_files_are_read_alike(write: Write, content: bytes) -> None:
    path = write(b"text,n\nfirst,1\n" + content, "a.csv")
    small = open_rows([path])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(source, "SMALL", 0)
        large = open_rows([path])
        good = []
        for place in range(len(large)):
            try:
                good.append((large[place].line, large[place].text))
            except BadRowError:
                continue
    assert good == texts(small)
    assert errors(large) == errors(small)
