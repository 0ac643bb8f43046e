"""Comparisons and exports are runs too: their specs, their start, the queue, and what they work on."""

import json
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune_tui.core.errors import UserError
from finetune_tui.core.runs import launch
from finetune_tui.core.runs.bin import delete_run
from finetune_tui.core.runs.directory import RunDirectory, create_run, list_runs
from finetune_tui.core.runs.hook import facts_of
from finetune_tui.core.runs.interrupted import interrupted_runs
from finetune_tui.core.runs.launch import launch_task_later, make_any_run, make_task_run
from finetune_tui.core.runs.processes import ProcessId, boot_id, host_name, this_process
from finetune_tui.core.runs.queue import ItemStatus, list_queue
from finetune_tui.core.runs.requests import drop_request
from finetune_tui.core.runs.runner import Runner
from finetune_tui.core.runs.start import start_run
from finetune_tui.core.runs.state import State, Status, write_state
from finetune_tui.core.runs.targets import require_result, target_of
from finetune_tui.core.runs.untold import expect_end
from finetune_tui.core.tuning.spec import Spec, demo_spec
from finetune_tui.core.tuning.spec_file import parse_spec, write_spec
from finetune_tui.core.tuning.task_spec import (
    METRICS,
    TASK_FIELDS,
    CompareSpec,
    ExportSpec,
    parse_task_spec,
    read_task_spec,
    write_task_spec,
)

from .adapters import add_result


def nothing_to_inspect(folder: Path, name: str) -> dict[str, Any]:
    raise AssertionError("the demo's manifest comes with the catalog")


@pytest.fixture
def trained(home: Path) -> RunDirectory:
    """A finished run of the demo with an adapter."""
    run = create_run(
        home, write_spec(demo_spec()), "demo", model="demo", preset="structured-output"
    )
    set_state(run, status=Status.FINISHED, attempt=1)
    return add_result(run)


def set_state(run: RunDirectory, **values: Any) -> None:
    write_state(run.state_path, run.state().changed(**values))


# Specs

text = st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=12)
compare_specs = st.builds(
    CompareSpec,
    run=text,
    metrics=st.lists(st.sampled_from(METRICS), unique=True).map(tuple),
    json_schema=st.none() | text,
    regex=st.none() | st.sampled_from([r"\d+", "a|b: {c}", "^[A-Z]{2}$", "# no comment", "'"]),
    compare_files=st.lists(text).map(tuple),
    rows=st.integers(0, 10**6),
    use_cpu=st.booleans(),
    gpus=st.lists(text).map(tuple),
    note=st.none() | text,
)
export_specs = st.builds(
    ExportSpec,
    run=text,
    out=text,
    merge=st.booleans(),
    dtype=st.sampled_from(["auto", "bfloat16"]),
    push_to=st.none() | text,
    private=st.booleans(),
)


@given(compare_specs | export_specs)
def test_a_spec_comes_back_as_it_was_written(spec: CompareSpec | ExportSpec) -> None:
    assert parse_task_spec(write_task_spec(spec)) == spec


def test_the_task_says_which_spec_a_file_holds(tmp_path: Path) -> None:
    path = tmp_path / "spec.yaml"
    path.write_text("task: compare\nrun: r7\njson_schema: schema.json\n", encoding="utf-8")
    found = read_task_spec(path)
    assert found == CompareSpec(run="r7", json_schema=str(tmp_path / "schema.json"))
    path.write_text("task: export\nrun: ./r7-demo\nout: there\n", encoding="utf-8")
    assert read_task_spec(path) == ExportSpec(
        run=str(tmp_path / "r7-demo"), out=str(tmp_path / "there")
    )
    path.write_text("model_name_or_path: demo\n", encoding="utf-8")
    assert read_task_spec(path) == Spec(model_name_or_path="demo")


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("task: compare\nmetricz: exact", "spec:2: metricz: unknown key; did you mean 'metrics'?"),
        ("task: compare\nmetrics: [exakt]", "spec:2: metrics: 'exakt' is not one of exact, json,"),
        ("task: compare\nrows: -1", "spec:2: rows: -1 is not between 0 and 1000000"),
        ("task: export\nmerge: perhaps", "spec:2: merge: 'perhaps' is not true or false"),
        ("task: export\nlora_r: 8", "spec:2: lora_r: unknown key"),
        ("task: chat", "spec:1: task: 'chat' is not one of train"),
        ("task: [compare]", "spec:1: task: ['compare'] is not one of train"),
    ],
)
def test_a_wrong_spec_is_one_line(lines: str, said: str) -> None:
    with pytest.raises(UserError) as error:
        parse_task_spec(lines)
    assert str(error.value).startswith(said)


