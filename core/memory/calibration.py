"""What CUDA itself takes on this machine's GPUs, as the runs that ended here measured it.

That one constant only: the bytes a process holds on its GPU beyond what torch's allocator reserved, which
vary with card, driver and torch. Nothing of the estimate is fitted.
"""

import json
import statistics
import time
from dataclasses import asdict, dataclass
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, TypeGuard

from finetune_tui.core.errors import UserError
from finetune_tui.core.files import read_json, write_atomically
from finetune_tui.core.hardware import Gpu

LEAST, MOST = 2**30 // 10, 2 * 2**30
"""Bytes: less or more is no CUDA context, but something else that came or went meanwhile."""

_FILE = "calibration.json"
_COUNTED = 5  # the newest measurements, of which the median counts
_KEPT = 100  # of all GPUs, drivers and versions of torch
_LARGEST_FILE = 2**20  # bytes
_LONGEST = 200  # characters of a name


@dataclass(frozen=True, slots=True)
class Measurement:
    """context: bytes. gpu: its name. torch: the version installed then. time: seconds since 1970."""

    gpu: str
    driver: str
    torch: str
    context: int
    time: float

    @classmethod
    def from_json(cls, value: Any) -> "Measurement | None":
        """None for what is no measurement, or no plausible one."""
        if not isinstance(value, dict):
            return None
        gpu, driver, torch = (value.get(name) for name in ("gpu", "driver", "torch"))
        context, at = value.get("context"), value.get("time")
        if not (_is_name(gpu) and _is_name(driver) and _is_name(torch)):
            return None
        if not isinstance(context, int) or not LEAST <= context <= MOST:
            return None
        if not isinstance(at, (int, float)) or not 0 <= at < 2**53:
            return None
        return cls(gpu, driver, torch, context, at)


def context_for(home: Path, gpu: Gpu | None) -> int | None:
    """Bytes CUDA takes on this GPU with this driver: the median of what the last runs measured.

    Those of the torch installed here, where there are any. None: never measured. Never raises.
    """
    if gpu is None or gpu.name is None or gpu.driver is None:
        return None
    found = [one for one in _read(home) if (one.gpu, one.driver) == (gpu.name, gpu.driver)]
    torch = installed_torch()
    found = [one for one in found if one.torch == torch] or found
    newest = sorted(found, key=lambda one: one.time)[-_COUNTED:]
    return int(statistics.median(one.context for one in newest)) if newest else None


def remember_context(home: Path, gpu: Gpu, context: int) -> bool:
    """Keep what a run measured; False when it is not plausible or the GPU does not say what it is.

    Of two runs that end in the same moment one may be lost: the next one measures again. Raises OSError.
    """
    if gpu.name is None or gpu.driver is None or not LEAST <= context <= MOST:
        return False
    now = Measurement(gpu.name, gpu.driver, installed_torch(), context, round(time.time(), 3))
    kept = sorted([*_read(home), now], key=lambda one: one.time)[-_KEPT:]
    lines = ",\n".join(json.dumps(asdict(one)) for one in kept)
    write_atomically(home / _FILE, f'{{"contexts": [\n{lines}\n]}}\n', durable=False)
    return True


@lru_cache(maxsize=1)
def installed_torch() -> str:
    """The version of torch that is installed, without importing it; empty when there is none."""
    try:
        return version("torch")
    except PackageNotFoundError:
        return ""


def _is_name(value: Any) -> TypeGuard[str]:
    return isinstance(value, str) and len(value) <= _LONGEST


def _read(home: Path) -> list[Measurement]:
    """What is whole and plausible of the file; a damaged one counts as empty."""
    try:
        content = read_json(home / _FILE, _LARGEST_FILE)
    except UserError:
        return []
    values = content.get("contexts") if isinstance(content, dict) else None
    listed = values if isinstance(values, list) else []
    return [one for value in listed if (one := Measurement.from_json(value))]
