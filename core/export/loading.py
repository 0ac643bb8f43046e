"""Code that loads an export with plain Transformers and PEFT: what the card shows, and a test runs."""

from finetune_tui.core.export.exported import Exported
from finetune_tui.core.export.plan import Trained, is_text_part
from finetune_tui.core.text import plain

_ASK = """
prompt = "Hello"
inputs = tokenizer(prompt, return_tensors="pt").to(model.device)
reply = model.generate(**inputs, max_new_tokens=50)
print(tokenizer.decode(reply[0], skip_special_tokens=True))
"""


def loading_code(trained: Trained, exported: Exported, public_base: str | None) -> str:
    """Runs from the folder of the export. public_base: the base's id on the Hub, None for a local one.

    Every name in it is a Python literal.
    """
    lines = ["import torch"]
    if exported.merged:
        lines += [
            "from transformers import AutoModelForCausalLM, AutoTokenizer",
            "",
            'here = "."  # this folder, or its name on the Hub',
            "tokenizer = AutoTokenizer.from_pretrained(here)",
            f"model = AutoModelForCausalLM.from_pretrained(here, dtype=torch.{exported.dtype})",
            "model.eval()",
        ]
        return "\n".join(lines) + "\n" + _ASK
    text_part = is_text_part(trained.reference)
    names = ["AutoConfig"] if text_part else []
    lines += ["from peft import PeftModel"] if trained.has_adapter else []
    lines += ["from safetensors.torch import load_file"] if trained.has_own else []
    lines += [
        f"from transformers import {', '.join([*names, 'AutoModelForCausalLM', 'AutoTokenizer'])}",
        "",
        _base_line(trained, public_base),
        'here = "."  # this folder',
        "tokenizer = AutoTokenizer.from_pretrained(here)",
    ]
    lines += _text_part_lines() if text_part else [_load_line(trained)]
    if trained.has_own:
        lines += [
            "# What trained in place, under the names of the model's own parameters.",
            'own = load_file(f"{here}/trained.safetensors")',
            "assert not model.load_state_dict(own, strict=False).unexpected_keys",
        ]
    if trained.has_adapter:
        lines.append("model = PeftModel.from_pretrained(model, here)")
    lines.append("model.eval()")
    return "\n".join(lines) + "\n" + _ASK


def _base_line(trained: Trained, public_base: str | None) -> str:
    if public_base:
        return f"base = {public_base!r}"
    name = plain(trained.reference.short_title, 200)
    return f"base = {name!r}  # the folder of the model it was trained on"


def _load_line(trained: Trained) -> str:
    return f"model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.{_dtype(trained)})"


def _text_part_lines() -> list[str]:
    return [
        "# The text part of the multimodal base, on its own.",
        "config = AutoConfig.from_pretrained(base).get_text_config()",
        'names = {r"^(model\\.)?language_model\\.(model\\.)?": "model."}',
        "model = AutoModelForCausalLM.from_pretrained(base, config=config, key_mapping=names)",
    ]


def _dtype(trained: Trained) -> str:
    """As the run held its base, or computed with a quantised one."""
    said = trained.started.get("dtype")
    if said in ("float32", "bfloat16", "float16"):
        return str(said)
    return "float32" if trained.spec.use_cpu else "bfloat16"
