"""From what a person types to a model: a catalog id, `demo`, or a local folder."""

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from platformdirs import user_cache_path

from finetune_tui.core import demo
from finetune_tui.core.errors import UserError
from finetune_tui.core.files import read_json, write_atomically
from finetune_tui.core.models.catalog import DEMO, CatalogEntry, catalog
from finetune_tui.core.models.manifest import Manifest
from finetune_tui.core.text import nearest, plain


@dataclass(frozen=True, slots=True)
class ModelReference:
    """A model that can be opened. `folder` holds its weights; None: Transformers finds or fetches them."""

    name: str
    title: str
    kind: Literal["demo", "catalog", "folder"]
    folder: Path | None
    entry: CatalogEntry | None

    @property
    def short_title(self) -> str:
        """For the name of a run: 'phi-2', or the folder's own name."""
        return self.entry.short_name if self.entry else self.title

    @property
    def weights(self) -> str:
        """What `from_pretrained` is given."""
        return os.fspath(self.folder) if self.folder else self.name


Inspect = Callable[[Path, str], dict[str, Any]]
"""Reads the manifest of (folder, name to show) in another process; the JSON form of it."""


def find_model(name: str) -> ModelReference:
    """What `name` means. Raises UserError naming the nearest known model."""
    entry = _catalog_entry(name)
    if entry is not None:
        folder = demo.MODEL_FOLDER if entry.id == DEMO else None
        return ModelReference(entry.id, entry.title, "demo" if folder else "catalog", folder, entry)
    folder = Path(name).expanduser() if name and "\0" not in name else None
    try:
        if folder is not None and folder.is_dir():
            return _folder_reference(folder)
    except OSError:  # a name too long for a file name is no folder
        pass
    raise UserError(f"unknown model '{plain(name, 80)}'", hint=_hint(name))


def load_manifest(reference: ModelReference, inspect: Inspect) -> Manifest:
    """The model's manifest: shipped with the catalog, cached, or read by `inspect` (seconds).

    Raises UserError when the folder's config cannot be read.
    """
    if reference.entry is not None:
        return reference.entry.manifest()
    assert reference.folder is not None  # find_model gives every other kind a folder
    cached = _cache_file(reference.folder)
    try:
        return Manifest.from_json(json.loads(cached.read_bytes()))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        pass  # absent, or written by another version: read the model itself
    answer = inspect(reference.folder, reference.name)
    manifest = Manifest.from_json(answer)
    try:
        cached.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(cached, json.dumps(answer), durable=False)
    except OSError:
        pass  # without a cache the next opening is slower, nothing else
    return manifest


def _catalog_entry(name: str) -> CatalogEntry | None:
    entries = catalog()
    if name in entries:
        return entries[name]
    short = [entry for entry in entries.values() if entry.short_name == name.lower()]
    return short[0] if len(short) == 1 else None


def _folder_reference(folder: Path) -> ModelReference:
    folder = folder.resolve()
    if not (folder / "config.json").is_file():
        raise UserError(
            "no config.json in this folder",
            where=str(folder),
            hint="give the folder that holds config.json and *.safetensors",
        )
    title = plain(folder.name, 60)
    return ModelReference(str(folder), title, "folder", folder, None)


def _cache_file(folder: Path) -> Path:
    config = json.dumps(read_json(folder / "config.json", limit=2**20), sort_keys=True)
    key = f"{folder}\n{version('transformers')}\n{version('finetune-tui')}\n{config}"
    digest = hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()
    return user_cache_path("finetune-tui") / "manifests" / f"{digest}.json"


def _hint(name: str) -> str:
    known = [known for entry in catalog().values() for known in (entry.id, entry.short_name)]
    found = nearest(name, known)
    start = f"did you mean '{found}'? " if found else ""
    return f"{start}`finetune-tui models` lists the catalog; a local folder works too"
