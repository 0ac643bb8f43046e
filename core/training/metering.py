"""The memory a run takes, beside what was predicted for its largest batch; both stand in its events."""

import contextlib
import os
import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psutil
import torch
from transformers import TrainerCallback

from finetune_tui.core.errors import WorkFailed
from finetune_tui.core.hardware import Gpu, Hardware, read_hardware
from finetune_tui.core.memory.calibration import LEAST, MOST, context_for, remember_context
from finetune_tui.core.memory.free import Free
from finetune_tui.core.runs.directory import RunDirectory
from finetune_tui.core.text import size
from finetune_tui.core.training.memory_check import free_memory, require_memory
from finetune_tui.core.training.out_of_memory import is_out_of_memory
from finetune_tui.core.training.plan import Plan
from finetune_tui.core.training.reporter import Reporter
from finetune_tui.core.tuning.spec import FIELDS, Spec

_MAXRSS_UNIT = 1 if sys.platform == "darwin" else 1024  # bytes
_TOLD_STEPS = 2  # the optimizer's state is there from the second on


@dataclass(frozen=True, slots=True)
class Peak:
    """The most so far, bytes, None where unknown. allocated, reserved: of torch's allocator on the GPU.

    device: of this process on what it trains on, the GPU with its context or main memory. memory: resident.
    context: what CUDA held beyond the allocator's when looked at last.
    """

    allocated: int | None
    reserved: int | None
    device: int | None
    memory: int
    context: int | None


class Meter:
    """Predicts, checks and measures one run. before: this machine while the run was on no GPU yet."""

    def __init__(self, run: RunDirectory, plan: Plan, before: Hardware, reporter: Reporter) -> None:
        self._plan = plan
        self._reporter = reporter
        self._home = home_of(run)
        self._gpu = chosen_gpu(before, plan.spec.gpus) if plan.device.on_gpu else None
        self._base = context_for(self._home, self._gpu)  # what is held beside all tensors
        self._free: Free | None = None
        self._context: int | None = None
        self._began = False
        self._batch = plan.spec
        self.predicted = plan.estimate(plan.spec, self._base)

    def refuse_hopeless(self) -> None:
        """Before anything is downloaded. Raises UserError when not even rows of a few tokens would fit."""
        batch = self._plan.spec
        self._predict(replace(batch, max_length=int(FIELDS["max_length"].minimum)))
        self._judge()
        self._predict(batch)

    def expect(self, rows: int, accumulation: int, tokens: int) -> None:
        """From here on it is about micro-batches of rows of at most so many tokens."""
        is_smaller = rows < self._batch.per_device_train_batch_size
        if is_smaller and torch.cuda.is_initialized():
            torch.cuda.reset_peak_memory_stats()  # the peak so far is that of a batch that did not fit
        batch = replace(
            self._plan.spec,
            per_device_train_batch_size=rows,
            gradient_accumulation_steps=accumulation,
            max_length=min(tokens, self._plan.spec.max_length),
        )
        self._predict(batch)

    def check(self) -> None:
        """Right before loading: warn when what is expected may not fit. Raises UserError when it does not."""
        if not self._plan.device.on_gpu:
            self._base = psutil.Process().memory_info().rss
            self._predict(self._batch)
        warning, place = self._judge()
        if warning:
            self._reporter.event("warning", message=warning, where=place)

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Meanwhile it trains; in the end, however that comes, what it took is told.

        Raises WorkFailed in place of an out of memory that nobody recovered from.
        """
        try:
            yield
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            raise WorkFailed(
                f"the {'GPU' if self._plan.device.on_gpu else 'machine'}'s memory is full; {self.words()}",
                hint="lower per_device_train_batch_size or max_length, or set gradient_checkpointing",
            ) from error
        finally:
            if self._began:
                self._tell("end", self._reporter.state.step)
                self._remember()

    def callback(self) -> TrainerCallback:
        """Tells after the first steps, so that a run that is killed has said it, too."""
        return _FirstSteps(self)

    def words(self) -> str:
        """What was predicted and what was free, for whoever ran out of memory."""
        rows, tokens = self._batch.per_device_train_batch_size, self._batch.max_length
        words = f"predicted were {size(self.predicted.device)} ±{size(self.predicted.band)}"
        words += f" for {rows} × {tokens} tokens"
        if self._free is None or self._free.bytes is None:
            return words
        return f"{words}, {size(self._free.bytes)} was free at the start"

    def figures(self) -> dict[str, Any]:
        """Peak and prediction as events tell them."""
        peak, on_gpu = self._peak(), self._plan.device.on_gpu
        return {
            "peak_allocated": peak.allocated,
            "peak_reserved": peak.reserved,
            "peak_device": peak.device,
            "peak_memory": peak.memory,
            "predicted_allocated": self.predicted.allocated if on_gpu else None,
            "predicted_reserved": self.predicted.reserved if on_gpu else None,
            "predicted_device": self.predicted.device,
            "predicted_band": self.predicted.band,
        }

    def began(self) -> None:
        self._began = True

    def stepped(self, steps: int, step: int) -> None:
        """steps: how many this attempt has made. step: of the run."""
        if steps <= _TOLD_STEPS:
            self._tell("first steps", step)

    def _predict(self, batch: Spec) -> None:
        self._batch = batch
        self.predicted = self._plan.estimate(batch, self._base)

    def _judge(self) -> tuple[str | None, str]:
        now = read_hardware()
        gpu = chosen_gpu(now, self._plan.spec.gpus) if self._plan.device.on_gpu else None
        self._free = free_memory(self._plan.device.on_gpu, gpu, now)
        warning = require_memory(self._plan, self._batch, self.predicted, self._free)
        return warning, self._free.place

    def _tell(self, when: str, step: int | None) -> None:
        figures = self.figures()
        self._reporter.event(
            "memory",
            when=when,
            step=step,
            rows=self._batch.per_device_train_batch_size,
            tokens=self._batch.max_length,
            context=self._context,
            **figures,
        )

    def _peak(self) -> Peak:
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _MAXRSS_UNIT
        if not self._plan.device.on_gpu:
            return Peak(None, None, memory, memory, None)
        now = read_hardware()
        gpu, held = chosen_gpu(now, self._plan.spec.gpus), torch.cuda.memory_reserved()
        on_gpu = held_on_gpu(gpu, self._gpu.used if self._gpu else None, held)
        if on_gpu is not None:
            self._context = on_gpu - held
        allocated, reserved = torch.cuda.max_memory_allocated(), torch.cuda.max_memory_reserved()
        device = None if self._context is None else reserved + self._context
        return Peak(allocated, reserved, device, memory, self._context)

    def _remember(self) -> None:
        """A paged optimizer keeps its state beside torch's allocator: then it is not the context alone."""
        if self._context is None or self._gpu is None or "paged" in self._plan.spec.optim:
            return
        with contextlib.suppress(OSError):  # the next run measures it again
            remember_context(self._home, self._gpu, self._context)


