"""A rehearsal is a real small run that leaves nothing behind but what it measured."""

import itertools
from pathlib import Path

import pytest

from finetune_tui.core.calls.client import inspect_folder
from finetune_tui.core.errors import UserError
from finetune_tui.core.runs.pace import predict
from finetune_tui.core.runs.rehearsal import RehearsalCancelled, kept_rehearsal, rehearse
from finetune_tui.core.tuning.spec import demo_spec

SPEC = demo_spec().changed(per_device_train_batch_size=4, max_length=200)


@pytest.mark.training
def test_a_rehearsal_measures_and_cleans_up(tmp_path: Path) -> None:
    said: list[str] = []
    rehearsal = rehearse(tmp_path, SPEC, inspect_folder, said.append)
    assert rehearsal.seconds_per_step > 0
    assert rehearsal.load_seconds > 0
    assert rehearsal.eval_seconds > 0
    assert rehearsal.checkpoint_bytes > rehearsal.result_bytes > 800_000
    assert (rehearsal.peak_memory or 0) > 200 * 2**20
    assert rehearsal.sample is not None
    assert rehearsal.sample["prompt"]
    assert rehearsal.steps_per_epoch == pytest.approx(_rows_in(SPEC.train_files[0]) / 4, rel=0.02)
    assert any("loading" in words for words in said)
    assert kept_rehearsal(tmp_path, SPEC) == rehearsal
    assert [path.suffix for path in (tmp_path / "rehearsals").iterdir()] == [".json"]
    assert not (tmp_path / "runs").exists()
    told = predict(tmp_path, SPEC)
    assert told is not None
    assert told.seconds > 300 * rehearsal.seconds_per_step


@pytest.mark.training
def test_a_cancelled_rehearsal_leaves_nothing(tmp_path: Path) -> None:
    looks = itertools.count()
    with pytest.raises(RehearsalCancelled):
        rehearse(tmp_path, SPEC, inspect_folder, cancelled=lambda: next(looks) > 5)
    assert list((tmp_path / "rehearsals").iterdir()) == []


def test_a_spec_that_cannot_work_is_refused_before_anything_starts(tmp_path: Path) -> None:
    wrong = SPEC.changed(train_files=[str(tmp_path / "missing.jsonl")])
    with pytest.raises(UserError, match=r"missing\.jsonl"):
        rehearse(tmp_path, wrong, inspect_folder)
    assert list((tmp_path / "rehearsals").glob("*")) == []


def _rows_in(file: str) -> int:
    return len(Path(file).read_text().splitlines())
