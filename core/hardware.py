"""GPUs, processor, memory and disk as frozen snapshots. Any field may be missing, none is guessed.

NVML is read through `pynvml`, one field at a time: an old driver, a MIG slice, a card without a fan
or a sensor, a container that hides processes each take away some fields and leave the others.
"""

import contextlib
import dataclasses
import importlib
import os
import shutil
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finetune_tui.core.cgroups import memory_group
from finetune_tui.core.text import plain

# The first pid namespace of a Linux machine; containers have others, where NVML lists no strangers.
_MACHINE_NAMESPACE = "pid:[4026531836]"
# Memory a GPU without a single process may hold for its own driver, bytes.
_DRIVER_SHARE = 2**30


@dataclass(frozen=True, slots=True)
class GpuProcess:
    """used: bytes, None where the driver does not say."""

    pid: int | None
    used: int | None


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU, or one MIG slice of one (then `index` is that of the whole GPU).

    total, used, free: bytes. utilization: percent. temperature: °C. power, power_limit: watts.
    processes: None when they cannot be seen, which is not to say that there are none.
    """

    index: int
    uuid: str | None = None
    name: str | None = None
    total: int | None = None
    used: int | None = None
    free: int | None = None
    utilization: int | None = None
    temperature: int | None = None
    power: float | None = None
    power_limit: float | None = None
    driver: str | None = None
    compute_capability: str | None = None
    mig: bool = False
    processes: tuple[GpuProcess, ...] | None = None
    error: str | None = None

    def used_by(self, pids: frozenset[int]) -> int | None:
        """Bytes held by these processes, None when processes or their memory are unseen."""
        if self.processes is None:
            return None
        shares = [process.used for process in self.processes if process.pid in pids]
        known = [share for share in shares if share is not None]
        return sum(known) if len(known) == len(shares) else None


@dataclass(frozen=True, slots=True)
class Hardware:
    """time: seconds since 1970. Sizes in bytes. gpu_error: why `gpus` is empty, in words.

    driver, cuda: versions of the NVIDIA driver and the newest CUDA it runs. memory_*: those of this
    process's container where it has a limit of its own. cpu_percent: since the snapshot before.
    """

    time: float
    gpus: tuple[Gpu, ...] = ()
    gpu_error: str | None = None
    driver: str | None = None
    cuda: str | None = None
    cpus: int | None = None
    cpu_percent: float | None = None
    memory_total: int | None = None
    memory_used: int | None = None
    memory_available: int | None = None
    disk_path: str | None = None
    disk_total: int | None = None
    disk_free: int | None = None

    def to_json(self) -> dict[str, Any]:
        values = dataclasses.asdict(self)
        for gpu in values["gpus"]:
            gpu["processes"] = None if gpu["processes"] is None else list(gpu["processes"])
        values["gpus"] = list(values["gpus"])
        return values


def read_hardware(disk_path: Path | None = None, nvml: Any = None) -> Hardware:
    """A snapshot of now; takes milliseconds, seconds when a GPU has to wake up. Never raises.

    disk_path: what to measure the disk of, made or not yet; without it the disk is unknown.
    nvml: stands in for `pynvml`.
    """
    gpus, gpu_error, driver, cuda = _read_gpus(nvml)
    total, used, available = _read_memory()
    disk = _existing(disk_path) if disk_path else None
    disk_total, disk_free = _read_disk(disk) if disk else (None, None)
    return Hardware(
        time=time.time(),
        gpus=gpus,
        gpu_error=gpu_error,
        driver=driver,
        cuda=cuda,
        cpus=_count_cpus(),
        cpu_percent=_CPU.percent(),
        memory_total=total,
        memory_used=used,
        memory_available=available,
        disk_path=str(disk) if disk else None,
        disk_total=disk_total,
        disk_free=disk_free,
    )


class _Nvml:
    """NVML's functions by name, each of which may be missing, refuse, or not be supported."""

    def __init__(self, library: Any) -> None:
        self.library = library

    def ask(self, function: str, *arguments: Any) -> Any:
        """The answer, or None: one missing field never takes another with it."""
        try:
            return getattr(self.library, function)(*arguments)
        except Exception:  # "not supported" comes in a dozen kinds, some of them ctypes errors
            return None

    def number(self, function: str, *arguments: Any) -> int | None:
        return _count(self.ask(function, *arguments))

    def text(self, function: str, *arguments: Any) -> str | None:
        value = self.ask(function, *arguments)
        if isinstance(value, bytes):  # older bindings
            value = value.decode("utf-8", "replace")
        return plain(value, 200) if isinstance(value, str) and value else None

    def watts(self, function: str, *arguments: Any) -> float | None:
        milliwatts = self.number(function, *arguments)
        return None if milliwatts is None else milliwatts / 1000