class _FirstSteps(TrainerCallback):
    def __init__(self, meter: Meter) -> None:
        self._meter = meter
        self._steps = 0

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        self._meter.began()

    def on_step_end(self, _args: Any, state: Any, *_: Any, **__: Any) -> None:
        self._steps += 1
        self._meter.stepped(self._steps, state.global_step)


def chosen_gpu(hardware: Hardware, chosen: tuple[str, ...]) -> Gpu | None:
    """The GPU that torch calls the first, as NVML sees it; None when that cannot be told.

    chosen: UUIDs of the spec. Else CUDA_VISIBLE_DEVICES counts, then what torch says; of one GPU there is
    no doubt.
    """
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
    for wanted in (*chosen[:1], *visible[:1], _uuid_by_torch()):
        if not wanted.startswith(("GPU-", "MIG-")):
            continue
        found = [gpu for gpu in hardware.gpus if gpu.uuid and gpu.uuid.startswith(wanted)]
        if len(found) == 1:
            return found[0]
    return hardware.gpus[0] if len(hardware.gpus) == 1 else None


def held_on_gpu(gpu: Gpu | None, used_before: int | None, reserved: int) -> int | None:
    """Bytes this process holds of its GPU, of which torch's allocator reserved so many.

    By the driver's list of processes; where a container hides them or shows them under other numbers, by
    what is used beyond what was used before the run. None when neither can be: strangers came or went.
    """
    if gpu is None:
        return None
    own = gpu.used_by(frozenset({os.getpid()}))
    if own is not None and own >= reserved + LEAST:
        return own
    if gpu.used is None or used_before is None:
        return None
    beyond = gpu.used - used_before
    return beyond if LEAST <= beyond - reserved <= MOST else None


def home_of(run: RunDirectory) -> Path:
    """Where the run's home is. A rehearsal's lies inside the real one, and goes when it is over."""
    home = run.path.absolute().parent.parent
    return home.parent.parent if home.parent.name == "rehearsals" else home


def _uuid_by_torch() -> str:
    if not torch.cuda.is_available():
        return ""
    uuid = getattr(torch.cuda.get_device_properties(0), "uuid", None)
    return f"GPU-{uuid}" if uuid is not None else ""
