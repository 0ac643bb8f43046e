"""The long versions: run by `make soak`, reported with the change."""

import functools
import random
from collections.abc import Callable
from typing import Any

import pytest

from finetune_tui.core.runs.curves import Curves
from finetune_tui.core.runs.directory import RunDirectory
from finetune_tui.core.runs.events import read_events
from finetune_tui.core.runs.state import Status
from finetune_tui.core.tuning.presets import PRESETS
from finetune_tui.core.tuning.spec import demo_spec

from .conftest import MakeRun, finish, losses, maker, trained_bytes

pytestmark = [pytest.mark.training, pytest.mark.soak]

SETTINGS: dict[str, Any] = {
    "max_steps": 10,
    "per_device_train_batch_size": 2,
    "gradient_accumulation_steps": 2,
    "eval_steps": 3,
    "save_steps": 4,
}
MIXED = [
    {"model.layers.{0..3}.self_attn.{q_proj,v_proj}": "lora"},
    {"model.layers.3.mlp.fc2": "full"},
    {"model.final_layernorm": "full"},
    {"model.layers.{0..2}.mlp.fc1": "bias"},
]
EVERYWHERE = "model.layers.{0..3}.mlp.{fc1,fc2}"
KINDS: dict[str, dict[str, Any]] = {
    "accumulation": {},
    "packing": {"packing": True, "max_length": 256},
    "adamw_8bit": {"optim": "adamw_8bit"},
    "bitfit": {"preset": None, "modules": [{EVERYWHERE: "bias"}]},
    "mixed": {"preset": None, "modules": MIXED},
    "nf4": {"load_in_4bit": True},
}
"""All with dropout 0.1 and two batches a step."""
# How often each place is passed in ten steps of two batches with evaluations at 3, 6, 9 and 10.
PLACES = {"batch": 20, "eval": 16, "save": 5}
KILLS = 20


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], RunDirectory]:
    """The run of a kind that was never interrupted."""

    @functools.cache
    def of(kind: str) -> RunDirectory:
        run = maker(tmp_path_factory.mktemp("straight"))(**SETTINGS | KINDS[kind])
        finish(run)
        assert run.state().status is Status.FINISHED, run.log_path.read_text()[-3000:]
        return run

    return of


@pytest.mark.parametrize("number", range(KILLS))
def test_a_kill_at_any_moment_ends_bitwise_equal(
    make_run: MakeRun, straight: Callable[[str], RunDirectory], number: int
) -> None:
    """Steps, evaluations and saves in turn; the moment within is a clock's, hit by nobody twice."""
    chance = random.Random(number)
    kind = list(KINDS)[number % len(KINDS)]
    place = list(PLACES)[number // len(KINDS) % len(PLACES)]
    kill = {"at": place, "n": chance.randint(1, PLACES[place]), "do": "SIGKILL"}
    expected = straight(kind)
    run = make_run(**SETTINGS | KINDS[kind])
    finish(run, faults=[kill | {"seconds": chance.uniform(0, 0.2)}])
    was_killed = run.state().status is Status.KILLED
    if was_killed:
        finish(run, resume=True)
    assert run.state().status is Status.FINISHED, run.log_path.read_text()[-2000:]
    assert trained_bytes(run) == trained_bytes(expected) != []
    assert losses(run) == losses(expected)
    assert evaluations(run) == evaluations(expected)
    print(f"{kind}: {kill}, killed: {was_killed}")


def evaluations(run: RunDirectory) -> dict[int, tuple[float, bool]]:
    """Step → held-out loss and whether it was the best; what was repeated overwrites."""
    events = read_events(run.events_path)
    return {e["step"]: (e["eval_loss"], e["best"]) for e in events if e["kind"] == "eval"}


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
