"""kill -9, stop, damage: what was trained is never lost, and going on ends bitwise equal."""

import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from finetune_tui.core.errors import UserError
from finetune_tui.core.runs.directory import RunDirectory
from finetune_tui.core.runs.lock import take_lock
from finetune_tui.core.runs.requests import drop_request
from finetune_tui.core.runs.start import start_run
from finetune_tui.core.runs.state import Status

from .conftest import (
    MakeRun,
    adapter_bytes,
    dump,
    finish,
    finish_here,
    kinds,
    losses,
    maker,
    supervise,
    wait_for,
)
from .families import make_folder

pytestmark = pytest.mark.training


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    """The same run, never interrupted."""
    run = maker(tmp_path_factory.mktemp("straight"))()
    finish_here(run)
    return run


SIGNALS = ("SIGINT", "SIGTERM")


def worker_pid(run: RunDirectory) -> int:
    worker = run.state().worker
    assert worker is not None, dump(run)
    return worker.pid


def test_a_killed_worker_is_written_down_once_and_resumes_bitwise_equal(
    make_run: MakeRun, straight: RunDirectory
) -> None:
    run = make_run()
    supervisor = supervise(run)
    wait_for(run, "checkpoint", step=4)
    wait_for(run, "step", step=6)
    os.kill(worker_pid(run), signal.SIGKILL)
    supervisor.wait(timeout=30)
    assert run.state().status is Status.KILLED
    assert run.state().signal == signal.SIGKILL

    events = finish(run, resume=True)
    assert run.state().status is Status.FINISHED, run.log_path.read_text()[-2000:]
    assert kinds(events).count("failed") == 1
    assert wait_for(run, "resumed")["step"] in (4, 8)
    assert adapter_bytes(run) == adapter_bytes(straight)
    assert losses(run) == losses(straight)


MIXED = [
    {"model.layers.{0..3}.self_attn.{q_proj,v_proj}": "lora"},
    {"model.layers.3.mlp.fc2": "full"},
    {"model.final_layernorm": "full"},
    {"model.layers.{0..2}.mlp.fc1": "bias"},
]


def _ends_bitwise_equal_after_a_kill(make_run: MakeRun, **values: Any) -> RunDirectory:
    straight = make_run(preset=None, **values)
    finish(straight)
    assert straight.state().status is Status.FINISHED, straight.log_path.read_text()[-2000:]
    run = make_run(preset=None, **values)
    supervisor = supervise(run)
    wait_for(run, "step", step=6)
    os.kill(worker_pid(run), signal.SIGKILL)
    supervisor.wait(timeout=30)
    ended = finish(run, resume=True)[-1]
    assert ended["kind"] == "finished"
    assert ended["adapter"] == (str(run.adapter) if run.adapter.exists() else None)
    assert ended["trained"] == (str(run.trained) if run.trained.exists() else None)
    assert run.adapter.exists() == straight.adapter.exists()
    assert run.trained.exists() == straight.trained.exists()
    if run.adapter.exists():
        assert adapter_bytes(run) == adapter_bytes(straight)
    if run.trained.exists():
        assert run.trained.read_bytes() == straight.trained.read_bytes()
    return run


@pytest.mark.soak
def test_a_killed_run_of_mixed_modes_resumes_bitwise_equal(make_run: MakeRun) -> None:
    run = _ends_bitwise_equal_after_a_kill(make_run, modules=MIXED)
    assert run.adapter.exists()
    assert run.trained.exists()


@pytest.mark.soak
@pytest.mark.parametrize("mode", ["bias", "full"])
def test_a_killed_run_without_lora_resumes_bitwise_equal(make_run: MakeRun, mode: str) -> None:
    everywhere = "model.layers.{0..3}.mlp.{fc1,fc2}"
    run = _ends_bitwise_equal_after_a_kill(make_run, modules=[{everywhere: mode}])
    assert not run.adapter.exists()


@pytest.mark.soak
def test_a_killed_run_on_a_tied_model_resumes_bitwise_equal(
    make_run: MakeRun, tmp_path: Path
) -> None:
    run = _ends_bitwise_equal_after_a_kill(
        make_run,
        model_name_or_path=str(make_folder("qwen2-tied", tmp_path / "tied")),
        max_length=128,
        modules=[
            {"model.embed_tokens": "full"},
            {"model.layers.{0..4}.mlp.down_proj": "lora"},
            {"model.layers.{0..4}.self_attn.q_proj": "bias"},
        ],
    )
    assert run.adapter.exists()
    assert run.trained.exists()


@pytest.mark.soak
def test_supervisor_and_worker_killed_is_dead_at_once_and_resumable(
    make_run: MakeRun, straight: RunDirectory
) -> None:
    run = make_run()
    supervisor = supervise(run)
    wait_for(run, "step", step=5)
    worker = worker_pid(run)
    os.kill(supervisor.pid, signal.SIGKILL)
    os.kill(worker, signal.SIGKILL)
    supervisor.wait(timeout=10)
    deadline = time.monotonic() + 3
    while run.liveness().status is not Status.DEAD:
        assert time.monotonic() < deadline, run.liveness()
        time.sleep(0.05)
    finish(run, resume=True)
    assert adapter_bytes(run) == adapter_bytes(straight)


@pytest.mark.soak
def test_a_hangup_and_a_supervisor_alone_killed_do_not_stop_the_work(
    make_run: MakeRun, straight: RunDirectory
) -> None:
    run = make_run()
    supervisor = supervise(run)
    wait_for(run, "step", step=2)
    os.kill(worker_pid(run), signal.SIGHUP)
    os.kill(supervisor.pid, signal.SIGHUP)
    wait_for(run, "step", step=4)
    assert supervisor.poll() is None
    os.kill(supervisor.pid, signal.SIGKILL)
    supervisor.wait(timeout=10)
    wait_for(run, "finished")
    deadline = time.monotonic() + 30
    while run.state().status is not Status.FINISHED:
        assert time.monotonic() < deadline, dump(run)
        time.sleep(0.1)
    assert adapter_bytes(run) == adapter_bytes(straight)


@pytest.mark.parametrize(
    "how", ["request", *(pytest.param(name, marks=pytest.mark.soak) for name in SIGNALS)]
)
def test_a_stop_keeps_the_last_step_and_goes_on_from_there(
    make_run: MakeRun, straight: RunDirectory, how: str
) -> None:
    run = make_run()
    supervisor = supervise(run)
    wait_for(run, "step", step=5)
    if how == "request":
        drop_request(run, "stop")
    else:
        os.kill(worker_pid(run), getattr(signal, how))
    supervisor.wait(timeout=60)
    assert supervisor.returncode == 0
    assert run.state().status is Status.STOPPED
    stopped = wait_for(run, "stopped")
    assert stopped["checkpoint"] == stopped["step"] == max(losses(run))
    finish(run, resume=True)
    assert adapter_bytes(run) == adapter_bytes(straight)
    assert losses(run) == losses(straight)


def test_a_second_worker_is_refused(make_run: MakeRun) -> None:
    run = make_run()
    lock = take_lock(run)
    try:
        with pytest.raises(UserError, match="already running"):
            start_run(run)
    finally:
        lock.close()
