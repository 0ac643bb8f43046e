"""Make a selection real: LoRA on exactly the modules that were named, nothing else trainable."""

from pathlib import Path
from typing import Any

from peft import LoraConfig, get_peft_model

from finetune_tui.core.errors import WorkFailed
from finetune_tui.core.models.manifest import Manifest
from finetune_tui.core.tuning.modes import Mode
from finetune_tui.core.tuning.selection import Selection, trainable_parameters
from finetune_tui.core.tuning.spec import Spec

_PEFT_PREFIX = "base_model.model."


def apply_selection(model: Any, manifest: Manifest, selection: Selection, spec: Spec) -> Any:
    """The PEFT model that trains this selection.

    PEFT matches names by their ending and trains what it finds, so what it adapted is compared with
    what was asked, module by module and number by number. Raises WorkFailed when they differ.
    """
    names = selection.names(Mode.LORA)
    ranks = {name: selection.choices[name].r for name in names}
    alphas = {name: selection.choices[name].lora_alpha for name in names}
    config = LoraConfig(
        task_type="CAUSAL_LM",
        target_modules=list(names),
        r=spec.lora_r,
        lora_alpha=spec.lora_alpha,
        lora_dropout=spec.lora_dropout,
        use_rslora=spec.use_rslora,
        rank_pattern={name: r for name, r in ranks.items() if r is not None},
        alpha_pattern={name: alpha for name, alpha in alphas.items() if alpha is not None},
    )
    adapted = get_peft_model(model, config)
    _check_modules(adapted, set(names))
    _check_count(adapted, trainable_parameters(manifest, selection, spec.lora_r))
    return adapted


def save_adapter(model: Any, folder: Path) -> None:
    """`folder` as plain PEFT loads it. The frozen embedding never goes along ("auto" would add it)."""
    model.save_pretrained(folder, save_embedding_layers=False)
    # PEFT writes a model card full of blanks; ours comes with the export.
    (folder / "README.md").unlink(missing_ok=True)


def _check_modules(adapted: Any, wanted: set[str]) -> None:
    found = {
        name.removeprefix(_PEFT_PREFIX)
        for name, module in adapted.named_modules()
        if hasattr(module, "lora_A") and (len(module.lora_A) or len(module.lora_embedding_A))
    }
    if found != wanted:
        odd = sorted(found ^ wanted)
        raise WorkFailed(
            f"PEFT adapted other modules than were selected, first of {len(odd)}: {odd[0]}"
        )


def _check_count(adapted: Any, expected: int) -> None:
    counted = sum(p.numel() for p in adapted.parameters() if p.requires_grad)
    if counted != expected:
        raise WorkFailed(f"{counted} numbers would train where the selection means {expected}")