def _read_gpus(library: Any) -> tuple[tuple[Gpu, ...], str | None, str | None, str | None]:
    """The GPUs, why there are none, the versions of driver and CUDA."""
    try:
        library = library or importlib.import_module("pynvml")
        # Again at each snapshot: when already done it only counts, and a driver that was reloaded
        # meanwhile is found again. Never undone: waking the driver anew takes seconds.
        library.nvmlInit()
        count = library.nvmlDeviceGetCount()
    except Exception as error:  # a library of the driver's: anything may come out of it
        return (), _no_gpu_words(error), None, None
    nvml = _Nvml(library)
    driver = nvml.text("nvmlSystemGetDriverVersion")
    cuda = nvml.number("nvmlSystemGetCudaDriverVersion_v2")
    gpus = tuple(gpu for index in range(count) for gpu in _read_gpu(nvml, index, driver))
    missing = None if gpus else "the NVIDIA driver sees no GPU"
    return gpus, missing, driver, f"{cuda // 1000}.{cuda % 1000 // 10}" if cuda else None


def _read_gpu(nvml: _Nvml, index: int, driver: str | None) -> list[Gpu]:
    try:
        handle = nvml.library.nvmlDeviceGetHandleByIndex(index)
    except Exception as error:  # a GPU that fell off the bus leaves the others readable
        return [Gpu(index, driver=driver, error=_error_words(error))]
    whole = _read_device(nvml, index, handle, driver)
    mig_mode = nvml.ask("nvmlDeviceGetMigMode", handle)
    if not mig_mode or mig_mode[0] != 1:
        return [whole]
    slices = _read_slices(nvml, handle, whole)
    return slices or [dataclasses.replace(whole, mig=True, utilization=None)]


def _read_device(nvml: _Nvml, index: int, handle: Any, driver: str | None) -> Gpu:
    memory = nvml.ask("nvmlDeviceGetMemoryInfo", handle)
    load = nvml.ask("nvmlDeviceGetUtilizationRates", handle)
    capability = nvml.ask("nvmlDeviceGetCudaComputeCapability", handle)
    used = _count(getattr(memory, "used", None))
    return Gpu(
        index=index,
        uuid=nvml.text("nvmlDeviceGetUUID", handle),
        name=nvml.text("nvmlDeviceGetName", handle),
        total=_count(getattr(memory, "total", None)),
        used=used,
        free=_count(getattr(memory, "free", None)),
        utilization=_count(getattr(load, "gpu", None)),
        temperature=nvml.number("nvmlDeviceGetTemperature", handle, 0),  # 0: the chip's own sensor
        power=nvml.watts("nvmlDeviceGetPowerUsage", handle),
        power_limit=nvml.watts("nvmlDeviceGetEnforcedPowerLimit", handle),
        driver=driver,
        compute_capability=f"{capability[0]}.{capability[1]}" if capability else None,
        processes=_read_processes(nvml, handle, used),
    )


def _read_slices(nvml: _Nvml, handle: Any, whole: Gpu) -> list[Gpu]:
    """The MIG slices that can be seen: each has its own memory, and no utilization of its own."""
    slices = []
    for number in range(nvml.number("nvmlDeviceGetMaxMigDeviceCount", handle) or 0):
        part = nvml.ask("nvmlDeviceGetMigDeviceHandleByIndex", handle, number)
        if part is None:  # an empty slot, or a slice that was given to someone else
            continue
        found = _read_device(nvml, whole.index, part, whole.driver)
        slices.append(
            dataclasses.replace(
                found,
                name=found.name or whole.name,
                temperature=whole.temperature,
                power=whole.power,
                power_limit=whole.power_limit,
                compute_capability=found.compute_capability or whole.compute_capability,
                utilization=None,
                mig=True,
            )
        )
    return slices


