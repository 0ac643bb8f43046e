"""Memory before the first weight and after the last step: refused, warned of, measured, remembered."""

import dataclasses
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from finetune_tui.core.errors import UserError, WorkFailed
from finetune_tui.core.hardware import Gpu, GpuProcess, Hardware
from finetune_tui.core.memory.calibration import context_for
from finetune_tui.core.memory.estimate import GIB, MIB
from finetune_tui.core.memory.free import Free
from finetune_tui.core.models.catalog import catalog
from finetune_tui.core.models.resolve import find_model
from finetune_tui.core.runs.directory import RunDirectory, create_run
from finetune_tui.core.runs.events import read_events
from finetune_tui.core.runs.memory_taken import FIGURES
from finetune_tui.core.runs.requests import drop_request
from finetune_tui.core.runs.state import Status
from finetune_tui.core.training import metering
from finetune_tui.core.training.load import Device
from finetune_tui.core.training.memory_check import free_memory, require_memory
from finetune_tui.core.training.metering import Meter, chosen_gpu, held_on_gpu, home_of
from finetune_tui.core.training.plan import Plan
from finetune_tui.core.training.reporter import Reporter
from finetune_tui.core.tuning.refusals import Machine
from finetune_tui.core.tuning.resolve import selection_of
from finetune_tui.core.tuning.spec import Spec
from finetune_tui.core.tuning.spec_file import write_spec

from .conftest import MakeRun, kinds, supervise, wait_for

SCARCE = Path(__file__).with_name("scarce.py")
OWN = os.getpid()
UUID = "GPU-8f1c0000-1111-2222-3333-444455556666"

Events = list[dict[str, Any]]


def gpu(used: int = 2 * GIB, total: int = 24 * GIB, **values: Any) -> Gpu:
    known = {"uuid": UUID, "name": "RTX 4090", "driver": "580.95", "processes": ()}
    return Gpu(0, used=used, total=total, free=total - used, **{**known, **values})


def hardware(*gpus: Gpu) -> Hardware:
    return Hardware(
        time=0.0, gpus=gpus, driver="580.95", memory_available=GIB, memory_total=8 * GIB
    )


def plan(model: str = "microsoft/phi-2", on_gpu: bool = True, **values: Any) -> Plan:
    spec = Spec(model_name_or_path=model, preset="attention-refinement", use_cpu=not on_gpu)
    spec = spec.changed(**values)
    manifest = catalog()[model].manifest()
    device = Device(torch.device("cuda", 0), torch.bfloat16)
    if not on_gpu:
        device = Device(torch.device("cpu"), torch.float32)
    machine = Machine(on_gpu=on_gpu, has_package=lambda _: True)
    return Plan(spec, find_model(model), manifest, selection_of(spec, manifest), device, machine)


# What is free


def test_on_a_gpu_what_the_driver_says_and_who_has_the_rest() -> None:
    strangers = (
        GpuProcess(41, GIB),
        GpuProcess(OWN, GIB),
        GpuProcess(42, None),
        GpuProcess(43, 3 * GIB),
    )
    found = free_memory(True, gpu(used=6 * GIB, processes=strangers), hardware())
    assert found.bytes == 19 * GIB  # its own gigabyte is free to itself
    assert (found.place, found.total) == ("GPU0 RTX 4090", 24 * GIB)
    assert found.holders == "pid 43 holds 3.0G, pid 41 holds 1.0G, pid 42 holds an unseen share"


def test_where_a_container_hides_processes_it_says_so() -> None:
    found = free_memory(True, gpu(processes=None), hardware())
    assert (found.bytes, found.holders) == (22 * GIB, "who holds the rest is unseen")


def test_without_nvml_torch_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (7 * GIB, 8 * GIB))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "Orin\x1b[31m")
    for seen in (None, dataclasses.replace(gpu(), free=None)):
        found = free_memory(True, seen, hardware())
        assert found.bytes == 7 * GIB + GIB // 2  # asking took the context, which is predicted too
        assert "\x1b" not in found.place


