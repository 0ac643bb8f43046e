"""What events add up to."""

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune_tui.core.runs.curves import SERIES, Curves
from finetune_tui.core.runs.words import event_words
from finetune_tui.core.text import plain


def step(number: int, loss: float | None = 1.0, **more: Any) -> dict[str, Any]:
    return {"t": 1.0, "kind": "step", "step": number, "loss": loss, **more}


def evaluation(number: int, loss: float) -> dict[str, Any]:
    return {"t": 1.0, "kind": "eval", "step": number, "eval_loss": loss, "best": True}


def fed(*events: dict[str, Any]) -> Curves:
    curves = Curves()
    curves.feed(events)
    return curves


def test_steps_become_series() -> None:
    curves = fed(
        {"t": 5.0, "kind": "started", "model": "demo", "attempt": 1, "total_steps": 40},
        step(1, 2.0, learning_rate=1e-4, grad_norm=0.5, tokens_per_second=900.0, tokens=64),
        step(2, 1.5, epoch=0.1),
        evaluation(2, 1.7),
    )
    assert [list(part) for part in curves.series("loss")] == [[1, 2], [2.0, 1.5]]
    assert [list(part) for part in curves.series("eval_loss")] == [[2], [1.7]]
    assert curves.latest("grad_norm") == 0.5
    assert (curves.last_step, curves.total_steps, curves.started) == (2, 40, 5.0)
    assert curves.best == (2, 1.7)


def test_resuming_drops_what_came_after_the_checkpoint() -> None:
    curves = fed(
        *(step(number) for number in range(1, 131)),
        evaluation(100, 0.9),
        evaluation(130, 0.5),
        {"t": 2.0, "kind": "started", "attempt": 2},
        {"t": 2.0, "kind": "resumed", "step": 120, "checkpoint": "step-000120"},
    )
    assert curves.last_step == 120
    assert list(curves.series("loss")[0]) == list(range(1, 121))
    assert curves.best == (100, 0.9)
    curves.feed([step(121, 7.0)])
    assert curves.latest("loss") == 7.0


def test_recovering_from_a_checkpoint_drops_what_came_after_it() -> None:
    recovered = {"kind": "recovered", "step": 1, "what": "out of memory"}
    curves = fed(step(1, 0.9), step(2, 0.8), recovered, step(2, 0.7))
    assert list(curves.series("loss")[1]) == [0.9, 0.7]


def test_a_release_is_an_ending_and_a_hold_is_none() -> None:
    curves = fed({"kind": "paused", "how": "hold", "step": 3})
    assert curves.ending is None
    curves.feed([{"kind": "paused", "how": "release", "step": 3}])
    assert curves.ending is not None


def test_a_run_that_begins_again_without_a_word_goes_back_too() -> None:
    curves = fed(step(1), step(2), step(3, 9.0), step(2, 5.0))
    assert [list(part) for part in curves.series("loss")] == [[1, 2], [1.0, 5.0]]


def test_reading_a_file_twice_gives_the_same_curve() -> None:
    events = [{"t": 1.0, "kind": "started", "attempt": 1}, step(1), step(2), evaluation(2, 0.3)]
    once, twice = fed(*events), fed(*events, *events)
    assert all(once.series(name) == twice.series(name) for name in SERIES)
    assert list(once.log) == list(twice.log)


def test_an_unknown_loss_leaves_a_gap() -> None:
    curves = fed(step(1), step(2, None), step(3))
    assert list(curves.series("loss")[0]) == [1, 3]
    assert curves.last_step == 3


def test_endings_phases_and_measurements() -> None:
    curves = fed(
        {
            "t": 1.0,
            "kind": "phase",
            "phase": "measuring",
            "done": 3,
            "total": 10,
            "words": "a\x1b[m",
        },
        {"t": 2.0, "kind": "measured", "when": "before", "exact": 1, "total": 200},
        {"t": 3.0, "kind": "failed", "message": "no"},
    )
    assert curves.phase is not None
    assert (curves.phase.name, curves.phase.done, curves.phase.words) == ("measuring", 3, "a")
    assert curves.measured == {"before": (1, 200)}
    assert curves.ending is not None
    assert curves.last_heard == 3.0


def test_buckets_hold_extremes() -> None:
    curves = fed(*(step(number, float(number % 10)) for number in range(1, 101)))
    buckets = curves.buckets("loss", 10)
    assert len(buckets) == 10
    assert all(bucket and (bucket.low, bucket.high) == (0.0, 9.0) for bucket in buckets)
    assert curves.buckets("loss", 4, first=1, last=400)[1:] == [None] * 3
    assert Curves().buckets("loss", 3) == [None] * 3


