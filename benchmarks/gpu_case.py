"""One case of the memory benchmark: a model with random weights, stepped by the worker's own functions."""

import gc
import json
import platform
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from bitsandbytes.nn import Linear4bit, Linear8bitLt
from torch import nn
from transformers import AutoModelForCausalLM
from transformers.quantizers import AutoHfQuantizer

from finetune_tui.core.errors import UserError, WorkFailed
from finetune_tui.core.files import write_atomically
from finetune_tui.core.hardware import Hardware, read_hardware
from finetune_tui.core.models.catalog import catalog
from finetune_tui.core.models.manifest import Manifest
from finetune_tui.core.models.resolve import find_model
from finetune_tui.core.runs.directory import create_run
from finetune_tui.core.runs.events import read_events
from finetune_tui.core.training.batches import Example
from finetune_tui.core.training.feed import Feed
from finetune_tui.core.training.load import Device, attention_of, choose_device, quantisation_of
from finetune_tui.core.training.metering import Meter, chosen_gpu
from finetune_tui.core.training.plan import Plan
from finetune_tui.core.training.recovery import Batch
from finetune_tui.core.training.reporter import Reporter
from finetune_tui.core.training.simulate import config_of
from finetune_tui.core.training.token_rows import TrainRows
from finetune_tui.core.training.work import adapted, trainer_for
from finetune_tui.core.tuning.modes import Choice, Mode
from finetune_tui.core.tuning.presets import resolve_preset
from finetune_tui.core.tuning.refusals import Machine
from finetune_tui.core.tuning.selection import Selection
from finetune_tui.core.tuning.spec import Spec
from finetune_tui.core.tuning.spec_file import write_spec

STEPS = 3  # the optimizer's state is there from the second on
_VERSIONS = ("torch", "transformers", "peft", "bitsandbytes", "accelerate")


@dataclass(frozen=True, slots=True)
class Case:
    """part: a preset's name, "last 4 blocks" or "biases". settings: further keys of the spec."""

    model: str
    method: str
    part: str
    rows: int
    length: int
    checkpointing: bool
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        again = ", checkpointing" if self.checkpointing else ""
        return f"{self.model.rpartition('/')[2]}, {self.method}, {self.rows} × {self.length}{again}"

    def spec(self, use_cpu: bool) -> Spec:
        return Spec(
            model_name_or_path=self.model,
            use_cpu=use_cpu,
            per_device_train_batch_size=self.rows,
            max_length=self.length,
            gradient_accumulation_steps=2,
            gradient_checkpointing=self.checkpointing,
            max_steps=STEPS,
            eval_steps=0,
            save_steps=0,
            load_best_model_at_end=False,
            **{"lora_r": 16, **self.settings},
        )

    def selection(self, manifest: Manifest) -> Selection:
        if self.part not in ("last 4 blocks", "biases"):
            return resolve_preset(self.part, manifest).selection
        choices = {}
        for module in manifest.modules:
            block = manifest.block_index(module.name)
            names = [name for name, _ in module.own]
            if self.part == "biases" and "bias" in names and module.features:
                choices[module.name] = Choice(Mode.BIAS)
            is_late = block is not None and block >= manifest.blocks - 4
            if self.part == "last 4 blocks" and names and is_late:
                choices[module.name] = Choice(Mode.FULL)
        return Selection(choices)


def measure_into(path: Path, case: Case, use_cpu: bool) -> None:
    """Measure in this process and write what was found; a process measures one case, for its peak is one."""
    began = time.monotonic()
    found: dict[str, Any] = {"case": case.name, "error": None, "memory": None}
    before = read_hardware()
    try:
        found["memory"] = step(case, use_cpu, before)
    except (UserError, WorkFailed) as error:
        found["error"] = str(error)
    except Exception as error:
        found["error"] = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
    found["seconds"] = round(time.monotonic() - began, 1)
    found["machine"] = _machine(before, use_cpu)
    write_atomically(path, json.dumps(found, indent=1))


