"""Training files as people have them: most lines are fine, some are anything at all."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from finetune_tui.core.data import lines
from finetune_tui.core.data.reading import MAX_COLUMNS, DataSet, read_rows, split_rows
from finetune_tui.core.data.rows import Format, Row
from finetune_tui.core.errors import UserError

GOOD = '{"prompt": "2+2?", "completion": "4"}'
CHAT = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def writer(content: bytes | str, name: str = "train.jsonl") -> Path:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return writer


def errors(data: DataSet) -> dict[int, str]:
    return {bad.line: bad.error for bad in data.bad_rows}


def refusal(path: Path, strict: bool = False) -> UserError:
    with pytest.raises(UserError) as caught:
        read_rows([path], strict=strict)
    return caught.value


# Formats


def test_text(write: Write) -> None:
    data = read_rows([write('{"text": "once"}\n{"text": "twice"}')])
    assert data.format is Format.TEXT
    assert [(row.line, row.text) for row in data.rows] == [(1, "once"), (2, "twice")]
    assert not data.bad_rows


def test_prompt_and_completion(write: Write) -> None:
    data = read_rows([write(GOOD)])
    assert data.format is Format.PROMPT_COMPLETION
    assert (data.rows[0].prompt, data.rows[0].completion) == ("2+2?", "4")


def test_messages_keep_every_field_and_tools(write: Write) -> None:
    tools = [{"type": "function", "function": {"name": "clock"}}]
    messages = [
        {"role": "system", "content": ""},
        {"role": "user", "content": "time?"},
        {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "clock"}}]},
        {"role": "tool", "content": "noon", "tool_call_id": "1"},
        {"role": "assistant", "content": "noon", "reasoning_content": "the tool says so"},
    ]
    data = read_rows([write(json.dumps({"messages": messages, "tools": tools}))])
    assert data.format is Format.MESSAGES
    assert data.rows[0].messages == tuple(messages)
    assert data.rows[0].tools == tuple(tools)
    assert data.columns == ("messages", "tools")


def test_a_null_field_is_as_good_as_absent(write: Write) -> None:
    data = read_rows([write('{"text": "a", "messages": null, "prompt": null}')])
    assert data.format is Format.TEXT


def test_the_most_telling_format_wins_and_stays(write: Write) -> None:
    both = json.dumps({"prompt": "hi", "messages": CHAT})
    assert read_rows([write(both)]).format is Format.MESSAGES
    later = read_rows([write('{"text": "a"}\n{"text": "b", "prompt": "p", "completion": "c"}')])
    assert [row.text for row in later.rows] == ["a", "b"]


def test_mixed_formats_name_the_format_of_the_first_row(write: Write) -> None:
    data = read_rows([write(f'{GOOD}\n{{"text": "a"}}\n{GOOD}\n')])
    assert len(data.rows) == 2
    assert errors(data) == {2: "this row is text, the first row is prompt/completion"}


def test_several_files_share_one_format(write: Write) -> None:
    first, second = write(GOOD, "a.jsonl"), write(f"\n{GOOD}\n", "b.jsonl")
    data = read_rows([first, second])
    assert [(row.path, row.line) for row in data.rows] == [(first, 1), (second, 2)]
    other = write('{"text": "a"}', "c.jsonl")
    with pytest.raises(UserError, match=r"c\.jsonl:1: no usable row: this row is text"):
        read_rows([first, other])


# Bad rows


def test_broken_json_on_line_7_says_line_7_and_the_others_are_used(write: Write) -> None:
    path = write("\n".join([GOOD] * 6 + ['{"prompt": "2+2?", "completion": '] + [GOOD] * 3))
    data = read_rows([path])
    assert len(data.rows) == 9
    assert list(errors(data)) == [7]
    assert "broken JSON: a value is missing or cut off" in errors(data)[7]
    refused = refusal(path, strict=True)
    assert refused.where == f"{path}:7"
    assert refused.hint
    assert "--strict" in refused.hint


@pytest.mark.parametrize("depth", [20_000, 1_000_000])
@pytest.mark.parametrize("bracket", ["[", '{"a":'])
def test_nested_brackets_are_one_bad_row(write: Write, depth: int, bracket: str) -> None:
    data = read_rows([write(f"{GOOD}\n{bracket * depth}\n{GOOD}")])
    assert len(data.rows) == 2
    assert errors(data) == {2: "brackets are nested too deeply"}


def test_nesting_that_only_later_code_would_choke_on(write: Write) -> None:
    tools = json.dumps([{"a": 1}]).replace("1", "[" * 200 + "]" * 200)
    chat = json.dumps({"messages": CHAT})
    data = read_rows([write(f'{chat}\n{{"messages": {json.dumps(CHAT)}, "tools": {tools}}}')])
    assert errors(data) == {2: "brackets are nested too deeply"}


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("[1, 2]", "a list, not an object"),
        ('"text"', "text, not an object"),
        ("null", "null, not an object"),
        ("true", "true or false, not an object"),
        ("3", "a number, not an object"),
        ("{}", "the object has no fields"),
        ('{"text": 3}', "'text' is a number, not text"),
        ('{"text": ""}', "'text' is empty"),
        ('{"text": " \\n"}', "'text' is empty"),
        ('{"prompt": "a"}', "has 'prompt' but no 'completion'"),
        ('{"prompt": "a", "completion": ""}', "'completion' is empty"),
        ('{"prompt": [], "completion": "a"}', "chats go into 'messages'"),
        ('{"promt": "a", "completion": "b"}', "no 'prompt'; is 'promt' the 'prompt'?"),
        ('{"prompt": "a", "answer": "b"}', "no 'completion'; is 'answer' the 'completion'?"),
        ('{"mesages": []}', "has 'mesages'; expected"),
        ('{"mesages": []}', "is 'mesages' the 'messages'?"),
        ('{"conversations": []}', "is 'conversations' the 'messages'?"),
        ('{"messages": {}}', "'messages' is an object, not a list"),
        ('{"messages": []}', "'messages' is empty"),
        ('{"messages": [1]}', "message 1 is a number, not an object"),
        ('{"messages": [{}]}', "message 1 has no 'role'"),
        ('{"messages": [{"from": "gpt", "value": "a"}]}', "'from' where 'role' is expected"),
        ('{"messages": [{"role": "gpt", "content": "a"}]}', "did you mean 'assistant'?"),
        ('{"messages": [{"role": "asistant", "content": "a"}]}', "did you mean 'assistant'?"),
        ('{"messages": [{"role": "xyz", "content": "a"}]}', "known are system"),
        ('{"messages": [{"role": [], "content": "a"}]}', "the role a list, not text"),
        ('{"messages": [{"role": "user", "content": "a"}]}', "nothing to learn"),
        ('{"messages": [{"role": "user"}]}', "message 1 has no 'content'"),
        ('{"messages": [{"role": "user", "content": ["a"]}]}', "'content' is a list, not text"),
        ('{"messages": [{"role": "assistant", "content": " "}]}', "answer is empty"),
        ('{"messages": [{"role": "assistant", "tool_calls": "a"}]}', "'tool_calls' is not"),
        ('{"text": "\\ud83d"}', "half a character"),
        ('{"text": "a", "n": ' + "9" * 5000 + "}", "too many digits"),
        ("{'text': 'a'}", 'a name in "double quotes" is missing'),
        ('{"text": "a"} {"text": "b"}', "more than one value at column 15"),
        ('{"text": "a}', "a quote is opened and never closed"),
        ('{"text": "a\tb"}', "a raw control character inside quotes"),
    ],
)
def test_why_a_row_is_bad(write: Write, line: str, words: str) -> None:
    assert words in refusal(write(line)).message


def test_tools_that_are_not_a_list_of_objects(write: Write) -> None:
    bad = json.dumps({"messages": CHAT, "tools": ["clock"]})
    assert "'tools' is not a list of objects" in refusal(write(bad)).message


def test_whole_emoji_escapes_and_duplicate_keys_are_fine(write: Write) -> None:
    data = read_rows([write('{"text": "a", "text": "\\ud83d\\ude00"}')])
    assert data.rows[0].text == "😀"


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b'{"text": "\xff"}', "not UTF-8 text, from byte 11"),
        (b'{"text": "a\x00b"}', "NUL bytes"),
        (b"\x00\x00\x00", "NUL bytes"),
    ],
)
def test_bytes_that_are_not_text(write: Write, line: bytes, words: str) -> None:
    data = read_rows([write(b'{"text": "a"}\n' + line + b"\n")])
    assert len(data.rows) == 1
    assert words in errors(data)[2]


def test_bom_crlf_and_blank_lines(write: Write) -> None:
    data = read_rows([write(b'\xef\xbb\xbf{"text": "a"}\r\n\r\n   \t\r\n{"text": "b"}\r\n')])
    assert [(row.line, row.text) for row in data.rows] == [(1, "a"), (4, "b")]
    assert not data.bad_rows


def test_line_separators_inside_text_do_not_count_as_lines(write: Write) -> None:
    data = read_rows([write('{"text": "a\u2028b\x85c"}\n{"text": "d"}')])
    assert [row.line for row in data.rows] == [1, 2]


def test_a_huge_line_is_passed_over_in_pieces(write: Write) -> None:
    import tracemalloc

    path = write(b'{"text": "a"}\n' + b"x" * 50_000_000 + b'\n{"text": "b"}\n')
    tracemalloc.start()
    data = read_rows([path])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [row.line for row in data.rows] == [1, 3]
    assert errors(data) == {2: "the line is longer than 16.0M"}
    assert peak < 3 * lines.LINE_LIMIT


def test_field_names_without_end_are_not_all_remembered(write: Write) -> None:
    rows = "\n".join(json.dumps({"text": "a", f"extra {n}": 1}) for n in range(200))
    assert len(read_rows([write(rows)]).columns) == MAX_COLUMNS


# Files


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "the file is empty"),
        (b"\n \n\r\n", "only blank lines"),
        (b"\xef\xbb\xbf", "only blank lines"),
        ('{"text": "a"}'.encode("utf-16"), "UTF-16"),
        (b"{}\n{}\n", "no usable row: the object has no fields"),
    ],
)
def test_a_file_with_nothing_in_it(write: Write, content: bytes, words: str) -> None:
    refused = refusal(write(content))
    assert words in refused.message
    assert "train.jsonl" in str(refused)


def test_only_bad_rows_names_the_first_line(write: Write) -> None:
    path = write("\n\n{]\n{]\n")
    refused = refusal(path)
    assert refused.where == f"{path}:3"
    assert "(and 1 more)" in refused.message


@pytest.mark.parametrize("name", ["data.csv", "data.parquet", "data.txt", "data.jsonl.gz"])
def test_other_kinds_of_file_say_what_to_do(write: Write, name: str) -> None:
    assert refusal(write("text\na\n", name)).hint


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    assert "there is no such file" in refusal(tmp_path / "none.jsonl").message
    assert "cannot be read" in refusal(tmp_path / ("x" * 5000)).message
    assert "not the name of a file" in refusal(tmp_path / "a\0b").message
    with pytest.raises(UserError, match="no data file"):
        read_rows([])


def test_a_folder_names_a_file_in_it(write: Write, tmp_path: Path) -> None:
    path = write(GOOD)
    refused = refusal(tmp_path)
    assert refused.message == "a folder, not a file"
    assert refused.hint == f"did you mean {path}?"


def test_a_device_is_not_read() -> None:
    assert refusal(Path("/dev/zero")).message == "not a regular file"


def test_no_permission(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(GOOD)

    def denied(*args: Any, **options: Any) -> Any:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", denied)
    assert refusal(path).message == "cannot be read: Permission denied"


# A .json file


def test_an_array_counts_the_line_where_each_object_begins(write: Write) -> None:
    text = '[\n  {"text":\n   "a"},\n  7,\n  {"text": "b"}\n]\n'
    data = read_rows([write(text, "train.json")])
    assert [(row.line, row.text) for row in data.rows] == [(2, "a"), (5, "b")]
    assert list(errors(data)) == [4]


def test_a_json_file_may_hold_lines_too(write: Write) -> None:
    assert len(read_rows([write(f"{GOOD}\n{GOOD}\n", "train.json")]).rows) == 2


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
    data = read_rows([write('[\n{"text": "a"}' + end, "train.json")])
    assert [row.text for row in data.rows] == ["a"]
    assert list(errors(data)) == [line]
    assert words in errors(data)[line]


def test_an_array_that_is_cut_off_is_a_bad_row(write: Write) -> None:
    data = read_rows([write('[\n{"text": "a"}\n', "train.json")])
    assert len(data.rows) == 1
    assert "the list is never closed" in errors(data)[3]


def test_arrays_that_cannot_be_read(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(b'[\n{"text": "\xff"}]', "train.json")
    assert refusal(path).where == f"{path}:2"
    assert "empty list" in refusal(write("[ ]", "none.json")).message
    monkeypatch.setattr(lines, "ARRAY_LIMIT", 4)
    assert "a list of more than 4B" in refusal(path).message


# Anything at all

PIECES = st.sampled_from(
    [GOOD, '{"text": "a"}', "", " ", "[", "]", ",", '{"', "\ufeff", "\x00", "nul", '{"text": 3}']
)
ANY_LINE = st.one_of(PIECES.map(str.encode), st.binary(max_size=40))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
@given(content=st.binary(max_size=400), name=st.sampled_from(["a.jsonl", "a.json", "a"]))
@example(content=b"[,", name="a.json")
@example(content=b"[" + b'{"text":"a"}' + b"[", name="a.json")
def test_arbitrary_bytes_raise_nothing_but_a_user_error(
    write: Write, content: bytes, name: str
) -> None:
    try:
        data = read_rows([write(content, name)])
    except UserError:
        return
    assert data.rows


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
@given(parts=st.lists(ANY_LINE, max_size=12))
def test_every_line_is_a_row_a_bad_row_or_blank(write: Write, parts: list[bytes]) -> None:
    content = b"\n".join([GOOD.encode(), *parts])
    data = read_rows([write(content)])
    seen = [row.line for row in data.rows] + [bad.line for bad in data.bad_rows]
    every = content.split(b"\n")
    blank = [n for n, line in enumerate(every, 1) if not line.removeprefix(b"\xef\xbb\xbf").strip()]
    assert sorted(seen + blank) == list(range(1, len(every) + 1))
    good = [n for n, line in enumerate(every, 1) if line.strip() == GOOD.encode()]
    assert set(good) <= {row.line for row in data.rows}


# Splitting


def rows_of(*texts: str) -> list[Row]:
    return [Row(Path("a"), n, Format.TEXT, text=text) for n, text in enumerate(texts, 1)]


@given(
    texts=st.lists(st.sampled_from("abcdefgh"), max_size=40),
    share=st.floats(0, 0.99),
    seed=st.integers(),
)
def test_a_split_loses_nothing_and_leaks_nothing(texts: list[str], share: float, seed: int) -> None:
    rows = rows_of(*texts)
    train, held_out = split_rows(rows, share, seed)
    assert sorted(row.line for row in (*train, *held_out)) == [row.line for row in rows]
    assert (train, held_out) == split_rows(rows, share, seed)
    if share and len(rows) >= 2:
        assert held_out
        assert train
    if len(set(texts)) > 1:
        assert not {row.text for row in train} & {row.text for row in held_out}


def test_a_split_is_as_large_as_asked_and_drawn_by_the_seed() -> None:
    rows = rows_of(*(f"row {n}" for n in range(200)))
    train, held_out = split_rows(rows, 0.05, 7)
    assert (len(train), len(held_out)) == (190, 10)
    assert list(held_out) == sorted(held_out, key=lambda row: row.line)
    assert held_out != split_rows(rows, 0.05, 8)[1]
    # Another process, another hash seed, another year: the same rows.
    assert [row.line for row in held_out][:3] == [8, 44, 98]
    backwards = split_rows(rows[::-1], 0.05, 7)[1]
    assert {row.line for row in backwards} == {row.line for row in held_out}


def test_no_split_when_none_is_asked_for_or_possible() -> None:
    assert split_rows(rows_of("a", "b"), 0, 1)[1] == ()
    assert split_rows(rows_of("a"), 0.5, 1)[1] == ()
    with pytest.raises(UserError, match="eval_split"):
        split_rows(rows_of("a", "b"), 1, 1)
