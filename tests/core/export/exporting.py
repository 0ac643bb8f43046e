"""Exports made in this process, and what anybody without this package makes of them."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from finetune_tui.core.export.exported import Exported
from finetune_tui.core.export.merge import work
from finetune_tui.core.runs.directory import RunDirectory
from finetune_tui.core.runs.events import read_events
from finetune_tui.core.runs.launch import make_task_run
from finetune_tui.core.training.reporter import Reporter
from finetune_tui.core.tuning.task_spec import ExportSpec

IDS = torch.arange(3, 43).reshape(2, 20)

# What a person writes who has nothing but Transformers, PEFT and safetensors.
PLAIN = """
import json, os, sys
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig

jobs, target = json.load(sys.stdin)
ids = torch.arange(3, 43).reshape(2, 20)
found = {}
for name, job in jobs.items():
    folder, dtype = job["folder"], getattr(torch, job["dtype"])
    assert AutoTokenizer.from_pretrained(folder)("an order")["input_ids"]
    more = {}
    if job.get("bits") == 4:
        more["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=dtype)
    base = job["base"] or folder
    model = AutoModelForCausalLM.from_pretrained(base, dtype=dtype, **more)
    if job["base"]:
        if os.path.exists(folder + "/trained.safetensors"):
            own = load_file(folder + "/trained.safetensors")
            assert not model.load_state_dict(own, strict=False).unexpected_keys
        if os.path.exists(folder + "/adapter_config.json"):
            from peft import PeftModel
            model = PeftModel.from_pretrained(model, folder)
    with torch.no_grad():
        found[name] = model.eval()(input_ids=ids).logits.float().contiguous()
save_file(found, target)
"""


def export(run: RunDirectory, out: Path, **keys: Any) -> Exported:
    """The whole work of an export run, in this process. Raises what the worker would tell."""
    made = export_run(run, out, **keys)
    do_work(made)
    finished = [event for event in read_events(made.events_path) if event["kind"] == "finished"]
    exported = Exported.from_event(finished[-1])
    assert exported is not None
    return exported


def export_run(run: RunDirectory, out: Path, **keys: Any) -> RunDirectory:
    """The run of that export, not started."""
    spec = ExportSpec(run=str(run.path), out=str(out), use_cpu=True).changed(**keys)
    return make_task_run(run.path.parent.parent, spec)


def do_work(made: RunDirectory) -> None:
    reporter = Reporter(made)
    reporter.start()
    try:
        work(made, reporter, resume=False)
    finally:
        reporter.end()


def plainly(jobs: dict[str, dict[str, Any]], folder: Path) -> dict[str, torch.Tensor]:
    """Logits of IDS by a process that knows nothing of this package.

    A job: the exported `folder`, its `base` (None: it is whole), `dtype`, and `bits` of a quantised base.
    """
    target = folder / "logits.safetensors"
    done = subprocess.run(
        [sys.executable, "-c", "import sys; sys.modules['finetune_tui'] = None\n" + PLAIN],
        input=json.dumps([jobs, str(target)]),
        capture_output=True,
        text=True,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
        cwd=folder,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return load_file(target)