def _read_processes(nvml: _Nvml, handle: Any, used: int | None) -> tuple[GpuProcess, ...] | None:
    """None when there may be processes that are not listed: an empty list is believed only where
    the driver shows every process of the machine and the memory looks empty too."""
    computing = nvml.ask("nvmlDeviceGetComputeRunningProcesses", handle)
    if computing is None:
        return None
    drawing = nvml.ask("nvmlDeviceGetGraphicsRunningProcesses", handle)
    found: dict[int | None, GpuProcess] = {}
    for process in [*(drawing or []), *computing]:
        pid = _count(getattr(process, "pid", None))
        found[pid] = GpuProcess(pid, _count(getattr(process, "usedGpuMemory", None)))
    hidden = not _sees_every_process() or used is None or used > _DRIVER_SHARE
    return None if not found and hidden else tuple(found.values())


def _sees_every_process() -> bool:
    try:
        return str(Path("/proc/self/ns/pid").readlink()) == _MACHINE_NAMESPACE
    except OSError:
        return False


def _read_memory() -> tuple[int | None, int | None, int | None]:
    import psutil  # here, because it is a tenth of the app's start

    try:
        machine = psutil.virtual_memory()
    except (OSError, psutil.Error, ValueError):
        return None, None, None
    group = memory_group()
    total, available = int(machine.total), int(machine.available)
    if group.limit is None or group.limit >= total:
        return total, total - available, available
    if group.used is None:
        return group.limit, None, None
    return group.limit, group.used, min(max(group.limit - group.used, 0), available)


def _read_disk(path: Path) -> tuple[int | None, int | None]:
    try:
        usage = shutil.disk_usage(path)
    except OSError:
        return None, None
    return usage.total, usage.free


def _existing(path: Path) -> Path:
    """The folder that a path not yet made would be made in."""
    for folder in (path, *path.parents):
        with contextlib.suppress(OSError):
            if folder.exists():
                return folder
    return path


def _count_cpus() -> int | None:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count()


class _CpuMeter:
    """Busy share of all processors since the last look. psutil's own remembers by thread, and
    snapshots come from whatever thread is free."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._before: tuple[float, float] | None = None

    def percent(self) -> float | None:
        """0 to 100; None at the first look."""
        now = self._read()
        with self._lock:
            before, self._before = self._before, now
        if before is None or now is None or now[1] <= before[1]:
            return None
        share = 100 * (now[0] - before[0]) / (now[1] - before[1])
        return round(min(max(share, 0.0), 100.0), 1)

    @staticmethod
    def _read() -> tuple[float, float] | None:
        """Busy and all seconds since the machine started."""
        import psutil

        try:
            times = psutil.cpu_times()
        except (OSError, psutil.Error, ValueError):
            return None
        # On Linux guest time is part of user time already.
        total = sum(times) - getattr(times, "guest", 0.0) - getattr(times, "guest_nice", 0.0)
        return total - times.idle - getattr(times, "iowait", 0.0), total


_CPU = _CpuMeter()


def _count(value: Any) -> int | None:
    return value if type(value) is int and value >= 0 else None


def _no_gpu_words(error: Exception) -> str:
    if isinstance(error, ImportError):
        return "GPUs cannot be read: the package nvidia-ml-py is missing"
    words = {
        "NVMLError_LibraryNotFound": "no NVIDIA driver on this machine",
        "NVMLError_DriverNotLoaded": "the NVIDIA driver is installed and not loaded",
        "NVMLError_LibRmVersionMismatch": "the NVIDIA driver was updated: restart the machine",
        "NVMLError_NoPermission": "no permission to read the NVIDIA driver",
    }
    return words.get(type(error).__name__) or f"GPUs cannot be read: {_error_words(error)}"


def _error_words(error: Exception) -> str:
    return plain(str(error) or type(error).__name__, 200)
