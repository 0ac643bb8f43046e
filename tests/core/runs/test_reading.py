"""Opening a run of any length: a skim first, every event beside it."""

import json
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune_tui.core.runs import reading
from finetune_tui.core.runs.curves import SERIES, Curves
from finetune_tui.core.runs.events import Event, read_events
from finetune_tui.core.runs.reading import Opening, read_curves, skim

SPACING: list[tuple[str, str]] = [(",", ":"), (", ", ": ")]  # ours, and other writers'


def a_long_run(steps: int = 4000) -> list[Event]:
    events: list[Event] = [{"t": 0.0, "kind": "started", "attempt": 1, "total_steps": steps}]
    for number in range(1, steps + 1):
        t = number * 0.5
        loss = 50.0 if number == steps // 3 else 1 / number
        more = {"learning_rate": 1e-4, "grad_norm": 0.5, "tokens_per_second": 900.0}
        events.append({"t": t, "kind": "step", "step": number, "loss": loss, **more})
        if number % 20 == 0:
            events.append({"t": t, "kind": "hardware", "gpus": []})
        if number % 100 == 0:
            events.append({"t": t, "kind": "eval", "step": number, "eval_loss": 1 + 1 / number})
        if number == steps // 2:
            events.append({"t": t, "kind": "warning", "message": 'it said "kind":"step" twice'})
    return [*events, {"t": steps * 0.5, "kind": "finished", "steps": steps}]


def write(path: Path, events: list[Event], spacing: tuple[str, str] = SPACING[0]) -> None:
    with path.open("a") as file:
        file.writelines(json.dumps(event, separators=spacing) + "\n" for event in events)


@pytest.fixture
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """A long file of some hundred kilobytes is as one of some hundred megabytes."""
    monkeypatch.setattr(reading, "_SHORT", 2**13)
    monkeypatch.setattr(reading, "_CHUNK", 2**14)
    monkeypatch.setattr(reading, "_TAIL", 2**12)
    monkeypatch.setattr(reading, "_STEPS", 300)


def all_but_steps(events: list[Event]) -> list[Event]:
    return [event for event in events if event["kind"] not in ("step", "hardware")]


@pytest.mark.parametrize("spacing", SPACING)
@pytest.mark.usefixtures("small_pieces")
def test_a_skim_holds_all_but_steps_and_spreads_over_the_run(
    tmp_path: Path, spacing: tuple[str, str]
) -> None:
    path, events = tmp_path / "events.jsonl", a_long_run()
    write(path, events, spacing)
    found = skim(path)
    assert (found.is_whole, found.has_all_but_steps) == (False, True)
    assert all_but_steps(found.events) == all_but_steps(events)
    assert found.offset == path.stat().st_size
    steps = [event["step"] for event in found.events if event["kind"] == "step"]
    assert steps == sorted(set(steps))
    assert steps[-10:] == list(range(3991, 4001))
    assert 250 < len(steps) < 500
    assert max(after - before for before, after in pairwise(steps)) < 60


def test_a_short_file_is_read_as_a_whole(tmp_path: Path) -> None:
    path, events = tmp_path / "events.jsonl", a_long_run(300)
    write(path, events)
    found = skim(path)
    assert found.events == events
    assert (found.is_whole, found.offset) == (True, path.stat().st_size)
    assert skim(tmp_path / "none").events == []


@pytest.mark.usefixtures("small_pieces")
def test_curves_of_a_long_run_are_there_at_once_and_exact_beside(tmp_path: Path) -> None:
    path, events = tmp_path / "events.jsonl", a_long_run()
    write(path, events)
    opening = Opening(path, Curves)
    shown = opening.look().whole
    assert shown is not None
    assert not opening.is_exact
    assert (shown.last_step, shown.best) == (4000, (4000, 1.00025))
    exact = until_exact(opening, shown)
    once = Curves()
    once.feed(events)
    assert described(exact) == described(once)
    assert max(exact.series("loss").points().highs) == 50.0
    assert described(read_curves(path))["best"] == described(once)["best"]


