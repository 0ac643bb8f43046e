"""The long versions: run by `make soak`, reported with the change."""

import os
import random
import signal
import time

import pytest

from finetune_tui.core.runs.curves import Curves
from finetune_tui.core.runs.directory import RunDirectory
from finetune_tui.core.runs.events import read_events
from finetune_tui.core.runs.state import Status
from finetune_tui.core.tuning.presets import PRESETS
from finetune_tui.core.tuning.spec import demo_spec

from .conftest import MakeRun, adapter_bytes, finish, losses, maker, supervise, wait_for

pytestmark = [pytest.mark.training, pytest.mark.soak]

LONGER = {"max_steps": 60, "eval_steps": 10, "save_steps": 7, "eval_replies": 4}


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    run = maker(tmp_path_factory.mktemp("straight"))(**LONGER)
    finish(run)
    return run


@pytest.mark.parametrize("seed", range(20))
def test_a_kill_at_any_moment_ends_bitwise_equal(
    make_run: MakeRun, straight: RunDirectory, seed: int
) -> None:
    run = make_run(**LONGER)
    supervisor = supervise(run)
    wait_for(run, "started")
    time.sleep(random.Random(seed).uniform(0, 8))
    worker = run.state().worker
    if worker is not None and run.liveness().is_alive:
        os.kill(worker.pid, signal.SIGKILL)
    supervisor.wait(timeout=60)
    if run.state().status is not Status.FINISHED:
        finish(run, resume=True)
    assert run.state().status is Status.FINISHED, run.log_path.read_text()[-2000:]
    assert adapter_bytes(run) == adapter_bytes(straight)
    assert losses(run) == losses(straight)


def test_the_presets_do_not_all_end_alike(make_run: MakeRun) -> None:
    exact = {}
    for preset in PRESETS:
        spec = demo_spec(preset)
        run = make_run(
            preset=preset,
            lora_dropout=spec.lora_dropout,
            per_device_train_batch_size=spec.per_device_train_batch_size,
            max_steps=spec.max_steps,
            eval_steps=spec.eval_steps,
            save_steps=spec.save_steps,
            eval_files=list(spec.eval_files),
            eval_replies=240,
        )
        finish(run)
        curves = Curves()
        curves.feed(read_events(run.events_path))
        before, after = curves.measured["before"], curves.measured["after"]
        assert before[0] <= 0.05 * before[1]
        exact[preset] = after[0] / after[1]
    assert exact["structured-output"] >= 0.95, exact
    assert min(exact.values()) <= 0.5, exact
