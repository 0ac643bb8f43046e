"""The results of trainings that never were: sound files, all numbers 0, written without torch."""

import json
import math
import struct
from pathlib import Path
from typing import Any

from finetune_tui.core.models.resolve import find_model, known_manifest
from finetune_tui.core.runs.adapter_check import ADAPTER, ADAPTER_CONFIG
from finetune_tui.core.runs.directory import RunDirectory
from finetune_tui.core.tuning.left_behind import Shape, expected_of
from finetune_tui.core.tuning.resolve import selection_of


def add_result(run: RunDirectory) -> RunDirectory:
    """Give a run of a catalog model (the demo) the files that its spec's training leaves."""
    spec = run.spec()
    manifest = known_manifest(find_model(spec.model_name_or_path))
    assert manifest is not None
    expected = expected_of(spec, manifest, selection_of(spec, manifest))
    if expected.adapter:
        run.adapter.mkdir()
        write_tensors(run.adapter / ADAPTER, dict(expected.adapter))
        config: dict[str, Any] = {
            "peft_type": "LORA",
            "target_modules": sorted(expected.scales),
            "modules_to_save": sorted(expected.full) or None,
            "r": spec.lora_r,
            "lora_alpha": spec.lora_alpha,
            "rank_pattern": {name: scale.r for name, scale in expected.scales.items()},
            "alpha_pattern": {name: scale.lora_alpha for name, scale in expected.scales.items()},
            "use_dora": spec.use_dora,
            "use_rslora": spec.use_rslora,
            "bias": "none",
        }
        (run.adapter / ADAPTER_CONFIG).write_text(json.dumps(config))
    if expected.own:
        write_tensors(run.trained, dict(expected.own))
    return run


def write_tensors(path: Path, shapes: dict[str, Shape]) -> None:
    """A safetensors file of these tensors in float32."""
    header, end = {}, 0
    for name, shape in shapes.items():
        begin, end = end, end + 4 * math.prod(shape)
        header[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(end))
