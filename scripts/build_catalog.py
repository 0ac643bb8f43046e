"""Write the manifest of every catalog entry from the Transformers config beside it.

Run after adding a file with `id`, `about` and `config` to core/models/entries/:

    .venv/bin/python scripts/build_catalog.py
"""

import json
from pathlib import Path

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
    file.write_text(json.dumps(entry, indent=1) + "\n")
    print(f"{entry['id']}: {len(manifest.modules)} modules, {manifest.parameters:,} parameters")


if __name__ == "__main__":
    for path in sorted(CATALOG_FOLDER.glob("*.json")):
        build(path)