@pytest.mark.usefixtures("small_pieces")
def test_what_comes_meanwhile_is_told_once(tmp_path: Path) -> None:
    path, events = tmp_path / "events.jsonl", a_long_run()
    write(path, events[:3000])
    opening = Opening(path, Curves)
    shown = opening.look().whole
    assert shown is not None
    for start in range(3000, len(events), 400):
        write(path, events[start : start + 400])
        look = opening.look(0)
        assert look.more
        shown.feed(look.events)
        assert shown.last_step == max(e.get("step", 0) for e in events[: start + 400])
    exact = until_exact(opening, shown)
    once = Curves()
    once.feed(events)
    assert described(exact) == described(once)
    write(path, [{"t": 9e9, "kind": "failed", "message": "late"}])
    assert [event["kind"] for event in opening.look().events] == ["failed"]
    assert opening.look().events == []


@pytest.mark.usefixtures("small_pieces")
def test_a_file_that_is_replaced_while_it_is_read_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    write(path, a_long_run())
    opening = Opening(path, Curves)
    shown = opening.look().whole
    assert shown is not None
    other = tmp_path / "other"
    write(other, a_long_run(700))
    other.replace(path)
    exact = until_exact(opening, shown)
    once = Curves()
    once.feed(a_long_run(700))
    assert described(exact) == described(once)


@pytest.mark.usefixtures("small_pieces")
def test_many_events_that_are_no_steps_are_left_out_of_a_skim_and_not_of_the_curves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "_OTHERS", 100)
    path = tmp_path / "events.jsonl"
    write(path, [{"kind": "eval", "step": n, "eval_loss": abs(n - 777)} for n in range(3000)])
    found = skim(path)
    assert not found.has_all_but_steps
    assert len(found.events) < 1000
    assert read_curves(path).best == (777, 0)


LINE = st.one_of(
    st.binary(max_size=60),
    st.integers(0, 99).map(lambda n: b'{"kind":"step","step":%d}' % n),
    st.integers(0, 99).map(lambda n: b'{"t":1.5,"kind": "eval","step":%d,"eval_loss":%d}' % (n, n)),
    st.integers(1, 400).map(lambda n: b'{"kind":"sample","reply":"' + b"x" * n + b'"}'),
)


@given(st.lists(LINE, max_size=80), st.integers(1, 300), st.integers(0, 200))
def test_whatever_a_file_holds_a_skim_is_a_part_of_it_and_the_rest_follows(
    tmp_path_factory: pytest.TempPathFactory, lines: list[bytes], chunk: int, tail: int
) -> None:
    path = tmp_path_factory.mktemp("events") / "events.jsonl"
    path.write_bytes(b"\n".join(lines))
    with pytest.MonkeyPatch.context() as patched:
        for name, value in (("_SHORT", 0), ("_CHUNK", chunk), ("_TAIL", tail), ("_STEPS", 5)):
            patched.setattr(reading, name, value)
        opening = Opening(path, _Kept)
        shown = opening.look().whole
        assert shown is not None
        remaining = iter([json.dumps(event) for event in read_events(path)])
        assert all(json.dumps(event) in remaining for event in shown.events)
        exact = until_exact(opening, shown)
    assert exact.events == list(read_events(path))


class _Kept:
    def __init__(self) -> None:
        self.events: list[Event] = []

    def feed(self, events: Any) -> None:
        self.events += events


def until_exact(opening: Opening[Any], shown: Any) -> Any:
    deadline = time.monotonic() + 20
    while not opening.is_exact:
        look = opening.look(0.01)
        shown = look.whole or shown
        shown.feed(look.events)
        assert time.monotonic() < deadline
    return shown


def described(curves: Curves) -> dict[str, Any]:
    series = {name: curves.series(name).points() for name in SERIES}
    return {
        "series": {
            name: [*points.xs, *points.lows, *points.highs] for name, points in series.items()
        },
        "last": (curves.last_step, curves.tokens, curves.seconds, curves.pace),
        "best": curves.best,
        "log": list(curves.log),
        "ending": curves.ending,
    }
