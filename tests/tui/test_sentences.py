"""`attach --plain`: sentences for a screen reader."""

import io
import re
import threading
import time
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune_tui.core.runs.state import Status
from finetune_tui.tui.cli import main
from finetune_tui.tui.commands.sentences import (
    as_sentence,
    sentence,
    spoken_count,
    spoken_duration,
    spoken_size,
)
from tests.tui.runs_fixture import (
    NOW,
    append,
    ending,
    make_run,
    preparation,
    samples,
    training,
    write_run_state,
)

SENTENCE = re.compile(r"[A-Z0-9'].*[.?:]")


def test_numbers_are_words() -> None:
    assert spoken_duration(0.2) == "less than a second"
    assert spoken_duration(61) == "1 minute 1 second"
    assert spoken_duration(7260) == "2 hours 1 minute"
    assert spoken_duration(86400) == "1 day"
    assert spoken_size(8.9 * 2**30) == "8.9 gigabytes"
    assert spoken_count(34_600_000) == "34.6 million"


@pytest.mark.parametrize(
    ("event", "words"),
    [
        (
            {"kind": "step", "step": 12, "total_steps": 300, "loss": 0.41234, "grad_norm": 1},
            "Step 12 of 300, loss 0.412, 2 minutes left.",
        ),
        (
            {"kind": "eval", "step": 600, "eval_loss": 0.447, "best": True},
            "Held-out loss 0.447 at step 600, the best so far.",
        ),
        (
            {"kind": "sample", "correct": False, "reply": "a→b", "expected": "c"},
            "A sample is wrong: a to b; wanted: c.",
        ),
        (
            {"kind": "checkpoint", "step": 5, "bytes": 2**21},
            "A checkpoint of step 5 is written, 2.0 megabytes.",
        ),
        (
            {"kind": "finished", "steps": 300, "seconds": 190, "eval_loss": 0.5},
            "Finished, 300 steps, after 3 minutes 10 seconds, held-out loss 0.500.",
        ),
        ({"kind": "phase", "phase": "loading"}, "Loading."),
        ({"kind": "phase", "phase": "loading", "done": 3, "total": 9}, None),
        ({"kind": "hardware", "gpus": []}, None),
    ],
)
def test_an_event_is_a_sentence(event: dict[str, Any], words: str | None) -> None:
    assert sentence(event, 120.0) == words


@given(
    st.fixed_dictionaries(
        {
            "kind": st.sampled_from(
                ["step", "eval", "sample", "started", "failed", "phase", "finished"]
            )
        },
        optional={
            name: st.one_of(
                st.none(), st.text(max_size=9), st.floats(), st.integers(), st.booleans()
            )
            for name in ("step", "loss", "reply", "model", "message", "seconds", "phase", "why")
        },
    ),
    st.floats(),
)
def test_whatever_an_event_holds(event: dict[str, Any], left: float) -> None:
    words = sentence(event, left)
    assert words is None or not re.search(r"[\x00-\x1f\x7f-\x9f]", words)


def test_signs_are_spelt_out() -> None:
    assert as_sentence("r7 finished 2m · best .4") == "R7 finished 2m, best .4."


def test_attach_tells_a_run_in_sentences(tmp_path: Path) -> None:
    run = make_run(
        tmp_path,
        [*preparation(), *training(last=300), *samples(300, NOW - 3), *ending()],
        status=Status.FINISHED,
        worker=None,
        ended=NOW - 2,
    )
    out = io.StringIO()
    with redirect_stdout(out):
        assert main(["attach", "--plain", "--home", str(tmp_path), str(run.path)]) == 0
    lines = out.getvalue().splitlines()
    assert all(SENTENCE.match(line) or str(tmp_path) in line for line in lines), lines
    assert "\x1b" not in out.getvalue()
    assert "\r" not in out.getvalue()
    steps = [line for line in lines if line.startswith("Step ")]
    assert 5 <= len(steps) <= 15  # a few to hear, not three hundred
    assert any("left." in line for line in steps)
    assert lines[-1].startswith("The adapter has")


def test_attach_goes_on_while_the_run_does(tmp_path: Path) -> None:
    run = make_run(tmp_path, [*preparation(), *training(last=30)])
    out = io.StringIO()
    with redirect_stdout(out):
        following = threading.Thread(
            target=main, args=(["attach", "--plain", "--home", str(tmp_path), str(run.path)],)
        )
        following.start()
        for _ in range(200):
            if "Step 30" in out.getvalue():
                break
            time.sleep(0.05)
        append(run, [*training(first=31, last=300), *ending()])
        write_run_state(run, status=Status.FINISHED, worker=None, ended=NOW)
        following.join(20)
        assert not following.is_alive()
        assert out.getvalue().count("Step 60 of 300") == 1
