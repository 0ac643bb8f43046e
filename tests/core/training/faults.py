"""The real worker with something going wrong in it, at a moment that is counted and not timed.

    python faults.py FAULTS RUN_DIR [--resume]

FAULTS: JSON list of {"at": PLACE, "n": which time that place is passed (from 1), "do": WHAT, …}.

PLACE: `batch` (a micro-batch's loss), `optimizer` (after its step has changed parameters), `eval` (a batch
of an evaluation), `save` (a checkpoint without its manifest yet), `event` (a step's event).
WHAT: `nan`, `inf gradient`, `oom` (torch's own), `cpu oom` (a real one), a signal's name, a request's kind,
`fill` (the disk of `folder` but for `leave` bytes). `rows`: only a batch of more rows than this.
"""

import contextlib
import json
import os
import shutil
import signal
import sys
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import torch
from accelerate.optimizer import AcceleratedOptimizer

from finetune_tui.core.runs.directory import RunDirectory
from finetune_tui.core.runs.requests import KINDS, drop_request
from finetune_tui.core.training import checkpoint, worker
from finetune_tui.core.training.reporter import Reporter
from finetune_tui.core.training.trainer import RunTrainer

Fault = dict[str, Any]


class Faults:
    """Does what is asked at the places it is told it passes."""

    def __init__(self, faults: list[Fault], run: RunDirectory) -> None:
        self._faults = faults
        self._run = run
        self._passed: Counter[str] = Counter()

    def passes(self, place: str, rows: int = 10**9) -> list[str]:
        """Do what is asked here; what the caller has to do itself is returned."""
        self._passed[place] += 1
        wanted = []
        for fault in self._faults:
            is_now = (
                self._passed[place] >= fault["n"]
                if "rows" in fault
                else (self._passed[place] == fault["n"])
            )
            if fault["at"] == place and is_now and rows > fault.get("rows", 0):
                wanted.append(fault["do"])
                self._do(fault)
        return wanted

    def _do(self, fault: Fault) -> None:
        what = fault["do"]
        if what == "oom":
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        if what == "cpu oom":
            torch.empty(2**50)
        elif what in KINDS:
            drop_request(self._run, what)
        elif what == "fill":
            fill(Path(fault["folder"]), fault["leave"])
        elif what.startswith("SIG"):
            number = getattr(signal, what)
            later = fault.get("seconds")
            if later is None:
                os.kill(os.getpid(), number)
            else:
                threading.Timer(later, os.kill, (os.getpid(), number)).start()


def fill(folder: Path, leave: int) -> None:
    """Take all room but `leave` bytes."""
    room = shutil.disk_usage(folder).free - leave
    if room > 0:
        with contextlib.suppress(OSError), (folder / "filler").open("ab") as file:
            file.write(bytes(room))


def install(faults: Faults) -> None:
    compute_loss, clip = RunTrainer.compute_loss, RunTrainer._clip_grad_norm
    predict, step = RunTrainer.prediction_step, AcceleratedOptimizer.step
    manifest, event = checkpoint._write_manifest, Reporter.event
    pending: list[str] = []

    def faulty_loss(self: Any, model: Any, inputs: Any, *args: Any, **rest: Any) -> Any:
        loss = compute_loss(self, model, inputs, *args, **rest)
        if not model.training:
            return loss
        wanted = faults.passes("batch", inputs["input_ids"].shape[0])
        pending.extend(wanted)
        return loss * float("nan") if "nan" in wanted else loss

    def faulty_clip(self: Any, model: Any) -> Any:
        if "inf gradient" in pending:
            next(p for p in model.parameters() if p.grad is not None).grad.view(-1)[0] = float(
                "inf"
            )
        pending.clear()
        return clip(self, model)

    def faulty_step(self: Any, closure: Any = None) -> None:
        step(self, closure)
        faults.passes("optimizer")

    def faulty_prediction(self: Any, model: Any, inputs: Any, *args: Any, **rest: Any) -> Any:
        faults.passes("eval", inputs["input_ids"].shape[0])
        return predict(self, model, inputs, *args, **rest)

    def faulty_manifest(folder: Path, step: int) -> None:
        faults.passes("save")
        manifest(folder, step)

    def faulty_event(self: Reporter, kind: str, **fields: Any) -> None:
        if kind == "step" and "fill" in faults.passes("event"):
            event(self, "warning", message="x" * 2**13)  # longer than what a block may have left
        event(self, kind, **fields)

    setattr(RunTrainer, "compute_loss", faulty_loss)  # noqa: B010 - a method, put in another's place
    setattr(RunTrainer, "_clip_grad_norm", faulty_clip)  # noqa: B010 - a method, put in another's place
    setattr(RunTrainer, "prediction_step", faulty_prediction)  # noqa: B010 - a method, put in another's place
    setattr(AcceleratedOptimizer, "step", faulty_step)  # noqa: B010 - a method, put in another's place
    setattr(checkpoint, "_write_manifest", faulty_manifest)  # noqa: B010 - a method, put in another's place
    setattr(Reporter, "event", faulty_event)  # noqa: B010 - a method, put in another's place


def main() -> int:
    faults, run, *rest = sys.argv[1:]
    install(Faults(json.loads(faults), RunDirectory(Path(run))))
    return worker.main([run, *rest])


if __name__ == "__main__":
    sys.exit(main())
