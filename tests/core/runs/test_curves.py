"""What events add up to."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune_tui.core.runs.curves import SERIES, Curves
from finetune_tui.core.runs.series import MOST
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


def points(curves: Curves, name: str) -> list[list[float]]:
    """Steps and values."""
    shown = curves.series(name).points()
    return [list(shown.xs), list(shown.lasts)]


def test_steps_become_series() -> None:
    curves = fed(
        {"t": 5.0, "kind": "started", "model": "demo", "attempt": 1, "total_steps": 40},
        step(1, 2.0, learning_rate=1e-4, grad_norm=0.5, tokens_per_second=900.0, tokens=64),
        step(2, 1.5, epoch=0.1),
        evaluation(2, 1.7),
    )
    assert points(curves, "loss") == [[1, 2], [2.0, 1.5]]
    assert points(curves, "eval_loss") == [[2], [1.7]]
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
    assert points(curves, "loss")[0] == list(range(1, 121))
    assert curves.best == (100, 0.9)
    curves.feed([step(121, 7.0)])
    assert curves.latest("loss") == 7.0


def test_recovering_from_a_checkpoint_drops_what_came_after_it() -> None:
    recovered = {"kind": "recovered", "step": 1, "what": "out of memory"}
    curves = fed(step(1, 0.9), step(2, 0.8), recovered, step(2, 0.7))
    assert points(curves, "loss")[1] == [0.9, 0.7]


def test_a_release_is_an_ending_and_a_hold_is_none() -> None:
    curves = fed({"kind": "paused", "how": "hold", "step": 3})
    assert curves.ending is None
    curves.feed([{"kind": "paused", "how": "release", "step": 3}])
    assert curves.ending is not None


def test_a_run_that_begins_again_without_a_word_goes_back_too() -> None:
    curves = fed(step(1), step(2), step(3, 9.0), step(2, 5.0))
    assert points(curves, "loss") == [[1, 2], [1.0, 5.0]]


def test_reading_a_file_twice_gives_the_same_curve() -> None:
    events = [{"t": 1.0, "kind": "started", "attempt": 1}, step(1), step(2), evaluation(2, 0.3)]
    once, twice = fed(*events), fed(*events, *events)
    assert all(points(once, name) == points(twice, name) for name in SERIES)
    assert list(once.log) == list(twice.log)


def test_an_unknown_loss_leaves_a_gap() -> None:
    curves = fed(step(1), step(2, None), step(3))
    assert points(curves, "loss")[0] == [1, 3]
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


def test_seconds_and_tokens_are_those_of_training() -> None:
    """What was waited is no training, and a run that goes on from a checkpoint does not count twice."""

    def at(time: float, number: int) -> dict[str, Any]:
        return step(number, tokens=100 * number) | {"t": time}

    curves = fed({"t": 0.0, "kind": "started", "attempt": 1}, at(10.0, 1), at(12.0, 2))
    assert curves.seconds == 12.0
    curves.feed([{"t": 500.0, "kind": "continued"}, at(502.0, 3), at(504.0, 4)])
    assert curves.seconds == 16.0
    assert curves.pace == 2.0
    curves.feed(
        [{"t": 900.0, "kind": "started", "attempt": 2}, {"t": 901.0, "kind": "resumed", "step": 2}]
    )
    assert (curves.seconds, curves.tokens) == (12.0, 200)
    curves.feed([at(903.0, 3)])
    assert list(curves.series("loss").points("seconds").xs) == [10.0, 12.0, 15.0]
    assert list(curves.series("loss").points("tokens").xs) == [100, 200, 300]


@given(
    st.lists(
        st.tuples(st.sampled_from(["eval", "resumed"]), st.integers(1, 30), st.integers(0, 5)),
        max_size=30,
    )
)
def test_the_best_is_the_first_lowest_of_what_was_not_taken_back(
    events: list[tuple[str, int, int]],
) -> None:
    curves = Curves()
    kept: list[tuple[int, float]] = []
    for kind, number, loss in events:
        after = number - 1 if kind == "eval" else number
        kept = [each for each in kept if each[0] <= after]
        if kind == "eval":
            kept.append((number, float(loss)))
        curves.feed([{"t": 1.0, "kind": kind, "step": number, "eval_loss": float(loss)}])
    assert curves.best == min(kept, key=lambda each: (each[1], each[0]), default=None)


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
        steps, values = points(curves, name)
        assert len(steps) == len(values)
        assert steps == sorted(steps)
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


def test_a_hundred_thousand_steps_stay_small_and_keep_their_peak() -> None:
    curves = Curves()
    curves.feed(step(number, 99.0 if number == 77_777 else 1.0) for number in range(1, 100_001))
    shown = curves.series("loss").points()
    assert len(shown) <= MOST
    assert max(shown.highs) == 99.0
    assert abs(shown.xs[shown.highs.index(99.0)] - 77_777) < 100_000 / (MOST / 2)
