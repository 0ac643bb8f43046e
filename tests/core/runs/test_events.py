"""The event file, whole, torn, huge and hostile."""

import json
import math
import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune_tui.core.runs import events as module
from finetune_tui.core.runs.directory import RunDirectory
from finetune_tui.core.runs.events import (
    EventReader,
    EventWriter,
    append_event,
    last_ending,
    last_step,
    parse_event,
    read_events,
)


@pytest.fixture
def events_path(tmp_path: Path) -> Path:
    return tmp_path / "events.jsonl"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def test_an_event_is_one_line_with_time_and_kind(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    append_event(run, "step", step=3, loss=math.nan, grad_norm=math.inf, path=Path("a"))
    (line,) = run.events_path.read_text().splitlines()
    event = json.loads(line)
    assert abs(event.pop("t") - time.time()) < 60
    assert event == {"kind": "step", "step": 3, "loss": None, "grad_norm": None, "path": "a"}


def test_numbers_of_other_libraries_come_out_as_numbers(tmp_path: Path) -> None:
    class Tensor:
        def item(self) -> float:
            return 1.5

    append_event(RunDirectory(tmp_path), "step", loss=Tensor())
    assert next(read_events(tmp_path / "events.jsonl"))["loss"] == 1.5


@given(fields=st.dictionaries(st.text().filter(lambda s: s not in ("t", "kind")), JSON))
def test_any_field_can_be_written_and_read(
    tmp_path_factory: pytest.TempPathFactory, fields: dict[str, Any]
) -> None:
    path = tmp_path_factory.mktemp("events") / "events.jsonl"
    with EventWriter(path) as writer:
        writer.write("warning", **fields)
        writer.write("finished")
    assert [event["kind"] for event in read_events(path)] == ["warning", "finished"]
    assert path.read_bytes().count(b"\n") == 2


def test_a_torn_line_costs_only_itself(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    append_event(run, "step", step=1)
    with run.events_path.open("ab") as file:
        file.write(b'{"t":1,"kind":"st')
    append_event(run, "step", step=2)
    assert [event["step"] for event in read_events(run.events_path)] == [1, 2]


@given(
    st.lists(
        st.one_of(
            st.binary(max_size=60),
            st.integers(0, 9).map(lambda n: b'{"kind":"step","step":%d}' % n),
            st.just(b"[" * 20_000),
            st.just(b'{"kind":"step","step":' + b"9" * 5000 + b"}"),
        ),
        max_size=12,
    ),
    st.integers(1, 50),
)
def test_whatever_lines_hold_and_however_they_arrive_whole_events_are_read_once(
    tmp_path_factory: pytest.TempPathFactory, lines: list[bytes], piece: int
) -> None:
    path = tmp_path_factory.mktemp("events") / "events.jsonl"
    data = b"\n".join([*lines, b""])
    expected = [event for line in data.split(b"\n") if (event := parse_event(line))]
    reader = EventReader(path)
    found = []
    with path.open("ab", buffering=0) as file:
        for start in range(0, min(len(data), 5 * piece), piece):
            file.write(data[start : start + piece])
            found += reader.poll()
        file.write(data[min(len(data), -(-min(len(data), 5 * piece) // piece) * piece) :])
        while events := reader.poll():
            found += events
    assert found == expected


def test_polling_in_small_pieces_reads_everything_and_skips_what_is_too_long(
    events_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_LONGEST", 3000)
    with EventWriter(events_path) as writer:
        writer.write("step", step=1)
        writer.write("sample", reply="x" * 1000)
        writer.write("sample", reply="x" * 5000)
        writer.write("step", step=2)
    reader = EventReader(events_path)
    found = []
    while events := reader.poll(limit=200):
        found += events
    assert [event.get("step") for event in found] == [1, None, 2]
    assert reader.broken_lines == 1


def test_a_line_without_its_end_waits_for_it(events_path: Path) -> None:
    reader = EventReader(events_path)
    assert reader.poll() == []
    events_path.write_bytes(b'{"kind":"step",')
    assert reader.poll() == []
    with events_path.open("ab") as file:
        file.write(b'"step":1}\n')
    assert [event["step"] for event in reader.poll()] == [1]


def test_a_file_that_shrank_or_was_replaced_is_read_again(events_path: Path) -> None:
    reader = EventReader(events_path)
    events_path.write_text('{"kind":"a"}\n{"kind":"b"}\n')
    assert len(reader.poll()) == 2
    os.truncate(events_path, 13)
    assert [event["kind"] for event in reader.poll()] == ["a"]
    other = events_path.with_suffix(".new")
    other.write_text('{"kind":"c"}\n{"kind":"d"}\n{"kind":"e"}\n')
    other.replace(events_path)
    assert [event["kind"] for event in reader.poll()] == ["c", "d", "e"]


def test_writers_in_threads_never_mix_their_lines(events_path: Path) -> None:
    with EventWriter(events_path) as writer:
        threads = [
            threading.Thread(
                target=lambda: [writer.write("step", text="é" * 99) for _ in range(50)]
            )
            for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(list(read_events(events_path))) == 200


def test_a_write_cut_short_by_a_full_disk_leaves_the_next_event_whole(
    events_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.write

    def full(file: int, data: bytes) -> int:
        if len(data) > 10:
            return real(file, data[:10])
        raise OSError(28, "No space left on device")

    with EventWriter(events_path) as writer:
        monkeypatch.setattr(os, "write", full)
        with pytest.raises(OSError, match="No space"):
            writer.write("step", step=1)
        monkeypatch.setattr(os, "write", real)
        writer.write("step", step=2)
    assert [event["step"] for event in read_events(events_path)] == [2]


def test_the_last_ending_is_found_from_an_offset(events_path: Path) -> None:
    events_path.write_text('{"kind":"stopped"}\n')
    offset = events_path.stat().st_size
    assert last_ending(events_path, offset) is None
    with EventWriter(events_path) as writer:
        writer.write("finished", steps=4)
        writer.write("hardware")
    found = last_ending(events_path, offset)
    assert found is not None
    assert found["kind"] == "finished"
    assert last_ending(events_path.with_name("none"), 0) is None


def test_a_long_history_is_read_in_bounded_pieces(events_path: Path) -> None:
    line = '{"t":1.0,"kind":"step","step":%d,"loss":1.5,"learning_rate":1e-4,"grad_norm":0.3}\n'
    with events_path.open("w") as file:
        file.writelines(line % step for step in range(100_000))
    reader = EventReader(events_path)
    sizes = []
    while events := reader.poll(limit=2**20):
        sizes.append(len(events))
    assert sum(sizes) == 100_000
    assert max(sizes) < 20_000


@pytest.mark.parametrize(
    ("events", "step"),
    [
        ([], None),
        (["eval"], None),
        (["step", "eval", "hardware"], 7),
        (["step", "resumed", "started"], 3),
        (["resumed", "step", "failed"], 7),
        (["step", "recovered"], 3),
    ],
)
def test_the_last_step_is_where_the_file_says_it_went_on(
    tmp_path: Path, events: list[str], step: int | None
) -> None:
    path = tmp_path / "events.jsonl"
    steps = {"step": 7, "eval": 5, "resumed": 3, "recovered": 3}
    lines = [{"kind": kind, "step": steps.get(kind), "text": "x" * 500} for kind in events]
    path.write_text("".join(json.dumps(event) + "\n" for event in lines) + '{"kind": "step", "st')
    assert last_step(path) == step
    assert last_step(tmp_path / "none") is None
