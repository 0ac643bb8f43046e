"""Parquet, made by pyarrow here and read through a process of its own."""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from finetune_tui.core.data.rows import Format
from finetune_tui.core.data.source import open_rows
from finetune_tui.core.errors import UserError, WorkFailed
from tests.small_disk import mounted

Save = Callable[..., Path]


@pytest.fixture
def save(tmp_path: Path) -> Save:
    def saver(columns: dict[str, Any], name: str = "train.parquet", **options: Any) -> Path:
        path = tmp_path / name
        pq.write_table(pa.table(columns), path, **options)
        return path

    return saver


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def test_rows_are_lines_and_columns_of_bytes_are_left_out(save: Save, cache: Path) -> None:
    path = save(
        {
            "prompt": [f"question {n}" for n in range(1000)],
            "completion": [f"änswer\n{n}" for n in range(1000)],
            "image": [b"\xff" * 1000] * 1000,
            "score": pa.array([None] * 1000, pa.float32()),
        },
        row_group_size=300,
    )
    told: list[tuple[int, int]] = []
    data = open_rows([path], cache=cache, progress=lambda *now: told.append(now))
    assert len(data) == 1000
    assert data.files == (path,)
    assert data.columns == ("prompt", "completion")
    assert (data[700].path, data[700].line, data[700].completion) == (path, 701, "änswer\n700")
    assert (path.stat().st_size, path.stat().st_size) in told


def test_chats_in_nested_columns(save: Save, cache: Path) -> None:
    call = {"function": {"name": "clock", "arguments": {"zone": "UTC"}}}
    chats: list[list[dict[str, Any]]] = [
        [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}],
        [
            {"role": "user", "content": "time?"},
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "content": "noon"},
        ],
    ]
    tools: list[Any] = [None, [{"name": "clock", "parameters": {"zone": {"type": "string"}}}]]
    data = open_rows([save({"messages": chats, "tools": tools})], cache=cache)
    assert data.format is Format.MESSAGES
    assert [row.messages for row in data] == [tuple(chat) for chat in chats]
    assert [row.tools for row in data] == [None, tuple(tools[1])]


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"text": pa.array([], pa.string())}, "holds no rows"),
        ({"text": [b"a"]}, "no column that is text"),
        ({"text": [3]}, "'text' is a number"),
        ({"text": pa.array([[["a"]]])}, "'text' is a list"),
        ({"messages": [{"role": "user"}]}, "'messages' is an object, not a list"),
        ({"messages": [[["a"]]]}, "message 1 is a list"),
        ({"text": pa.array([None], pa.string()), "when": pa.array([0], pa.date32())}, "has 'when'"),
        ({"text": pa.array([b"\xff"]).cast(pa.binary()).view(pa.string())}, "utf-8"),
    ],
)
def test_columns_that_are_no_rows(
    save: Save, cache: Path, columns: dict[str, Any], words: str
) -> None:
    with pytest.raises(UserError, match=r"train\.parquet") as refused:
        open_rows([save(columns)], cache=cache)
    assert words in str(refused.value)
    assert "\n" not in str(refused.value)


def test_it_is_converted_once_and_again_when_it_changes(save: Save, cache: Path) -> None:
    path = save({"text": ["a", "b"]})
    open_rows([path], cache=cache)
    (kept,) = (cache / "parquet").iterdir()
    kept.write_text('{"text": "from the cache"}\n')
    assert open_rows([path], cache=cache)[0].text == "from the cache"
    save({"text": ["c", "d", "e"]})
    assert open_rows([path], cache=cache)[2].text == "e"
    (other,) = (cache / "parquet").iterdir()
    assert other != kept
    assert len(open_rows([save({"text": ["f"]}, "other.parquet"), path], cache=cache)) == 4


def test_ending_it_leaves_nothing_behind(save: Save, cache: Path) -> None:
    def stop(_done: int, _total: int) -> None:
        raise KeyboardInterrupt

    path = save({"text": ["a" * 100] * 2000})
    with pytest.raises(KeyboardInterrupt):
        open_rows([path], cache=cache, progress=stop)
    assert not list((cache / "parquet").iterdir())
    assert len(open_rows([path], cache=cache)) == 2000


@pytest.mark.parametrize("damage", ["cut", "zeroed", "flipped", "footer"])
def test_a_damaged_file_is_said_in_one_line(save: Save, cache: Path, damage: str) -> None:
    rng = random.Random(1)
    path = save({"text": [rng.randbytes(50).hex() for _ in range(1000)]})
    content = bytearray(path.read_bytes())
    if damage == "cut":
        del content[len(content) // 2 :]
    elif damage == "zeroed":
        content[100:20_000] = bytes(19_900)
    elif damage == "flipped":
        content[-60] ^= 0xFF
    else:
        content[-8:-4] = b"\xff\xff\xff\x7f"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"train\.parquet: not readable as Parquet") as refused:
        open_rows([path], cache=cache)
    assert "\n" not in str(refused.value)
    assert not list((cache / "parquet").iterdir())


def test_a_full_disk_is_said(save: Save, tmp_path: Path) -> None:
    rng = random.Random(1)
    path = save({"text": [rng.randbytes(500).hex() for _ in range(3000)]})
    with mounted(tmp_path / "disk", mebibytes=1) as disk:
        with pytest.raises(WorkFailed, match=r"the disk is full; make room"):
            open_rows([path], cache=disk)
        assert not list((disk / "parquet").iterdir())


def test_a_row_is_as_it_was(save: Save, cache: Path) -> None:
    text = 'a "quote", \\ \u2028 😀 \x07'
    path = save({"text": [text], "meta": [json.dumps({"a": [1]})]})
    assert open_rows([path], cache=cache)[0].text == text
