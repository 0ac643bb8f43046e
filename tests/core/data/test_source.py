"""Training files as people have them: most lines are fine, some are anything at all."""

import json
import random
import threading
import tracemalloc
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from finetune_tui.core.data import index, source
from finetune_tui.core.data.json_lines import JsonLines
from finetune_tui.core.data.rows import BadRowError, Format
from finetune_tui.core.data.source import (
    MAX_COLUMNS,
    Rows,
    held_out_size,
    open_rows,
    split,
)
from finetune_tui.core.errors import UserError, WorkFailed
from tests.core.data.conftest import Write

GOOD = '{"prompt": "2+2?", "completion": "4"}'
CHAT = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]


@pytest.fixture
def all_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every file is read the way a large one is."""
    monkeypatch.setattr(source, "SMALL", 0)


def errors(data: Rows) -> dict[int, str]:
    return {bad.line: bad.error for bad in data.bad_rows}


def refusal(path: Path, strict: bool = False) -> UserError:
    with pytest.raises(UserError) as caught:
        open_rows([path], strict=strict)
    return caught.value


def test_text(write: Write) -> None:
    data = open_rows([write('{"text": "once"}\n{"text": "twice"}')])
    assert data.format is Format.TEXT
    assert [(row.line, row.text) for row in data] == [(1, "once"), (2, "twice")]
    assert not data.bad_rows


def test_prompt_and_completion(write: Write) -> None:
    data = open_rows([write(GOOD)])
    assert data.format is Format.PROMPT_COMPLETION
    assert (data[0].prompt, data[0].completion) == ("2+2?", "4")


def test_messages_keep_every_field_and_tools(write: Write) -> None:
    tools = [{"type": "function", "function": {"name": "clock"}}]
    messages = [
        {"role": "system", "content": ""},
        {"role": "user", "content": "time?"},
        {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "clock"}}]},
        {"role": "tool", "content": "noon", "tool_call_id": "1"},
        {"role": "assistant", "content": "noon", "reasoning_content": "the tool says so"},
    ]
    data = open_rows([write(json.dumps({"messages": messages, "tools": tools}))])
    assert data.format is Format.MESSAGES
    assert data[0].messages == tuple(messages)
    assert data[0].tools == tuple(tools)
    assert data.columns == ("messages", "tools")


def test_a_null_field_is_as_good_as_absent(write: Write) -> None:
    data = open_rows([write('{"text": "a", "messages": null, "prompt": null}')])
    assert data.format is Format.TEXT


def test_the_most_telling_format_wins_and_stays(write: Write) -> None:
    both = json.dumps({"prompt": "hi", "messages": CHAT})
    assert open_rows([write(both)]).format is Format.MESSAGES
    later = open_rows([write('{"text": "a"}\n{"text": "b", "prompt": "p", "completion": "c"}')])
    assert [row.text for row in later] == ["a", "b"]


def test_mixed_formats_name_the_format_of_the_first_row(write: Write) -> None:
    data = open_rows([write(f'{GOOD}\n{{"text": "a"}}\n{GOOD}\n')])
    assert len(data) == 2
    assert errors(data) == {2: "this row is text, the first row is prompt/completion"}


def test_several_files_share_one_format(write: Write) -> None:
    first, second = write(GOOD, "a.jsonl"), write(f"\n{GOOD}\n", "b.jsonl")
    data = open_rows([first, second])
    assert [(row.path, row.line) for row in data] == [(first, 1), (second, 2)]
    other = write('{"text": "a"}', "c.jsonl")
    with pytest.raises(UserError, match=r"c\.jsonl:1: no usable row: this row is text"):
        open_rows([first, other])


# Bad rows


def test_broken_json_on_line_7_says_line_7_and_the_others_are_used(write: Write) -> None:
    path = write("\n".join([GOOD] * 6 + ['{"prompt": "2+2?", "completion": '] + [GOOD] * 3))
    data = open_rows([path])
    assert len(data) == 9
    assert list(errors(data)) == [7]
    assert "broken JSON: a value is missing or cut off" in errors(data)[7]
    refused = refusal(path, strict=True)
    assert refused.where == f"{path}:7"
    assert refused.hint
    assert "--strict" in refused.hint


@pytest.mark.parametrize("depth", [20_000, 1_000_000])
@pytest.mark.parametrize("bracket", ["[", '{"a":'])
def test_nested_brackets_are_one_bad_row(write: Write, depth: int, bracket: str) -> None:
    data = open_rows([write(f"{GOOD}\n{bracket * depth}\n{GOOD}")])
    assert len(data) == 2
    assert errors(data) == {2: "brackets are nested too deeply"}


def test_nesting_that_only_later_code_would_choke_on(write: Write) -> None:
    tools = json.dumps([{"a": 1}]).replace("1", "[" * 200 + "]" * 200)
    chat = json.dumps({"messages": CHAT})
    data = open_rows([write(f'{chat}\n{{"messages": {json.dumps(CHAT)}, "tools": {tools}}}')])
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
        ('{"conversations": []}', "'conversations' is empty"),
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
    data = open_rows([write('{"text": "a", "text": "\\ud83d\\ude00"}')])
    assert data[0].text == "😀"


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b'{"text": "\xff"}', "not UTF-8 text, from byte 11"),
        (b'{"text": "a\x00b"}', "NUL bytes"),
        (b"\x00\x00\x00", "NUL bytes"),
    ],
)
def test_bytes_that_are_not_text(write: Write, line: bytes, words: str) -> None:
    data = open_rows([write(b'{"text": "a"}\n' + line + b"\n")])
    assert len(data) == 1
    assert words in errors(data)[2]


def test_bom_crlf_and_blank_lines(write: Write) -> None:
    data = open_rows([write(b'\xef\xbb\xbf{"text": "a"}\r\n\r\n   \t\r\n{"text": "b"}\r\n')])
    assert [(row.line, row.text) for row in data] == [(1, "a"), (4, "b")]
    assert not data.bad_rows


def test_line_separators_inside_text_do_not_count_as_lines(write: Write) -> None:
    data = open_rows([write('{"text": "a\u2028b\x85c"}\n{"text": "d"}')])
    assert [row.line for row in data] == [1, 2]


def test_a_huge_line_is_passed_over_in_pieces(write: Write) -> None:
    path = write(b'{"text": "a"}\n' + b"x" * 50_000_000 + b'\n{"text": "b"}\n')
    tracemalloc.start()
    data = open_rows([path])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [row.line for row in data] == [1, 3]
    assert errors(data) == {2: "the line is longer than 16.0M"}
    assert peak < 3 * index.RECORD_LIMIT


def test_field_names_without_end_are_not_all_remembered(write: Write) -> None:
    rows = "\n".join(json.dumps({"text": "a", f"extra {n}": 1}) for n in range(200))
    assert len(open_rows([write(rows)]).columns) == MAX_COLUMNS


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


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (b"text", "data.txt"),
        (b"ARROW1", "data.arrow"),
        (b"\x1f\x8b\x08\x00cut off", "data.jsonl.gz"),
        (b"\x1f\x8b\x08\x00cut off", "data.csv"),
        (b"PK\x03\x04", "data.jsonl"),
        (b"PAR1....PAR1", "data.jsonl"),
        (b"text\na\n", "data.parquet"),
    ],
)
def test_other_kinds_of_file_say_what_to_do(write: Write, content: bytes, name: str) -> None:
    refused = refusal(write(content, name))
    assert refused.hint
    assert name in str(refused)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    assert "there is no such file" in refusal(tmp_path / "none.jsonl").message
    assert "cannot be read" in refusal(tmp_path / ("x" * 5000)).message
    assert "not the name of a file" in refusal(tmp_path / "a\0b").message
    with pytest.raises(UserError, match="no data file"):
        open_rows([])


def test_a_device_is_not_read() -> None:
    assert refusal(Path("/dev/zero")).message == "not a regular file"


def test_no_permission(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(GOOD)

    def denied(*args: Any, **options: Any) -> Any:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", denied)
    assert refusal(path).message == "cannot be read: Permission denied"


# Anything at all

PIECES = st.sampled_from(
    [GOOD, '{"text": "a"}', "", " ", "[", "]", ",", '{"', "\ufeff", "\x00", "nul", '{"text": 3}']
)
ANY_LINE = st.one_of(PIECES.map(str.encode), st.binary(max_size=40))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
@given(
    content=st.binary(max_size=400),
    name=st.sampled_from(["a.jsonl", "a.json", "a", "a.csv", "a.tsv"]),
)
@example(content=b"[,", name="a.json")
@example(content=b"[" + b'{"text":"a"}' + b"[", name="a.json")
@example(content=b'text\n"', name="a.csv")
@example(content=b'text\n"a"b\nc\n', name="a.csv")
def test_arbitrary_bytes_raise_nothing_but_a_user_error(
    write: Write, content: bytes, name: str
) -> None:
    try:
        data = open_rows([write(content, name)])
    except UserError:
        return
    assert len(data)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
@given(parts=st.lists(ANY_LINE, max_size=12))
def test_every_line_is_a_row_a_bad_row_or_blank(write: Write, parts: list[bytes]) -> None:
    content = b"\n".join([GOOD.encode(), *parts])
    data = open_rows([write(content)])
    seen = [row.line for row in data] + [bad.line for bad in data.bad_rows]
    every = content.split(b"\n")
    blank = [n for n, line in enumerate(every, 1) if not line.removeprefix(b"\xef\xbb\xbf").strip()]
    assert sorted(seen + blank) == list(range(1, len(every) + 1))
    good = [n for n, line in enumerate(every, 1) if line.strip() == GOOD.encode()]
    assert set(good) <= {row.line for row in data}


# Large files


def test_a_large_file_is_read_when_asked_for(all_is_large: None, write: Write) -> None:
    lines = [json.dumps({"text": f"row {number}"}) for number in range(5000)]
    lines[2000], lines[4000] = "", "{broken"
    data = open_rows([write("\n".join(lines))])
    assert len(data) == 4999
    assert not data.is_checked
    assert data[1999].text == "row 1999"
    assert (data[2000].line, data[2000].text) == (2002, "row 2001")
    assert data[-1].line == 5000
    assert data.where(2000).endswith("train.jsonl:2002")
    with pytest.raises(BadRowError, match="broken JSON") as caught:
        data[3999]
    assert caught.value.bad.line == 4001
    with pytest.raises(IndexError):
        data[4999]


def test_strict_finds_the_one_bad_row_of_a_large_file(all_is_large: None, write: Write) -> None:
    path = write("\n".join([GOOD] * 4000 + ["{}"] + [GOOD] * 4000))
    assert refusal(path, strict=True).where == f"{path}:4001"
    assert open_rows([write("\n".join([GOOD] * 4000), "good.jsonl")], strict=True).is_checked


def test_the_index_takes_8_bytes_a_row(all_is_large: None, write: Write) -> None:
    path = write((GOOD + "\n") * 50_000)
    tracemalloc.start()
    data = open_rows([path])
    train, held_out = split(data, 0.5, 3)
    kept = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert len(train) + len(held_out) == 50_000
    assert kept < 50_000 * 10 + 2**19


def test_reading_is_told_in_bytes_and_can_be_ended(write: Write) -> None:
    path = write(('{"text": "' + "a" * 1000 + '"}\n') * 20_000)
    told: list[tuple[int, int]] = []
    open_rows([path, path], progress=lambda done, total: told.append((done, total)))
    size = path.stat().st_size
    indexed = [done for done, total in told if total == 2 * size]
    assert indexed == sorted(indexed)
    assert indexed[-1] > size
    checked = [done for done, total in told if total == size]
    assert checked == [*sorted(set(checked)), *sorted(set(checked))]  # the same file twice
    assert len(indexed) + len(checked) == len(told)

    def stop(_done: int, _total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        open_rows([path], progress=stop)


def test_a_file_that_changes_while_it_is_open_is_said(write: Write) -> None:
    path = write('{"text": "a"}\n{"text": "b"}\n')
    data = open_rows([path])
    path.write_text('{"text": "another"}\n{"text": "b"}\n')
    with pytest.raises(WorkFailed, match=r"train\.jsonl: the file was changed while it was in use"):
        data[1]


def test_rows_are_read_from_several_threads(write: Write) -> None:
    lines = [json.dumps({"text": f"row {number} " + "x" * (number % 97)}) for number in range(500)]
    data = open_rows([write("\n".join(lines))])
    wrong: list[int] = []

    def read(seed: int) -> None:
        for place in random.Random(seed).choices(range(500), k=2000):
            if (data[place].text or "").split()[1] != str(place):
                wrong.append(place)

    threads = [threading.Thread(target=read, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_rows_behave_as_a_sequence(write: Write) -> None:
    data = open_rows([write("\n".join(json.dumps({"text": str(n)}) for n in range(10)))])
    assert [row.text for row in data[2:8:3]] == ["2", "5"]
    assert [row.text for row in data[2:8][1:3]] == ["3", "4"]
    assert [row.text for row in data.pick([7, 0])] == ["7", "0"]
    assert [row.text for row in data[::-1][:2]] == ["9", "8"]
    assert next(data[::-1].contents()) == b'{"text": "9"}'
    assert data.sample(99) == list(range(10))
    drawn = data.sample(4)
    assert drawn == sorted(set(drawn))
    assert len(drawn) == 4
    assert drawn == data.sample(4)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=100)
@given(parts=st.lists(ANY_LINE, max_size=12))
def test_the_index_is_what_naive_splitting_gives(write: Write, parts: list[bytes]) -> None:
    content = b"\n".join([GOOD.encode(), *parts])
    path = write(content)
    found = index.IndexedFile(path, path, JsonLines(), lambda _done: None).index
    expected = []
    offset = 0
    for number, line in enumerate(content.split(b"\n"), 1):
        if line.removeprefix(b"\xef\xbb\xbf").strip():
            expected.append((offset, number))
        offset += len(line) + 1
    assert [(found.offsets[n], found.line(n)) for n in range(len(found))] == expected
    assert found.end == len(content)


# Splitting

SIZES = ["small", "large"]


def texts_of(data: Rows) -> Counter[str | None]:
    return Counter(row.text for row in data)


@pytest.mark.parametrize("size", SIZES)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=100)
@given(
    texts=st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=40),
    share=st.floats(0, 0.99),
    seed=st.integers(),
    shuffled=st.randoms(use_true_random=False),
)
def test_a_split_loses_nothing_leaks_nothing_and_knows_no_order(
    size: str,
    texts: list[str],
    share: float,
    seed: int,
    shuffled: random.Random,
    write: Write,
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        if size == "large":
            patch.setattr(source, "SMALL", 0)
        data = open_rows([write("\n".join(json.dumps({"text": text}) for text in texts))])
        train, held_out = split(data, share, seed)
        kept, apart = texts_of(train), texts_of(held_out)
        assert kept + apart == texts_of(data)
        assert [row.line for row in train] == sorted(row.line for row in train)
        assert len(held_out) <= max(held_out_size(len(texts), share, False), 1) or size == "small"
        if len(set(texts)) > 1:
            assert train
            assert not set(kept) & set(apart)
            assert apart or not share or size == "large"
        shuffled.shuffle(texts)
        again = open_rows([write("\n".join(json.dumps({"text": text}) for text in texts))])
        if len(set(texts)) > 1:
            assert texts_of(split(again, share, seed)[1]) == apart


@pytest.mark.parametrize("size", SIZES)
def test_a_split_is_as_large_as_asked_and_drawn_by_the_seed(
    size: str, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    if size == "large":
        monkeypatch.setattr(source, "SMALL", 0)
    data = open_rows([write("\n".join(json.dumps({"text": f"row {n}"}) for n in range(200)))])
    train, held_out = split(data, 0.05, 7)
    assert (len(train), len(held_out)) == (190, 10)
    lines = [row.line for row in held_out]
    assert lines == sorted(lines)
    assert lines != [row.line for row in split(data, 0.05, 8)[1]]
    # Another process, another hash seed, another year: the same rows.
    assert lines[:3] == {"small": [8, 44, 98], "large": [6, 11, 26]}[size]


def test_a_large_file_holds_out_no_more_than_an_evaluation_needs(
    all_is_large: None, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source, "MOST_HELD_OUT", 20)
    data = open_rows([write("\n".join(json.dumps({"text": f"row {n}"}) for n in range(900)))])
    train, held_out = split(data, 0.5, 1)
    assert (len(train), len(held_out)) == (880, 20)
    assert "20 rows are held out" in held_out.notes[0]
    assert not train.notes


def test_no_split_when_none_is_asked_for_or_possible(write: Write) -> None:
    two, one = write('{"text": "a"}\n{"text": "b"}', "two.jsonl"), write('{"text": "a"}')
    assert not split(open_rows([two]), 0, 1)[1]
    assert not split(open_rows([one]), 0.5, 1)[1]
    with pytest.raises(UserError, match="eval_split"):
        split(open_rows([two]), 1, 1)
