"""Write the manifest of every catalog entry from the Transformers config beside it.

Run after adding a file with `id`, `about` and `config` to core/models/entries/:

    .venv/bin/python scripts/build_catalog.py
"""

import json
from pathlib import Path
from typing import Any

from transformers import AutoConfig

from finetune_tui.core import demo
from finetune_tui.core.models.catalog import CATALOG_FOLDER, DEMO
from finetune_tui.core.models.inspection import inspect_config, read_config


def build(file: Path) -> None:
    """Fill in the entry's manifest; the demo's config is the one shipped with its weights."""
    entry = json.loads(file.read_bytes())
    if entry["id"] == DEMO:
        config = read_config(demo.MODEL_FOLDER)
    else:
        facts = dict(entry["config"])
        config = AutoConfig.for_model(facts.pop("model_type"), **facts)
    manifest = inspect_config(config, entry["id"])
    entry["manifest"] = manifest.to_json()
    file.write_text(_written(entry) + "\n")
    print(f"{entry['id']}: {len(manifest.modules)} modules, {manifest.parameters:,} parameters")


def _written(value: Any, indent: str = "") -> str:
    """JSON to be read in a diff: what fits on a line stands on one."""
    flat = json.dumps(value, ensure_ascii=False)
    if len(indent) + len(flat) <= 110 or not isinstance(value, dict | list):
        return flat
    deeper = indent + " "
    if isinstance(value, dict):
        items = [f"{json.dumps(key)}: {_written(item, deeper)}" for key, item in value.items()]
    else:
        items = [_written(item, deeper) for item in value]
    opening, closing = "{}" if isinstance(value, dict) else "[]"
    return f"{opening}\n{deeper}" + f",\n{deeper}".join(items) + f"\n{indent}{closing}"


if __name__ == "__main__":
    for path in sorted(CATALOG_FOLDER.glob("*.json")):
        build(path)
