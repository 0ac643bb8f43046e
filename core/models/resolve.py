"""From what a person types to a model: a catalog id, `demo`, a local folder, or an id on the Hub."""

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from platformdirs import user_cache_path

from finetune_tui.core import demo
from finetune_tui.core.errors import UserError
from finetune_tui.core.files import write_atomically
from finetune_tui.core.models.catalog import DEMO, CatalogEntry, catalog, find_entries
from finetune_tui.core.models.manifest import Manifest
from finetune_tui.core.models.sanity import read_config_json
from finetune_tui.core.models.weights import cached, has_tokenizer, is_hub_id, refuse_adapter
from finetune_tui.core.text import nearest, plain


@dataclass(frozen=True, slots=True)
class ModelReference:
    """A model that can be opened. `folder` holds its files; None: its weights are not on this disk yet."""

    name: str
    title: str
    kind: Literal["demo", "catalog", "folder", "hub"]
    folder: Path | None
    entry: CatalogEntry | None

    @property
    def short_title(self) -> str:
        """For the name of a run: 'phi-2', or the folder's own name."""
        return self.entry.short_name if self.entry else self.title.rpartition("/")[2]

    @property
    def public_name(self) -> str:
        """What an adapter calls its base, so that plain PEFT finds it on any machine."""
        return self.name if self.kind in ("catalog", "hub") else self.weights

    @property
    def weights(self) -> str:
        """What `from_pretrained` is given."""
        return os.fspath(self.folder) if self.folder else self.name


Inspect = Callable[[Path, str], dict[str, Any]]
"""Reads the manifest of (folder, name to show) in another process; the JSON form of it."""


def find_model(name: str) -> ModelReference:
    """What `name` means; looks at the disk, never at the network.

    Raises UserError: names the nearest known model, or says why a folder is no model.
    """
    entry = _catalog_entry(name)
    if entry is not None and entry.id == DEMO:
        return ModelReference(entry.id, entry.title, "demo", demo.MODEL_FOLDER, entry)
    if entry is not None:
        return ModelReference(entry.id, entry.title, "catalog", cached(entry.id).folder, entry)
    try:
        folder = Path(name).expanduser() if name and "\0" not in name else None
        if folder is not None and folder.is_dir():
            return _folder_reference(folder)
    except (OSError, RuntimeError):  # a name too long for a file, or ~ of nobody, is no folder
        pass
    begins = find_entries(name)
    if len(begins) == 1:
        return find_model(begins[0].id)
    if is_hub_id(name) and _letters(name) not in map(_letters, catalog()):
        return ModelReference(name, name, "hub", cached(name).folder, None)
    if _is_path(name):
        raise _no_folder(name)
    raise UserError(f"unknown model '{plain(name, 80)}'", hint=_hint(name))


def load_manifest(reference: ModelReference, inspect: Inspect) -> Manifest:
    """The model's manifest: shipped with the catalog, cached, or read by `inspect` (seconds).

    The config of a Hub id is fetched first, a few kB. Raises UserError when there is none, or when it
    is not one that may be built.
    """
    known = known_manifest(reference)
    if known is not None:
        return known
    folder = reference.folder or config_folder(reference.name)
    answer = inspect(folder, reference.name)
    manifest = Manifest.from_json(answer)
    kept = _cache_file(folder)
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(kept, json.dumps(answer), durable=False)
    except OSError:
        pass  # without a cache the next opening is slower, nothing else
    return manifest


def known_manifest(reference: ModelReference) -> Manifest | None:
    """The model's manifest as far as it is at hand: shipped with the catalog, or cached.

    None: the model itself would have to be read. Raises UserError for a config that may not be built.
    """
    if reference.entry is not None:
        return reference.entry.manifest()
    folder = reference.folder or cached(reference.name).config
    if folder is None:
        return None
    try:
        return Manifest.from_json(json.loads(_cache_file(folder).read_bytes()))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None  # absent, or written by another version


def tokenizer_folder(reference: ModelReference) -> Path:
    """The folder with the model's tokenizer; fetched first, a few MB, when it is not on this disk."""
    found = reference.folder or cached(reference.name).config
    if found is not None and (reference.folder or has_tokenizer(found)):
        return found
    from finetune_tui.core.models.hub import fetch_tokenizer

    return fetch_tokenizer(reference.name)


def _catalog_entry(name: str) -> CatalogEntry | None:
    found = find_entries(name)
    exact = len(found) == 1 and name.lower() in (found[0].id.lower(), found[0].short_name)
    return found[0] if exact else None


def config_folder(name: str) -> Path:
    """Where the config of a Hub id lies, fetched if need be. Raises UserError naming the nearest."""
    on_disk = cached(name).config
    if on_disk is not None:
        return on_disk
    from finetune_tui.core.models.hub import fetch_config  # HTTP: only for who needs it

    try:
        return fetch_config(name)
    except UserError as error:
        near = nearest(name, catalog())
        if near is None:
            raise
        hint = f"did you mean '{near}'? {error.hint or ''}".rstrip()
        raise type(error)(error.message, where=error.where, hint=hint) from error


def _folder_reference(folder: Path) -> ModelReference:
    folder = folder.resolve()
    refuse_adapter(folder)
    if not (folder / "config.json").is_file():
        raise UserError(
            "no config.json in this folder",
            where=str(folder),
            hint="give the folder that holds config.json and *.safetensors",
        )
    title = plain(folder.name, 60)
    return ModelReference(str(folder), title, "folder", folder, None)


def _cache_file(folder: Path) -> Path:
    config = json.dumps(read_config_json(folder), sort_keys=True)
    key = f"{folder}\n{_installed('transformers')}\n{_installed('finetune-tui')}\n{config}"
    digest = hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()
    return user_cache_path("finetune-tui") / "manifests" / f"{digest}.json"


@cache
def _installed(package: str) -> str:
    """Its version; looking it up takes 14 ms."""
    return version(package)


def _letters(name: str) -> str:
    """For telling a slip from another model: 'Microsoft/phi2' is 'microsoft/phi-2' misspelt."""
    return "".join(letter for letter in name.lower() if letter.isalnum())


def _is_path(name: str) -> bool:
    """Whether it can only be meant as a folder: neither the catalog nor the Hub has such names."""
    return name.startswith(("/", "./", "../", "~")) or name.count("/") > 1


def _no_folder(name: str) -> UserError:
    hint = None
    try:
        path = Path(name).expanduser()
        near = nearest(path.name, (one.name for one in path.parent.iterdir() if one.is_dir()))
        hint = f"did you mean '{path.parent / near}'?" if near else None
    except (OSError, RuntimeError, ValueError):  # nothing beside it to suggest
        pass
    return UserError("there is no such folder", where=plain(name, 200), hint=hint)


def _hint(name: str) -> str:
    begins = [entry.short_name for entry in find_entries(name)]
    if begins:
        return f"which one: {', '.join(begins[:4])}?"
    known = [known for entry in catalog().values() for known in (entry.id, entry.short_name)]
    found = nearest(name, known)
    start = f"did you mean '{found}'? " if found else ""
    return f"{start}`finetune-tui models` lists the catalog; a folder or owner/name works too"