def test_on_the_cpu_what_the_machine_has_left_and_the_worker_holds() -> None:
    found = free_memory(False, None, hardware())
    assert found.bytes is not None
    assert GIB < found.bytes < 3 * GIB
    unknown = dataclasses.replace(hardware(), memory_available=None)
    assert free_memory(False, None, unknown).bytes is None


# Refused, warned of, let through


def ask(share: float, holders: str = "", **values: Any) -> str | None:
    made = plan(**values)
    predicted = made.estimate(made.spec, None)
    free = Free(int(predicted.device * share), 24 * GIB, "GPU0 RTX 4090", holders)
    return require_memory(made, made.spec, predicted, free)


def test_what_fits_for_certain_is_nobodys_business() -> None:
    assert ask(1.5) is None


def test_within_the_band_it_is_warned_and_goes_on() -> None:
    assert "it may not fit: about 20.3G ±1.8G" in (ask(1.0) or "")


def test_what_does_not_fit_is_refused_with_numbers_holders_and_a_way_out() -> None:
    with pytest.raises(UserError) as raised:
        ask(0.5, "pid 41 holds 20.0G")
    words = str(raised.value)
    assert words.count("\n") == 0
    assert words.startswith("GPU0 RTX 4090: it does not fit: about 20.3G ±1.8G")
    assert "of 24.0G is free: pid 41 holds 20.0G; would fit: " in words
    assert "would fit: gradient_checkpointing: true" in words
    assert words.endswith("memory_check: false starts all the same")


def test_when_nothing_fits_it_says_what_would_do() -> None:
    with pytest.raises(UserError, match="nothing of it fits: free memory, or take a card of 8 GB"):
        ask(0.05)


def test_whoever_insists_is_only_warned() -> None:
    assert "memory_check is off: about 20.3G ±1.8G" in (ask(0.5, memory_check=False) or "")


def test_unknown_memory_refuses_nothing() -> None:
    made = plan()
    unknown = Free(None, None, "this machine")
    assert require_memory(made, made.spec, made.estimate(made.spec, None), unknown) is None


# Which GPU, and how much of it is this process's


def test_the_chosen_gpu_is_found_among_others(monkeypatch: pytest.MonkeyPatch) -> None:
    other = dataclasses.replace(gpu(), index=1, uuid="GPU-00000000-1")
    machine = hardware(other, gpu())
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert chosen_gpu(machine, (UUID,)) == gpu()
    assert chosen_gpu(machine, (UUID[:8],)) == gpu()
    assert chosen_gpu(machine, ()) is None  # nobody says which
    assert chosen_gpu(hardware(other), ()) == other
    assert chosen_gpu(hardware(), ()) is None
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", f"{UUID},GPU-0")
    assert chosen_gpu(machine, ()) == gpu()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1,0")  # numbers are in CUDA's order, not NVML's
    assert chosen_gpu(machine, ()) is None


@pytest.mark.parametrize(
    ("processes", "used", "before", "held"),
    [
        ((GpuProcess(OWN, 9 * GIB),), 12 * GIB, 3 * GIB, 9 * GIB),
        ((GpuProcess(OWN, None),), 12 * GIB, 3 * GIB, 9 * GIB),  # no share of its own is told
        (None, 12 * GIB, 3 * GIB, 9 * GIB),  # a container hides them
        ((GpuProcess(OWN + 1, 9 * GIB),), 12 * GIB, 3 * GIB, 9 * GIB),  # or lists other numbers
        ((GpuProcess(OWN, GIB),), 12 * GIB, 3 * GIB, 9 * GIB),  # a stranger with this number
        (None, 12 * GIB, None, None),
        (None, None, 3 * GIB, None),
        (None, 20 * GIB, 3 * GIB, None),  # somebody came meanwhile
        (None, 9 * GIB, 3 * GIB, None),  # somebody left
    ],
)
def test_what_this_process_holds(
    processes: tuple[GpuProcess, ...] | None, used: int | None, before: int | None, held: int | None
) -> None:
    seen = dataclasses.replace(gpu(), used=used, processes=processes)
    assert held_on_gpu(seen, before, reserved=8 * GIB + 500 * MIB) == held


def test_no_gpu_that_is_seen_holds_nothing_known() -> None:
    assert held_on_gpu(None, 0, GIB) is None


# Measured and remembered, with a GPU that NVML and torch make up


