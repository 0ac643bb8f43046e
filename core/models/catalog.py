"""The catalog: models the app knows with no network and no weights.

One JSON file per model in `entries/`: what to tell a person, the Transformers config, and the manifest
that `scripts/build_catalog.py` made from that config.
"""

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

from finetune_tui.core.models.manifest import Manifest

CATALOG_FOLDER = Path(__file__).parent / "entries"

DEMO = "demo"


@dataclass(frozen=True, slots=True)
class CatalogEntry:
    """One model. id: its Hub id, or `demo`. sources: papers the facts come from."""

    id: str
    title: str
    kind: Literal["base", "instruct", "demo"]
    licence: str
    advice: str
    parameters: int
    blocks: int
    context: int | None
    tokens_seen: int | None
    sources: tuple[str, ...]
    file: Path

    @property
    def short_name(self) -> str:
        return self.id.rpartition("/")[2].lower()

    def manifest(self) -> Manifest:
        return _read_manifest(self.file)


def _entry(file: Path) -> CatalogEntry:
    data: dict[str, Any] = json.loads(file.read_bytes())
    about, manifest = data["about"], data["manifest"]
    return CatalogEntry(
        id=data["id"],
        title=about["title"],
        kind=about["kind"],
        licence=about["licence"],
        advice=about["advice"],
        parameters=manifest["modules"][0][4],
        blocks=manifest["config"]["blocks"],
        context=manifest["config"]["context"],
        tokens_seen=about["tokens_seen"],
        sources=tuple(about["sources"]),
        file=file,
    )


@cache
def catalog() -> dict[str, CatalogEntry]:
    """Every entry by id, the demo first, then by size."""
    entries = sorted(map(_entry, CATALOG_FOLDER.glob("*.json")), key=lambda entry: entry.parameters)
    return {entry.id: entry for entry in entries}


@cache
def _read_manifest(file: Path) -> Manifest:
    return Manifest.from_json(json.loads(file.read_bytes())["manifest"])


def find_entries(name: str) -> list[CatalogEntry]:
    """What `name` may mean: the entry of that id or short name, else all that it begins.

    'microsoft/phi-2', 'phi-2' and 'phi-3.5-mini' mean one; 'phi-3-mini' may be the 4k or the 128k.
    """
    asked = name.lower()
    entries = catalog().values()
    exact = [entry for entry in entries if asked in (entry.id.lower(), entry.short_name)]
    return exact or [entry for entry in entries if entry.short_name.startswith(f"{asked}-")]