def test_aliases_that_grow_without_end_are_refused() -> None:
    lines = ["a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    for last in ("lora_r: *a11", "task: *a11", "metrics: *a11", "run: &a [*a]"):
        with pytest.raises(UserError, match="more than 100,000 values, so it is not read"):
            parse_task_spec("\n".join([*lines, last]))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[" * 100_000, "spec:1: not YAML \\(nested too deeply"),
        ("- " * 100_000, "spec: not YAML \\(nested too deeply"),
        ("a: &a {lora_r: 1}\nb:\n  <<: [*a, *a]", "spec:3: not YAML \\(`<<` is not read in a spec"),
        ("task: compare\n<<: {run: r7}", "spec:2: not YAML \\(`<<` is not read in a spec"),
    ],
)
def test_what_would_never_end_is_not_begun(text: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        parse_task_spec(text)


def test_who_wants_a_training_is_told_what_it_is() -> None:
    with pytest.raises(UserError, match="spec:1: task: a comparison, not a training") as error:
        parse_spec(write_task_spec(CompareSpec(run="r7")))
    assert error.value.hint == "`finetune-tui compare RUN` does that work"


def test_every_key_says_what_it_is_for() -> None:
    for fields in TASK_FIELDS.values():
        assert all(field.help for field in fields.values())


# Making one


def test_it_is_a_run_that_knows_what_it_is_about(home: Path, trained: RunDirectory) -> None:
    run = make_task_run(home, CompareSpec(run="r1", metrics=("exact",), name="After", tags=("a",)))
    assert (run.id, run.state().task, run.state().target) == ("r2-after", "compare", "r1-demo")
    assert (run.state().model, run.state().preset) == ("demo", "structured-output")
    spec = run.task_spec()
    assert isinstance(spec, CompareSpec)
    assert spec.run == str(trained.path)
    assert spec.use_cpu  # as the run did
    assert target_of(spec) == trained
    assert make_task_run(home, ExportSpec(run="r1", out="x")).id == "r3-export-r1"
    assert [one.summary()["task"] for one in list_runs(home)] == ["export", "compare", "train"]
    with pytest.raises(UserError, match="a comparison, not a training"):
        run.spec()


def test_paths_are_those_of_whoever_asked(
    home: Path, trained: RunDirectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "rows.jsonl").write_text('{"prompt": "a", "completion": "b"}')
    monkeypatch.chdir(tmp_path)
    run = make_task_run(home, CompareSpec(run="r1", compare_files=("rows.jsonl",), gpus=("GPU-1",)))
    spec = run.task_spec()
    assert isinstance(spec, CompareSpec)
    assert spec.compare_files == (str(tmp_path / "rows.jsonl"),)
    assert not spec.use_cpu  # a GPU was named
    exported = make_task_run(home, ExportSpec(run=str(trained.path), out="out")).task_spec()
    assert isinstance(exported, ExportSpec)
    assert exported.out == str(tmp_path / "out")


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        (CompareSpec(), "run: no run is named"),
        (CompareSpec(run="r9"), "there is no run 'r9'"),
        (CompareSpec(run="/nowhere/r9-x"), "the trained run r9-x is not there any more"),
        (CompareSpec(run="r1", compare_files=("/nowhere.jsonl",)), "compare_files: "),
        (CompareSpec(run="r1", forget_files=("/nowhere.jsonl",)), "forget_files: "),
        (CompareSpec(run="r1", tags=("a b",)), "tags: 'a b' cannot be a tag"),
        (ExportSpec(run="r1"), "out: no folder to write is named"),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_written(
    home: Path, trained: RunDirectory, spec: CompareSpec | ExportSpec, said: str
) -> None:
    with pytest.raises(UserError) as error:
        make_task_run(home, spec)
    assert said in str(error.value)
    assert list_runs(home) == [trained]


def test_a_run_without_a_result_says_what_is_missing(home: Path, trained: RunDirectory) -> None:
    require_result(trained)
    shutil.rmtree(trained.adapter)
    with pytest.raises(UserError, match="r1 has no result: neither adapter"):
        require_result(trained)
    whole = trained.checkpoints / "step-000120" / "manifest.json"
    whole.parent.mkdir()
    whole.touch()
    require_result(trained)  # a checkpoint can stand for it
    now = time.time()
    set_state(
        trained,
        status=Status.RUNNING,
        host=host_name(),
        boot_id=boot_id(),
        worker=this_process(),
        supervisor=this_process(),
        heartbeat=now,
    )
    with pytest.raises(UserError, match="r1 has no result yet"):
        require_result(trained)


def test_a_result_of_another_run_is_refused_before_anything_starts(
    home: Path, trained: RunDirectory
) -> None:
    config = trained.adapter / "adapter_config.json"
    sound = json.loads(config.read_text())
    config.write_text(json.dumps({**sound, "target_modules": "(a+)+$"}))
    with pytest.raises(UserError, match=r"target_modules: '\(a\+\)\+\$' is a pattern"):
        make_task_run(home, CompareSpec(run="r1"))
    (trained.adapter / "adapter_model.safetensors").write_bytes(b"\0" * 40)
    with pytest.raises(UserError, match="its header is not safetensors"):
        make_task_run(home, CompareSpec(run="r1"))
    assert list_runs(home) == [trained]


def test_a_comparison_is_not_compared(home: Path, trained: RunDirectory) -> None:
    make_task_run(home, CompareSpec(run="r1"))
    with pytest.raises(UserError, match="r2 is a comparison, not a training") as error:
        make_task_run(home, ExportSpec(run="r2", out="x"))
    assert error.value.hint == "it is about r1-demo: say that"


# The queue, the hook, and going on


def test_it_waits_in_the_queue_and_runs(
    home: Path, trained: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launch, "start_runner", lambda _home: None)
    item = launch_task_later(home, CompareSpec(run="r1"))
    assert (item.task, item.title, item.model) == ("compare", "compare r1-demo", "demo")
    assert list_queue(home).items == (item,)
    begun: list[RunDirectory] = []
    runner = Runner(
        home,
        lambda home, spec: make_any_run(home, spec, nothing_to_inspect),
        lambda run, resume: begun.append(run),
        lambda: (),
    )
    runner.look()
    assert [run.id for run in begun] == ["r2-compare-r1"]
    assert begun[0].state().target == "r1-demo"
    set_state(begun[0], status=Status.FINISHED, attempt=1)
    runner.look()
    assert not list_queue(home).items


def test_what_waits_for_a_run_that_is_gone_says_so(
    home: Path, trained: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launch, "start_runner", lambda _home: None)
    launch_task_later(home, ExportSpec(run="r1", out="x"))
    delete_run(home, trained)
    runner = Runner(
        home,
        lambda home, spec: make_any_run(home, spec, nothing_to_inspect),
        lambda run, resume: None,
        lambda: (),
    )
    runner.look()
    (failed,) = list_queue(home).of(ItemStatus.FAILED)
    assert "the trained run r1-demo is not there any more" in (failed.why or "")


def test_a_hook_knows_what_ended(home: Path, trained: RunDirectory) -> None:
    run = make_task_run(home, CompareSpec(run="r1"))
    facts = facts_of(run, run.state())
    assert (facts["FINETUNE_TUI_TASK"], facts["FINETUNE_TUI_TARGET"]) == ("compare", "r1-demo")
    assert facts_of(trained, trained.state())["FINETUNE_TUI_TASK"] == "train"


def test_it_is_supervised_as_any_run_and_keeps_its_task(home: Path, trained: RunDirectory) -> None:
    run = make_task_run(home, CompareSpec(run="r1", gpus=("GPU-1234",)))
    end = "import os, sys; print(os.environ.get('CUDA_VISIBLE_DEVICES')); sys.exit(1)"
    start_run(run, command=[sys.executable, "-c", end])
    deadline = time.monotonic() + 30
    while run.state().status is not Status.FAILED and time.monotonic() < deadline:
        time.sleep(0.02)
    state = run.state()
    assert (state.task, state.target, state.status) == ("compare", "r1-demo", Status.FAILED)
    assert state.hint == "finetune-tui resume r2 starts it again"
    assert "GPU-1234" in run.log_path.read_text()


def test_it_has_no_checkpoints(home: Path, trained: RunDirectory) -> None:
    run = make_task_run(home, CompareSpec(run="r1"))
    drop_request(run, "stop")
    with pytest.raises(UserError, match="r2 is a comparison: it has no checkpoints"):
        drop_request(run, "checkpoint")


def test_after_a_reboot_it_goes_on_without_a_checkpoint(home: Path, trained: RunDirectory) -> None:
    run = make_task_run(home, CompareSpec(run="r1"))
    gone = ProcessId(2**22 + 1, "1")
    set_state(
        run, status=Status.RUNNING, attempt=1, host=host_name(), boot_id="before", worker=gone
    )
    (found,) = interrupted_runs(home, (), time.time())
    assert (found.run, found.left) == (run, None)


def test_a_run_that_is_worked_on_is_not_deleted(home: Path, trained: RunDirectory) -> None:
    run = make_task_run(home, CompareSpec(run="r1"))
    before = run.state()
    set_state(
        run,
        status=Status.RUNNING,
        attempt=1,
        host=host_name(),
        boot_id=boot_id(),
        worker=this_process(),
        supervisor=this_process(),
        heartbeat=time.time(),
    )
    assert expect_end(run, 1)
    with pytest.raises(UserError, match="r2, a comparison, works on r1") as error:
        delete_run(home, trained)
    assert error.value.hint == "`finetune-tui stop r2` ends that first"
    write_state(run.state_path, before.changed(status=Status.FINISHED, attempt=1))
    delete_run(home, trained)
    with pytest.raises(UserError, match="r1-demo is not there any more"):
        target_of(run.task_spec())  # type: ignore[arg-type]


def test_states_of_before_are_trainings() -> None:
    assert State.from_json({"status": "finished"}).task == "train"
    assert State.from_json({"status": "finished", "task": 7, "target": []}).task == "train"