@pytest.fixture
def made(tmp_path: Path) -> tuple[RunDirectory, Reporter]:
    run = create_run(tmp_path, write_spec(plan().spec), "x")
    return run, Reporter(run)


def fake_cuda(monkeypatch: pytest.MonkeyPatch, seen: Gpu) -> None:
    monkeypatch.setattr(metering, "read_hardware", lambda: hardware(seen))
    for name, value in {
        "memory_reserved": 8 * GIB,
        "max_memory_reserved": 9 * GIB,
        "max_memory_allocated": 7 * GIB,
    }.items():
        monkeypatch.setattr(torch.cuda, name, lambda value=value: value)


def told(run: RunDirectory) -> Events:
    return [event for event in read_events(run.events_path) if event["kind"] == "memory"]


@pytest.mark.parametrize("processes", [(GpuProcess(OWN, 8 * GIB + 420 * MIB),), None])
def test_a_run_on_a_gpu_tells_its_peak_and_keeps_the_context(
    tmp_path: Path,
    made: tuple[RunDirectory, Reporter],
    monkeypatch: pytest.MonkeyPatch,
    processes: tuple[GpuProcess, ...] | None,
) -> None:
    run, reporter = made
    now = gpu(used=10 * GIB + 420 * MIB, processes=processes)
    fake_cuda(monkeypatch, now)
    meter = Meter(run, plan(), hardware(gpu()), reporter)
    meter.expect(2, 8, 300)
    with meter.watching():
        meter.began()
        meter.stepped(1, 1)
    first, last = told(run)
    assert (first["when"], first["step"], first["rows"], first["tokens"]) == (
        "first steps",
        1,
        2,
        300,
    )
    assert last["when"] == "end"
    for event in (first, last):
        assert event["peak_allocated"] == 7 * GIB
        assert event["peak_reserved"] == 9 * GIB
        assert event["peak_device"] == 9 * GIB + 420 * MIB
        assert event["context"] == 420 * MIB
        assert 0 < event["predicted_allocated"] < event["predicted_reserved"]
        assert event["predicted_band"] > 0
    assert context_for(tmp_path, now) == 420 * MIB
    again = Meter(run, plan(), hardware(gpu()), reporter)
    assert again.predicted.breakdown.context == 420 * MIB


def test_what_cannot_be_seen_is_null_and_not_kept(
    tmp_path: Path, made: tuple[RunDirectory, Reporter], monkeypatch: pytest.MonkeyPatch
) -> None:
    run, reporter = made
    fake_cuda(monkeypatch, dataclasses.replace(gpu(), used=None, processes=None))
    meter = Meter(run, plan(), hardware(), reporter)
    with meter.watching():
        meter.began()
    (event,) = told(run)
    assert (event["peak_device"], event["context"]) == (None, None)
    assert event["peak_reserved"] == 9 * GIB
    assert event.keys() >= set(FIGURES)
    assert not (tmp_path / "calibration.json").exists()


def test_a_paged_optimizer_is_not_taken_for_the_context(
    tmp_path: Path, made: tuple[RunDirectory, Reporter], monkeypatch: pytest.MonkeyPatch
) -> None:
    run, reporter = made
    fake_cuda(monkeypatch, gpu(used=11 * GIB))
    meter = Meter(run, plan(optim="paged_adamw_8bit"), hardware(gpu()), reporter)
    with meter.watching():
        meter.began()
    assert told(run)[0]["context"] == GIB
    assert not (tmp_path / "calibration.json").exists()


def test_an_out_of_memory_says_what_was_predicted(
    made: tuple[RunDirectory, Reporter], monkeypatch: pytest.MonkeyPatch
) -> None:
    run, reporter = made
    fake_cuda(monkeypatch, gpu())
    meter = Meter(run, plan(), hardware(gpu()), reporter)
    meter.check()
    meter.began()
    full = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
    with pytest.raises(WorkFailed) as raised, meter.watching():
        raise full
    words = str(raised.value)
    assert words.startswith("the GPU's memory is full; predicted were 20.3G ±1.8G for 2 × 1024")
    assert "2 × 1024 tokens, 22.0G was free at the start" in words
    assert [event["when"] for event in told(run)] == ["end"]


