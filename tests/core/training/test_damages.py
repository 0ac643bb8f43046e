"""The newest checkpoint is damaged in every way: resuming takes the one before and ends bitwise equal.

Most of them resume in this very process: what is tested is which bytes are read, and a worker's start costs
seconds. Some go through the real worker.
"""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from finetune_tui.core.errors import WorkFailed
from finetune_tui.core.runs.directory import RunDirectory
from finetune_tui.core.runs.events import read_events
from finetune_tui.core.training import checkpoint

from .conftest import adapter_bytes, finish, finish_here, losses, maker

pytestmark = pytest.mark.training

PARTS = (
    checkpoint.TRAINED,
    checkpoint.OPTIMIZER,
    checkpoint.RANDOM,
    checkpoint.TRAINING,
    checkpoint.TRAINER_STATE,
    checkpoint.MANIFEST,
)


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def _zero(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def _empty(newest: Path) -> None:
    shutil.rmtree(newest)
    newest.mkdir()


def _stray_folder(newest: Path) -> None:
    shutil.rmtree(newest)
    stray = newest.with_name("step-000999")
    stray.mkdir()
    (stray / "thesis.txt").write_text("somebody else's")


def _stray_file(newest: Path) -> None:
    shutil.rmtree(newest)
    newest.write_text("not a folder at all")


def _manifest_of_another_step(newest: Path) -> None:
    older = min(newest.parent.iterdir())
    shutil.copy(older / checkpoint.MANIFEST, newest / checkpoint.MANIFEST)


HOW: dict[str, Callable[[Path], None]] = {
    "missing": Path.unlink,
    "truncated": _truncate,
    "flipped": _flip,
    "zeroed": _zero,
}
ODD: dict[str, Callable[[Path], None]] = {
    "empty folder": _empty,
    "stray folder": _stray_folder,
    "stray file": _stray_file,
    "manifest of another step": _manifest_of_another_step,
}
DAMAGES = [f"{part} {how}" for part in PARTS for how in HOW] + list(ODD)
SAMPLE = ("trained.safetensors flipped", "training.json missing", "stray folder")


def damage(newest: Path, words: str) -> None:
    if words in ODD:
        ODD[words](newest)
    else:
        part, how = words.split()
        HOW[how](newest / part)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunDirectory, RunDirectory]:
    """A run never interrupted, and one stopped after step 9 of 12 with checkpoints of 8 and 9."""
    make = maker(tmp_path_factory.mktemp("damages"))
    straight, stopped = make(), make()
    finish_here(straight)
    finish(stopped, faults=[{"at": "batch", "n": 9, "do": "SIGTERM"}])
    assert sorted(p.name for p in stopped.checkpoints.iterdir()) == ["step-000008", "step-000009"]
    return straight, stopped


@pytest.mark.parametrize(
    "words",
    [pytest.param(one, marks=() if one in SAMPLE else pytest.mark.soak) for one in DAMAGES],
)
def test_a_damaged_newest_checkpoint_falls_back_and_ends_bitwise_equal(
    pair: tuple[RunDirectory, RunDirectory], tmp_path: Path, words: str
) -> None:
    straight, stopped = pair
    run = RunDirectory(Path(shutil.copytree(stopped.path, tmp_path / "run")))
    damage(run.checkpoints / "step-000009", words)
    threads = torch.get_num_threads()
    try:
        finish_here(run, resume=True)
    finally:
        torch.set_num_threads(threads)
    _ends_equal(run, straight)
    if words == "stray folder":
        assert (run.checkpoints / "step-000999" / "thesis.txt").exists()


@pytest.mark.parametrize(
    "words",
    [
        "optimizer.safetensors missing",
        pytest.param("random.safetensors zeroed", marks=pytest.mark.soak),
        pytest.param("manifest.json truncated", marks=pytest.mark.soak),
        pytest.param("stray folder", marks=pytest.mark.soak),
    ],
)
def test_the_real_worker_falls_back_too_and_computes_with_as_many_threads(
    pair: tuple[RunDirectory, RunDirectory],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: str,
) -> None:
    straight, stopped = pair
    run = RunDirectory(Path(shutil.copytree(stopped.path, tmp_path / "run")))
    damage(run.checkpoints / "step-000009", words)
    monkeypatch.setenv("OMP_NUM_THREADS", str(_threads(run)[0] + 1))
    finish(run, resume=True)
    _ends_equal(run, straight)
    before, after = _threads(run)
    assert before == after


def _threads(run: RunDirectory) -> list[int]:
    return [e["threads"] for e in read_events(run.events_path) if e["kind"] == "started"]


def _ends_equal(run: RunDirectory, straight: RunDirectory) -> None:
    resumed = [event for event in read_events(run.events_path) if event["kind"] == "resumed"][-1]
    assert resumed["step"] == 8
    (skipped,) = resumed["skipped"]
    assert skipped["path"] in ("step-000009", "step-000999")
    assert skipped["why"]
    assert losses(run) == losses(straight)
    assert adapter_bytes(run) == adapter_bytes(straight)


def test_a_file_of_another_selection_is_never_taken_for_this_one(
    pair: tuple[RunDirectory, RunDirectory],
) -> None:
    newest = pair[1].checkpoints / "step-000009"
    model = torch.nn.Linear(2, 2)
    with pytest.raises(WorkFailed, match="another selection"):
        checkpoint.load_trained(newest, model)


def test_what_was_being_written_when_the_worker_died_is_passed_over_and_swept(
    tmp_path: Path,
) -> None:
    (tmp_path / "step-000009").mkdir()
    (tmp_path / "notes").mkdir()
    (tmp_path / ".step-000010.partial").mkdir()
    found, skipped = checkpoint.newest_valid(tmp_path)
    assert found is None
    assert [item.path.name for item in skipped] == ["step-000009"]
    assert checkpoint.newest_valid(tmp_path / "none") == (None, [])
    (tmp_path / "step-000012").mkdir()
    checkpoint.keep(tmp_path, last=12, best=None, limit=1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["notes", "step-000012"]


@pytest.mark.parametrize(
    ("last", "best", "limit", "kept"),
    [
        (12, None, 1, [12]),
        (12, 4, 1, [4, 12]),
        (12, 4, 2, [4, 12]),
        (12, 4, 3, [4, 8, 12]),
        (12, None, 2, [8, 12]),
        (8, 4, 2, [4, 8]),  # 12 could not be resumed from
    ],
)
def test_the_best_and_the_last_always_stay(
    tmp_path: Path, last: int, best: int | None, limit: int, kept: list[int]
) -> None:
    for step in (2, 4, 8, 12):
        (tmp_path / checkpoint.folder_name(step)).mkdir()
    checkpoint.keep(tmp_path, last, best, limit)
    assert sorted(checkpoint.step_of(path) for path in tmp_path.iterdir()) == kept
