"""Hardware snapshots with an NVML that lacks this or that."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune_tui.core import hardware
from finetune_tui.core.hardware import GpuProcess, read_hardware

GIB = 2**30


class NVMLError(Exception):
    """As the binding names its base class."""


class NVMLError_LibraryNotFound(NVMLError):  # noqa: N801 (the binding's name)
    pass


class FakeNvml:
    """Answers like the binding, for one GPU; `missing` names the functions that refuse."""

    def __init__(self, missing: frozenset[str] = frozenset(), used: int = 9 * GIB) -> None:
        self.missing = missing
        self.used = used
        self.processes = [SimpleNamespace(pid=41, usedGpuMemory=8 * GIB)]
        self.slices: list[str] = []
        self.mig = 0

    def __getattribute__(self, name: str) -> Any:
        if name.startswith("nvml") and name in object.__getattribute__(self, "missing"):
            raise NVMLError("Not Supported")
        return object.__getattribute__(self, name)

    def nvmlInit(self) -> None: ...  # noqa: N802
    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        return 1

    def nvmlSystemGetDriverVersion(self) -> bytes:  # noqa: N802
        return b"580.95"

    def nvmlSystemGetCudaDriverVersion_v2(self) -> int:  # noqa: N802
        return 13010

    def nvmlDeviceGetHandleByIndex(self, index: int) -> str:  # noqa: N802
        return f"gpu{index}"

    def nvmlDeviceGetUUID(self, handle: str) -> str:  # noqa: N802
        return f"GPU-{handle}"

    def nvmlDeviceGetName(self, handle: str) -> str:  # noqa: N802
        return "NVIDIA A100\x1b[31m"

    def nvmlDeviceGetMemoryInfo(self, handle: str) -> Any:  # noqa: N802
        total = 5 * GIB if handle.startswith("slice") else 40 * GIB
        return SimpleNamespace(total=total, used=self.used, free=total - self.used)

    def nvmlDeviceGetUtilizationRates(self, handle: str) -> Any:  # noqa: N802
        return SimpleNamespace(gpu=98, memory=12)

    def nvmlDeviceGetTemperature(self, handle: str, sensor: int) -> int:  # noqa: N802
        return 71

    def nvmlDeviceGetPowerUsage(self, handle: str) -> int:  # noqa: N802
        return 412_500

    def nvmlDeviceGetEnforcedPowerLimit(self, handle: str) -> int:  # noqa: N802
        return 450_000

    def nvmlDeviceGetCudaComputeCapability(self, handle: str) -> tuple[int, int]:  # noqa: N802
        return 8, 0

    def nvmlDeviceGetComputeRunningProcesses(self, handle: str) -> list[Any]:  # noqa: N802
        return self.processes

    def nvmlDeviceGetGraphicsRunningProcesses(self, handle: str) -> list[Any]:  # noqa: N802
        return []

    def nvmlDeviceGetMigMode(self, handle: str) -> list[int]:  # noqa: N802
        return [self.mig, self.mig]

    def nvmlDeviceGetMaxMigDeviceCount(self, handle: str) -> int:  # noqa: N802
        return 7

    def nvmlDeviceGetMigDeviceHandleByIndex(self, handle: str, index: int) -> str:  # noqa: N802
        if index >= len(self.slices):
            raise NVMLError("Not Found")
        return self.slices[index]


FUNCTIONS = sorted(name for name in dir(FakeNvml) if name.startswith("nvml"))


def test_a_gpu_that_answers_everything() -> None:
    found = read_hardware(nvml=FakeNvml())
    (gpu,) = found.gpus
    assert found.gpu_error is None
    assert (found.driver, found.cuda) == ("580.95", "13.1")
    assert (gpu.name, gpu.uuid) == ("NVIDIA A100", "GPU-gpu0")
    assert (gpu.total, gpu.used, gpu.free) == (40 * GIB, 9 * GIB, 31 * GIB)
    assert (gpu.utilization, gpu.temperature, gpu.power, gpu.power_limit) == (98, 71, 412.5, 450.0)
    assert gpu.compute_capability == "8.0"
    assert gpu.processes == (GpuProcess(41, 8 * GIB),)
    assert gpu.used_by(frozenset({41})) == 8 * GIB
    assert gpu.used_by(frozenset({42})) == 0


@given(st.frozensets(st.sampled_from(FUNCTIONS)))
def test_any_function_may_be_missing(missing: frozenset[str]) -> None:
    found = read_hardware(nvml=FakeNvml(missing))
    assert bool(found.gpus) != bool(found.gpu_error)
    json.dumps(found.to_json())


@pytest.mark.parametrize("name", FUNCTIONS)
def test_one_missing_field_leaves_the_others(name: str) -> None:
    if name in ("nvmlInit", "nvmlDeviceGetCount", "nvmlDeviceGetHandleByIndex"):
        pytest.skip("not a field")
    whole = read_hardware(nvml=FakeNvml()).gpus[0]
    without = read_hardware(nvml=FakeNvml(frozenset({name}))).gpus[0]
    lost = [
        field
        for field in whole.__dataclass_fields__
        if getattr(whole, field) != getattr(without, field)
    ]
    assert all(getattr(without, field) is None for field in lost)
    assert len(lost) <= 3  # total, used and free come together


def test_a_lost_gpu_is_listed_with_its_error() -> None:
    found = read_hardware(nvml=FakeNvml(frozenset({"nvmlDeviceGetHandleByIndex"})))
    assert found.gpus[0].error == "Not Supported"
    assert found.gpus[0].total is None


def test_no_driver_is_said_in_words() -> None:
    class NoDriver:
        def nvmlInit(self) -> None:  # noqa: N802
            raise NVMLError_LibraryNotFound("NVML Shared Library Not Found")

    found = read_hardware(nvml=NoDriver())
    assert found.gpus == ()
    assert found.gpu_error == "no NVIDIA driver on this machine"


def test_mig_slices_are_listed_with_their_own_memory_and_no_utilization() -> None:
    nvml = FakeNvml(used=GIB)
    nvml.mig = 1
    nvml.slices = ["slice0", "slice1"]
    gpus = read_hardware(nvml=nvml).gpus
    assert [gpu.uuid for gpu in gpus] == ["GPU-slice0", "GPU-slice1"]
    assert all(gpu.mig and gpu.total == 5 * GIB and gpu.utilization is None for gpu in gpus)
    assert all(gpu.temperature == 71 for gpu in gpus)


def test_mig_without_a_readable_slice_shows_the_whole_gpu() -> None:
    nvml = FakeNvml()
    nvml.mig = 1
    (gpu,) = read_hardware(nvml=nvml).gpus
    assert gpu.mig
    assert gpu.uuid == "GPU-gpu0"
    assert gpu.utilization is None


@pytest.mark.parametrize(
    ("sees_all", "used", "expected"),
    [(True, GIB // 2, ()), (True, 9 * GIB, None), (False, GIB // 2, None), (False, 9 * GIB, None)],
)
def test_an_empty_process_list_is_unseen_unless_the_machine_shows_all(
    monkeypatch: pytest.MonkeyPatch, sees_all: bool, used: int, expected: object
) -> None:
    monkeypatch.setattr(hardware, "_sees_every_process", lambda: sees_all)
    nvml = FakeNvml(used=used)
    nvml.processes = []
    assert read_hardware(nvml=nvml).gpus[0].processes == expected


def test_a_process_whose_memory_is_hidden() -> None:
    nvml = FakeNvml()
    nvml.processes = [SimpleNamespace(pid=41, usedGpuMemory=None)]
    (gpu,) = read_hardware(nvml=nvml).gpus
    assert gpu.processes == (GpuProcess(41, None),)
    assert gpu.used_by(frozenset({41})) is None


def test_this_machine(tmp_path: Path) -> None:
    first = read_hardware(tmp_path / "not" / "made")
    assert first.disk_path == str(tmp_path)
    assert None not in (first.disk_total, first.disk_free, first.memory_total, first.memory_used)
    assert first.cpus
    again = read_hardware(tmp_path)
    assert again.cpu_percent is None or 0 <= again.cpu_percent <= 100
    assert json.loads(json.dumps(again.to_json()))["disk_path"] == str(tmp_path)