def test_what_is_hopeless_is_refused_without_knowing_the_data(
    made: tuple[RunDirectory, Reporter], monkeypatch: pytest.MonkeyPatch
) -> None:
    run, reporter = made
    fake_cuda(monkeypatch, gpu(used=20 * GIB))  # Phi-2 alone has 5.2 GiB
    meter = Meter(run, plan(), hardware(gpu()), reporter)
    with pytest.raises(UserError, match="it does not fit"):
        meter.refuse_hopeless()
    fake_cuda(monkeypatch, gpu(used=14 * GIB))
    meter.refuse_hopeless()  # short rows would do
    with pytest.raises(UserError, match="it does not fit"):
        meter.check()


def test_other_errors_go_their_way(made: tuple[RunDirectory, Reporter]) -> None:
    run, reporter = made
    meter = Meter(run, plan(on_gpu=False), hardware(), reporter)
    with pytest.raises(KeyError), meter.watching():
        raise KeyError
    assert told(run) == []  # nothing was trained


def test_a_rehearsal_keeps_what_it_measured_in_the_real_home(tmp_path: Path) -> None:
    assert home_of(RunDirectory(tmp_path / "runs" / "r1-x")) == tmp_path
    inside = tmp_path / "rehearsals" / ".0a1b" / "runs" / "r1-x"
    assert home_of(RunDirectory(inside)) == tmp_path


# Through the real supervisor and worker, on the CPU


def finish_scarce(run: RunDirectory, share: float, looks: int = 1) -> Events:
    command = [sys.executable, "-m", "finetune_tui.core.runs.supervisor", str(run.path), "--"]
    command += [sys.executable, str(SCARCE), str(share), str(looks), str(run.path)]
    subprocess.run(command, stdin=subprocess.DEVNULL, timeout=240, check=False)
    return list(read_events(run.events_path))


@pytest.mark.training
def test_the_worker_refuses_before_it_loads_a_weight(make_run: MakeRun) -> None:
    run = make_run()
    events = finish_scarce(run, 0.5, looks=2)  # the first look is before anything is downloaded
    assert run.state().status is Status.FAILED
    assert "it does not fit: about" in events[-1]["message"]
    assert events[-1]["where"] == "this machine"
    assert "memory_check: false starts all the same" in events[-1]["hint"]
    assert "data" in kinds(events)  # so that the longest row is known
    assert "applying" not in [event.get("phase") for event in events]


@pytest.mark.training
def test_a_run_that_insists_is_warned_and_tells_its_memory(make_run: MakeRun) -> None:
    run = make_run(max_steps=3, eval_steps=0, save_steps=0, memory_check=False)
    events = finish_scarce(run, 0.5)
    assert run.state().status is Status.FINISHED, run.log_path.read_text()[-2000:]
    warned = [event["where"] for event in events if event["kind"] == "warning"]
    assert warned.count("this machine") == 1
    memory = told(run)
    assert [(event["when"], event["step"]) for event in memory] == [
        ("first steps", 1),
        ("first steps", 2),
        ("end", 3),
    ]
    assert kinds(events)[-2:] == ["memory", "finished"]
    for event in (*memory, events[-1]):
        assert event["peak_device"] == event["peak_memory"] > 200 * MIB
        assert abs(event["peak_device"] - event["predicted_device"]) < event["peak_device"] / 3
        unknown = {name for name in FIGURES if event[name] is None}
        assert {name.rpartition("_")[2] for name in unknown} == {"allocated", "reserved"}
    assert memory[-1]["tokens"] == next(e["longest"] for e in events if e["kind"] == "data")


@pytest.mark.soak
@pytest.mark.training
def test_a_run_that_is_stopped_has_said_it_early_and_says_it_again(make_run: MakeRun) -> None:
    run = make_run(max_steps=2000, eval_steps=0, save_steps=0)
    process = supervise(run)
    wait_for(run, "memory", step=2)  # that is all there would be of a killed run
    drop_request(run, "stop")
    process.wait(timeout=60)
    assert run.state().status is Status.STOPPED
    assert [event["when"] for event in told(run)] == ["first steps", "first steps", "end"]
