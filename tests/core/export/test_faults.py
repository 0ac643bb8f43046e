"""Whatever happens to an export: what lies there afterwards is whole or nothing, and it can be done again."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from finetune_tui.core.errors import UserError, WorkFailed
from finetune_tui.core.export import merge
from finetune_tui.core.runs.directory import RunDirectory
from tests.core.training.families import make_folder
from tests.core.training.trained_runs import as_trained, finished_run, spec_of
from tests.small_disk import mounted

from .exporting import do_work, export_run

KILLED = Path(__file__).with_name("killed.py")
MODULES = [{"model.layers.{0..4}.self_attn.{q_proj,v_proj}": "lora"}, {"lm_head": "full"}]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    home = tmp_path_factory.mktemp("home")
    spec = spec_of(make_folder("phi", home / "phi"), modules=MODULES)
    return finished_run(home, spec, as_trained(spec))


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.soak
@pytest.mark.parametrize(("merges", "attempts"), [(True, 30), (False, 15)])
def test_killed_at_random_moments(
    merges: bool, attempts: int, trained: RunDirectory, tmp_path: Path
) -> None:
    out = tmp_path / "out" / "model"
    made = export_run(trained, out, merge=merges)
    done = subprocess.run(
        [sys.executable, str(KILLED), str(made.path), str(attempts), "5"],
        capture_output=True,
        text=True,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    sizes = {path.name: path.stat().st_size for path in out.iterdir()}
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(found) == attempts
    killed = [one for one in found if not one[1]]
    half = [one for one in killed if ".model.partial" in one[2]]
    print(len(killed), "killed,", len(half), "of them while the folder was being made")
    assert half
    for _, _, beside, there in found:
        assert set(beside) <= {"model", ".model.partial"}
        if "model" in beside:  # killed or not, it is the whole of it
            assert there == sizes
    assert names(out.parent) == ["model"]


@pytest.mark.parametrize("merges", [False, pytest.param(True, marks=pytest.mark.soak)])
def test_the_disk_fills_up_in_the_middle(
    merges: bool, trained: RunDirectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = export_run(trained, tmp_path / "disk" / "model", merge=merges)
    with mounted(tmp_path / "disk", 2) as disk:
        filler = disk / "filler"
        filler.write_bytes(b"\0" * (2**21 - 40_000))
        with pytest.raises(UserError, match=r"the export needs .* of disk"):
            do_work(made)
        assert names(disk) == ["filler"]
        monkeypatch.setattr(merge, "refuse_without_room", lambda plan: None)
        for left in (8_000, 60_000, 150_000):
            filler.unlink()
            filler.write_bytes(b"\0" * (2**21 - left))
            with pytest.raises(WorkFailed, match="the disk is full") as failed:
                do_work(made)
            assert "resume" in (failed.value.hint or "")
            assert names(disk) == ["filler"]
        filler.unlink()
        do_work(made)
        assert names(disk) == ["model"]
        shutil.rmtree(disk / "model")