@given(
    st.lists(st.tuples(st.integers(1, 1000), st.floats(-5, 5)), unique_by=lambda p: p[0]),
    st.integers(1, 200),
    st.integers(-10, 1010) | st.none(),
    st.integers(-10, 1010) | st.none(),
)
def test_buckets_lose_no_extreme(
    points: list[tuple[int, float]], columns: int, first: int | None, last: int | None
) -> None:
    curves = fed(*(step(number, loss) for number, loss in sorted(points)))
    buckets = [bucket for bucket in curves.buckets("loss", columns, first, last) if bucket]
    steps, values = curves.series("loss")
    start = (steps[0] if steps else 0) if first is None else first
    end = max((steps[-1] if steps else 0) if last is None else last, start)
    shown = [value for at, value in zip(steps, values, strict=True) if start <= at <= end]
    assert (
        (min(shown), max(shown), shown[-1])
        == (
            min(bucket.low for bucket in buckets),
            max(bucket.high for bucket in buckets),
            buckets[-1].last,
        )
        if shown
        else not buckets
    )


ANYTHING = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just([1, {}])
KINDS = [
    *("started", "phase", "step", "eval", "sample", "measured", "checkpoint", "hardware"),
    *("warning", "recovered", "resumed", "stopping", "finished", "stopped", "failed", "other"),
]
NAMES = [
    *("t", "step", "loss", "grad_norm", "eval_loss", "attempt", "total_steps", "done", "total"),
    *("words", "phase", "exact", "when", "seconds", "bytes", "message", "where", "skipped"),
    *("reply", "expected", "correct", "trainable_parameters", "steps", "model"),
]


@given(
    st.lists(
        st.tuples(
            st.sampled_from(KINDS),
            st.dictionaries(st.sampled_from(NAMES), ANYTHING, max_size=6),
        ),
        max_size=8,
    )
)
def test_no_event_does_harm(events: list[tuple[str, dict[str, Any]]]) -> None:
    curves = fed(*({"kind": kind, **fields} for kind, fields in events))
    for name in SERIES:
        steps, values = curves.series(name)
        assert len(steps) == len(values)
        assert list(steps) == sorted(set(steps))
        curves.buckets(name, 80)
    assert all(line.text == plain(line.text) for line in curves.log)


@pytest.mark.parametrize(
    ("event", "words"),
    [
        (
            {"kind": "eval", "step": 20, "eval_loss": 0.44712, "best": True},
            "eval 20: 0.4471 (best)",
        ),
        ({"kind": "sample", "reply": "a\x1b[2J", "correct": True}, "sample ✓ a"),
        (
            {"kind": "sample", "reply": "USD", "expected": "EUR", "correct": False},
            "sample ✗ USD want EUR",
        ),
        ({"kind": "failed", "message": "no", "where": "x.jsonl:7"}, "failed: x.jsonl:7: no"),
        (
            {"kind": "resumed", "step": 9, "skipped": [{"path": "c/step-000012", "why": "torn"}]},
            "resumed from step 9; skipped step-000012 (torn)",
        ),
        ({"kind": "hardware"}, None),
        (
            {"kind": "paused", "step": 4, "how": "disk full", "why": "the disk is full"},
            "paused at step 4: the disk is full",
        ),
        ({"kind": "continued", "step": 4}, "goes on at step 4"),
        (
            {
                "kind": "data",
                "train_rows": 95,
                "held_out": 5,
                "bad": 0,
                "share_trained": 0.31,
                "longest": 71,
            },
            "data: 95 rows to train on, 5 held out, 31% of the tokens trained, the longest has 71 tokens",
        ),
        (
            {
                "kind": "recovered",
                "what": "out of memory",
                "step": 7,
                "micro_batch_from": 4,
                "micro_batch_to": 2,
            },
            "recovered: out of memory, on from step 7 with 2 rows at once instead of 4, "
            "the same rows a step",
        ),
        (
            {"kind": "early_stop", "step": 40, "best_step": 25, "patience": 3},
            "no better evaluation in 3: training ends at step 40, the best was step 25",
        ),
        (
            {"kind": "finished", "steps": 40, "why": "finished early at step 40"},
            "finished early at step 40",
        ),
    ],
)
def test_events_in_words(event: dict[str, Any], words: str | None) -> None:
    assert event_words(event) == words


def test_a_hundred_thousand_steps_stay_small() -> None:
    curves = Curves()
    curves.feed(step(number, 1.0 / number) for number in range(1, 100_001))
    start = time.perf_counter()
    buckets = curves.buckets("loss", 160)
    print(f"bucketing 100 000 points: {1000 * (time.perf_counter() - start):.2f} ms")
    steps, values = curves.series("loss")
    assert len(buckets) == 160
    assert steps.itemsize * len(steps) + values.itemsize * len(values) == 1_600_000