def step(case: Case, use_cpu: bool, before: Hardware) -> dict[str, Any]:
    """The last event `memory` of a run of the case. Raises UserError when it does not fit."""
    spec = case.spec(use_cpu)
    reference = find_model(case.model)
    manifest = catalog()[case.model].manifest()
    device = choose_device(spec, is_demo=False)
    machine = Machine(on_gpu=device.on_gpu)
    plan = Plan(spec, reference, manifest, case.selection(manifest), device, machine)
    with tempfile.TemporaryDirectory() as home:
        run = create_run(Path(home), write_spec(spec), "case")
        reporter = Reporter(run)
        meter = Meter(run, plan, before, reporter)
        batch = Batch.of(spec, None)
        meter.expect(batch.rows, batch.accumulation, case.length)
        meter.check()
        model = adapted(random_base(config_of(reference), spec, device), plan, (), reporter)
        rows = RandomRows(manifest.config.vocabulary, case.length, STEPS * 2 * case.rows)
        train = TrainRows(rows, lengths=[case.length] * len(rows))  # type: ignore[arg-type]
        feed = Feed(train, None, (), case.length, 0, peaks_first=True)
        if device.on_gpu:  # building is not training
            gc.collect()
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        trainer = trainer_for(model, feed, plan, batch, lambda _: None, run, reporter)
        trainer.add_callback(meter.callback())
        with meter.watching():
            trainer.go(None)
        return [event for event in read_events(run.events_path) if event["kind"] == "memory"][-1]


def random_base(config: Any, spec: Spec, device: Device) -> Any:
    """The frozen base as `load_base` gives it, its weights drawn on the device in place of read."""
    text = config.get_text_config()
    torch.manual_seed(spec.seed)
    with device.torch_device:
        model = AutoModelForCausalLM.from_config(
            text,
            dtype=device.dtype,
            trust_remote_code=False,
            attn_implementation=attention_of(text),
        )
    if spec.load_in_4bit or spec.load_in_8bit:
        _quantise(model, spec, device)
    model.config.use_cache = False
    model.requires_grad_(False)
    return model


def _quantise(model: Any, spec: Spec, device: Device) -> None:
    """Put bitsandbytes' layers in place, as Transformers does, and the drawn weights into them."""
    drawn = {
        name: (module.weight.data, module.bias)
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear)
    }
    quantizer: Any = AutoHfQuantizer.from_config(quantisation_of(spec, device))
    quantizer._process_model_before_weight_loading(model, device_map=None)
    for name, module in list(model.named_modules()):
        if not isinstance(module, (Linear4bit, Linear8bitLt)):
            continue
        values, module.bias = drawn.pop(name)
        empty: Any = module.weight
        weight: Any = type(empty)(values, requires_grad=False, **empty.__dict__)
        module.weight = weight
        weight._quantize(device.torch_device)
    quantizer._process_model_after_weight_loading(model)


class RandomRows(Sequence[Example]):
    """Rows of random tokens, all of one length, every token trained."""

    def __init__(self, vocabulary: int, length: int, rows: int) -> None:
        draw = np.random.default_rng(0)
        self._ids = draw.integers(0, vocabulary, (rows, length), dtype=np.int32)

    def __len__(self) -> int:
        return len(self._ids)

    def __getitem__(self, index: Any) -> Any:
        ids = self._ids[index]
        return Example(ids, np.ones(len(ids), dtype=np.uint8), f"row:{index}")


def _machine(before: Hardware, use_cpu: bool) -> dict[str, Any]:
    gpu = None if use_cpu else chosen_gpu(before, ())
    return {
        "gpu": gpu.name if gpu else None,
        "total": gpu.total if gpu else None,
        "driver": before.driver,
        "cuda": torch.version.cuda,
        "python": platform.python_version(),
        **{name: version(name) for name in _VERSIONS},
    }
