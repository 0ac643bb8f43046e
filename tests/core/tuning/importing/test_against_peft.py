"""What PEFT itself adapts and saves for the same words, on tiny models of several families."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from finetune_tui.core.tuning.importing.importing import translate
from finetune_tui.core.tuning.importing.reading import parse_yaml
from finetune_tui.core.tuning.modes import Mode
from finetune_tui.core.tuning.resolve import selection_of

CASES: dict[str, dict[str, Any]] = {
    "ends of names": {"lora_target_modules": ["q_proj", "qkv_proj", "down_proj", "fc2", "o_proj"]},
    "an expression": {"lora_target_modules": r".*\.(1|3)\.self_attn\.(q|k|qkv)_?proj"},
    "all linear": {"lora_target_linear": True},
    "some blocks": {"lora_target_linear": True, "peft_layers_to_transform": [0, 4]},
    "saved beside": {"lora_target_linear": True, "lora_modules_to_save": ["embed_tokens", "norm"]},
    "ranks": {"lora_target_linear": True, "lora_rank_pattern": {"down_proj|fc2": 2, "q_proj": 3}},
}


@pytest.mark.soak
@pytest.mark.parametrize("family", ["llama", "phi", "phi3", "qwen3", "mistral"])
def test_the_same_modules_with_the_same_ranks(family: str, tmp_path: Path) -> None:
    from peft import LoraConfig, get_peft_model
    from peft.utils import ModulesToSaveWrapper
    from torch.nn import Linear

    from finetune_tui.core.models.inspection import inspect_folder
    from tests.core.training.families import make_folder, make_model

    folder = make_folder(family, tmp_path / family)
    manifest = inspect_folder(folder, family)
    for name, case in CASES.items():
        asked = {"base_model": str(folder), "adapter": "lora", "lora_r": 8, **case}
        text = yaml.safe_dump(asked, sort_keys=False)
        found = translate(parse_yaml(text, name), "axolotl", tmp_path, lambda _: manifest)
        choices = selection_of(found.spec, manifest).choices
        ours = {n: c.r or 8 for n, c in choices.items() if c.mode is Mode.LORA}
        full = {n for n, c in choices.items() if c.mode is Mode.FULL}
        model = make_model(family)
        leaves = {n.rpartition(".")[2] for n, m in model.named_modules() if isinstance(m, Linear)}
        linear = sorted(leaves - {"lm_head"})  # what axolotl hands over for lora_target_linear
        adapted = get_peft_model(
            model,
            LoraConfig(
                task_type="CAUSAL_LM",
                r=8,
                target_modules=case.get("lora_target_modules", linear),
                modules_to_save=case.get("lora_modules_to_save"),
                layers_to_transform=case.get("peft_layers_to_transform"),
                rank_pattern=case.get("lora_rank_pattern", {}),
            ),
        )
        theirs, saved = {}, set()
        for module_name, module in adapted.named_modules():
            plain = module_name.removeprefix("base_model.model.")
            if hasattr(module, "lora_A") and "default" in module.r:
                theirs[plain] = module.r["default"]
            if isinstance(module, ModulesToSaveWrapper):
                saved.add(plain)
        assert ours == theirs, name
        assert full == saved, name
