"""How long a run will take: from a rehearsal, from a past run, or no word at all."""

import dataclasses
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune_tui.core.runs.directory import create_run
from finetune_tui.core.runs.likeness import likeness
from finetune_tui.core.runs.pace import predict
from finetune_tui.core.runs.processes import host_name
from finetune_tui.core.runs.rehearsal import Rehearsal, kept_rehearsal
from finetune_tui.core.runs.state import State, Status, write_state
from finetune_tui.core.tuning.spec import Spec, demo_spec
from finetune_tui.core.tuning.spec_file import write_spec

MEASURED = Rehearsal(
    seconds_per_step=2.0,
    spread=0.05,
    steps_per_epoch=50.0,
    load_seconds=10.0,
    eval_seconds=5.0,
    save_seconds=1.0,
    peak_allocated=None,
    peak_reserved=None,
    peak_memory=2**30,
    checkpoint_bytes=100 * 2**20,
    result_bytes=2**20,
    longest_tokens=256,
    sample=None,
    warnings=(),
)
SPEC = Spec().changed(model_name_or_path="demo", preset="personas")


def test_nothing_is_told_about_work_that_never_ran_here(tmp_path: Path) -> None:
    assert predict(tmp_path, SPEC) is None


def test_a_rehearsal_tells_the_time_of_the_whole_run(tmp_path: Path) -> None:
    _keep(tmp_path, SPEC)
    spec = SPEC.changed(num_train_epochs=2, eval_steps=25, save_steps=50)
    told = predict(tmp_path, spec)
    assert told is not None
    assert told.source == "from the rehearsal"
    # 100 steps of 2 s, loading, evaluations at 25, 50, 75, 100 and the last, saves at 50 and 100.
    assert told.seconds == 10 + 100 * 2 + 5 * 5 + 2 * 1


def test_a_rehearsal_of_another_batch_says_nothing(tmp_path: Path) -> None:
    _keep(tmp_path, SPEC)
    assert predict(tmp_path, SPEC.changed(per_device_train_batch_size=7)) is None


def test_a_past_run_of_the_same_work_tells_the_time(tmp_path: Path) -> None:
    _finished(tmp_path, demo_spec(), step=300)
    told = predict(tmp_path, demo_spec().changed(max_steps=600, learning_rate=1e-4))
    assert told is not None
    assert told.seconds == pytest.approx(120)
    assert told.source == "from r1"


@pytest.mark.parametrize(
    "other",
    [{"status": Status.FAILED}, {"host": "elsewhere"}, {"attempt": 2}, {"step": None}],
)
def test_a_past_run_that_ended_otherwise_or_elsewhere_does_not(
    tmp_path: Path, other: dict[str, object]
) -> None:
    _finished(tmp_path, demo_spec(), **{"step": 300, **other})
    assert predict(tmp_path, demo_spec()) is None


def test_a_data_file_that_changed_is_other_work(tmp_path: Path) -> None:
    data = tmp_path / "data.jsonl"
    data.write_text("one")
    spec = SPEC.changed(train_files=[str(data)])
    before = likeness(spec)
    data.write_text("one and two")
    assert likeness(spec) != before


def test_the_disk_must_hold_every_checkpoint_that_is_kept_and_one_beside_it() -> None:
    spec = SPEC.changed(save_total_limit=3)
    needed = MEASURED.disk_needed(spec)
    assert needed > 4 * MEASURED.checkpoint_bytes + MEASURED.result_bytes
    assert MEASURED.problems(spec, needed) == ()
    (words,) = MEASURED.problems(spec, needed - 1)
    assert "disk" in words
    assert MEASURED.to_json(spec, needed - 1)["ok"] is False


@given(st.binary(max_size=200))
def test_a_kept_rehearsal_that_is_broken_is_no_rehearsal(content: bytes) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        path = home / "rehearsals" / f"{likeness(SPEC)}.json"
        path.parent.mkdir()
        path.write_bytes(content)
        assert kept_rehearsal(home, SPEC) is None


def _keep(home: Path, spec: Spec) -> None:
    path = home / "rehearsals" / f"{likeness(spec)}.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"likeness": likeness(spec), **dataclasses.asdict(MEASURED)}))


def _finished(home: Path, spec: Spec, **other: object) -> None:
    run = create_run(home, write_spec(spec), "past")
    state = State(
        status=Status.FINISHED,
        host=host_name(),
        attempt=1,
        epoch=2.0,
        started=1000.0,
        ended=1060.0,
    )
    write_state(run.state_path, state.changed(**other))
