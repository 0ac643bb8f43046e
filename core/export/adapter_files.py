"""What trained, as plain PEFT and `load_state_dict` take it: copied, or out of a checkpoint."""

import json
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file

from finetune_tui.core.errors import WorkFailed
from finetune_tui.core.export.plan import ExportPlan, Trained
from finetune_tui.core.export.tokenizer_files import copy_checked
from finetune_tui.core.files import write_atomically
from finetune_tui.core.models.manifest import Manifest
from finetune_tui.core.runs.adapter_check import check_result
from finetune_tui.core.runs.directory import RunDirectory
from finetune_tui.core.text import plain
from finetune_tui.core.training.reporter import Reporter
from finetune_tui.core.training.results import ADAPTER, ADAPTER_CONFIG, write_results
from finetune_tui.core.training.tuned import load_tuned
from finetune_tui.core.tuning.resolve import selection_of


def write_adapter(
    folder: Path, trained: Trained, manifest: Manifest, plan: ExportPlan, reporter: Reporter
) -> None:
    """What trained, as plain PEFT and `load_state_dict` take it."""
    if trained.is_checkpoint:
        _write_checkpoint(folder, trained, plan, reporter)
    else:
        selection = selection_of(trained.spec, manifest)
        found = check_result(trained.run, trained.spec, manifest, selection, trained.reference)
        sources = [found.adapter, found.trained]
        if found.adapter is not None:
            sources.append(trained.run.adapter / ADAPTER_CONFIG)
        reporter.say("writing")
        for source in sources:
            if source is not None:
                copy_checked(source, folder / source.name)
                _refuse_no_numbers(folder / source.name)
    config = folder / ADAPTER_CONFIG
    if config.is_file():
        _without_paths(config, trained)


def _refuse_no_numbers(path: Path) -> None:
    """Raises WorkFailed for a file of tensors in which a number is none."""
    if path.suffix != ".safetensors":
        return
    for name, tensor in load_file(path).items():
        if not bool(torch.isfinite(tensor).all()):
            raise WorkFailed(
                f"{plain(name, 120)} holds numbers that are none (NaN or infinite)",
                where=path.name,
                hint="this result is broken: train again, with a lower learning_rate",
            )


def _write_checkpoint(folder: Path, trained: Trained, plan: ExportPlan, reporter: Reporter) -> None:
    """The run never wrote its result: it is taken out of the model that its best checkpoint makes."""
    tuned = load_tuned(trained.run, use_cpu=plan.device == "memory", say=reporter.say)
    inner = RunDirectory(folder)
    write_results(inner, tuned.model, selection_of(tuned.spec, tuned.manifest))
    if inner.adapter.is_dir():
        for path in (inner.adapter / ADAPTER, inner.adapter / ADAPTER_CONFIG):
            path.rename(folder / path.name)
        shutil.rmtree(inner.adapter)


def _without_paths(config: Path, trained: Trained) -> None:
    """The base by its public name; of a local folder its own name alone."""
    values = json.loads(config.read_text(encoding="utf-8"))
    reference = trained.reference
    is_public = reference.kind in ("catalog", "hub")
    values["base_model_name_or_path"] = reference.name if is_public else reference.short_title
    text = json.dumps(values, indent=2, sort_keys=True)
    write_atomically(config, text + "\n", durable=False)
