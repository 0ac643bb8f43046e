"""What lies in a model's folder, and which models the Hub's cache on this disk holds. Looks, no torch.

A shard is judged by its header: the header says how long the file must be, so a cut download is seen
without reading the weights.
"""

import json
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finetune_tui.core.errors import UserError
from finetune_tui.core.files import read_json
from finetune_tui.core.text import plain, size

INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"
ADAPTER_CONFIG = "adapter_config.json"
TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model")
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")
_PLAIN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,200}")
_LONGEST_HEADER = 25 * 2**20  # ten times that of the largest models
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}", re.ASCII)
_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True, slots=True)
class Weights:
    """The safetensors of one folder. bytes: of the files that are there.

    missing: shards the index names that are not there. broken: (name, what is wrong with it). pickled:
    files that are never opened. quantised: what config.json says of it, in words.
    """

    folder: Path
    bytes: int
    shards: int
    missing: tuple[str, ...]
    broken: tuple[tuple[str, str], ...]
    pickled: tuple[str, ...]
    quantised: str | None
    has_tokenizer: bool

    @property
    def is_complete(self) -> bool:
        return bool(self.shards) and not self.missing and not self.broken

    def problem(self) -> UserError | None:
        """Why this folder cannot be trained, or None."""
        where = str(self.folder)
        if self.broken:
            name, what = self.broken[0]
            return UserError(f"{name} {what}", where=where, hint=_AGAIN)
        if self.missing:
            first = self.missing[0]
            others = f" and {len(self.missing) - 1} more" if len(self.missing) > 1 else ""
            return UserError(f"{first}{others} is missing", where=where, hint=_AGAIN)
        if self.shards:
            return None
        if self.pickled:
            return UserError(
                f"only {self.pickled[0]}: pickle can run code, so it is not opened",
                where=where,
                hint=f"where you trust the file, write it again as safetensors: {_CONVERT}",
            )
        return UserError(
            "no *.safetensors in this folder", where=where, hint="give the folder with the weights"
        )


_AGAIN = "copy or download it again; what is whole need not be fetched twice"
_CONVERT = "`save_pretrained` of Transformers does it"


def problem_of(folder: Path) -> str | None:
    """Why this folder's weights cannot be trained, in one line, or None. Never raises."""
    try:
        problem = look_at(folder).problem()
    except UserError as error:
        problem = error
    except OSError as error:
        return f"{plain(str(folder), 80)} cannot be read ({error.strerror})"
    return str(problem) if problem else None


def require_whole(folder: Path) -> None:
    """Raises UserError, with the remedy, when this folder's weights cannot be trained."""
    problem = look_at(folder).problem()
    if problem is not None:
        raise problem


def look_at(folder: Path) -> Weights:
    """What `folder` holds of a model's weights. Raises UserError when its index cannot be read."""
    names, missing = _shards(folder)
    broken = [(name, what) for name in names if (what := cut_short(folder / name))]
    return Weights(
        folder=folder,
        bytes=sum(_size(folder / name) for name in names),
        shards=len(names),
        missing=missing,
        broken=tuple(broken),
        pickled=tuple(sorted(path.name for glob in _PICKLES for path in folder.glob(glob))[:5]),
        quantised=_quantisation(folder),
        has_tokenizer=has_tokenizer(folder),
    )


def has_tokenizer(folder: Path) -> bool:
    return any((folder / name).is_file() for name in TOKENIZER_FILES)


def refuse_adapter(folder: Path) -> None:
    """Raises UserError when `folder` is an adapter and no model: it names the base."""
    if (folder / "config.json").is_file() or not (folder / ADAPTER_CONFIG).is_file():
        return
    base = base_of_adapter(read_json(folder / ADAPTER_CONFIG, limit=2**20))
    raise UserError(
        f"this is an adapter, made for {base or 'a base it does not name'}, not a model",
        where=str(folder),
        hint=f"open {base or 'its base'} to train another" if base else "open its base instead",
    )


def base_of_adapter(config: Any) -> str | None:
    """The base that an adapter_config.json names, plain."""
    name = config.get("base_model_name_or_path") if isinstance(config, dict) else None
    return plain(name, 120) if isinstance(name, str) and name.strip() else None


def shards_of_index(index: Any, where: str) -> tuple[str, ...]:
    """The file names that an index names, sorted.

    Raises UserError for a name that is not a plain one: an index never points out of its folder.
    """
    named = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(named, dict) or not named:
        raise UserError("no weight_map: this is not an index of shards", where=where)
    names = {name for name in named.values() if isinstance(name, str)}
    for name in names:
        if not _PLAIN_NAME.fullmatch(name) or not name.endswith(".safetensors"):
            raise UserError(f"names a file that is no shard: '{plain(name, 60)}'", where=where)
    return tuple(sorted(names))


def cut_short(path: Path) -> str | None:
    """What is wrong with a safetensors file by its header and size, or None."""
    try:
        length = path.stat().st_size
        with path.open("rb") as file:
            header_length = int.from_bytes(file.read(8), "little")
            if length < 8 or not 2 <= header_length <= min(_LONGEST_HEADER, length - 8):
                return f"is not a whole safetensors file ({size(length)})"
            header = json.loads(file.read(header_length))
        ends = [entry["data_offsets"][1] for key, entry in header.items() if key != "__metadata__"]
        whole = 8 + header_length + max(ends, default=0)
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError):
        return "has a header that is not safetensors"
    if length != whole:
        return f"is {length:,} bytes and should be {whole:,}"
    return None


def _shards(folder: Path) -> tuple[list[str], tuple[str, ...]]:
    """(names that are there, names that should be)."""
    if (folder / INDEX).is_file():
        where = str(folder / INDEX)
        named = shards_of_index(read_json(folder / INDEX), where)
        there = [name for name in named if (folder / name).is_file()]
        return there, tuple(name for name in named if name not in there)
    if (folder / SINGLE).is_file():
        return [SINGLE], ()
    return sorted(path.name for path in folder.glob("*.safetensors") if path.is_file()), ()


def _quantisation(folder: Path) -> str | None:
    """What config.json's quantization_config says, in words: Transformers would act on it silently."""
    try:
        config = read_json(folder / "config.json", limit=2 * 2**20)
    except UserError:
        return None
    found = config.get("quantization_config") if isinstance(config, dict) else None
    if not isinstance(found, dict):
        return None
    bits = 4 if found.get("load_in_4bit") else 8 if found.get("load_in_8bit") else found.get("bits")
    method = found.get("quant_method") or "unknown method"
    return plain(f"{bits}-bit {method}" if isinstance(bits, int) else str(method), 40)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


# The Hub's cache: models--OWNER--NAME/{refs/main, snapshots/COMMIT/FILE → ../../blobs/ETAG}


@dataclass(frozen=True, slots=True)
class Cached:
    """What the cache holds of one model. folder: the snapshot to load from, when it is complete.

    config: a snapshot folder that has at least config.json. bytes: everything of it on this disk,
    halves of downloads included.
    """

    name: str
    folder: Path | None
    config: Path | None
    bytes: int

    @property
    def is_complete(self) -> bool:
        return self.folder is not None


def is_hub_id(name: str) -> bool:
    """Whether the text could be an id on the Hub: owner/name."""
    return bool(_HUB_ID.fullmatch(name)) and "--" not in name and ".." not in name


def hub_home(environment: Mapping[str, str] = os.environ) -> Path:
    """HF_HOME, as huggingface_hub finds it."""
    cache = environment.get("XDG_CACHE_HOME") or "~/.cache"
    return _path(environment.get("HF_HOME") or f"{cache}/huggingface")


def hub_cache(environment: Mapping[str, str] = os.environ) -> Path:
    """HF_HUB_CACHE, as huggingface_hub finds it."""
    named = environment.get("HF_HUB_CACHE") or environment.get("HUGGINGFACE_HUB_CACHE")
    return _path(named) if named else hub_home(environment) / "hub"


def model_folder(name: str, cache: Path) -> Path:
    """Where the cache keeps a Hub id."""
    return cache / f"models--{name.replace('/', '--')}"


def cached(name: str, environment: Mapping[str, str] = os.environ) -> Cached:
    """What the Hub's cache holds of a Hub id. Never raises: what cannot be read is not there."""
    folder = model_folder(name, hub_cache(environment))
    try:
        snapshots = _snapshots(folder)
        complete = next((path for path in snapshots if _is_whole(path)), None)
        config = next((path for path in snapshots if (path / "config.json").is_file()), None)
        return Cached(name, complete, complete or config, _bytes_in(folder / "blobs"))
    except OSError:
        return Cached(name, None, None, 0)


def scan_cache(
    names: Iterable[str], environment: Mapping[str, str] = os.environ
) -> dict[str, Cached]:
    """Which of these Hub ids are on this disk, complete or partial. Ids with nothing are left out."""
    try:
        there = {path.name for path in hub_cache(environment).iterdir()}
    except OSError:
        return {}
    wanted = [name for name in names if f"models--{name.replace('/', '--')}" in there]
    found = (cached(name, environment) for name in wanted)
    return {one.name: one for one in found if one.bytes or one.config}


def weights_on_disk(
    name: str, folder: Path | None, environment: Mapping[str, str] = os.environ
) -> bool:
    """Whether a model's weights are whole in its folder or in the Hub's cache on this disk."""
    if folder is None:
        return cached(name, environment).is_complete
    try:
        return look_at(folder).is_complete
    except (UserError, OSError):
        return False


def _snapshots(folder: Path) -> list[Path]:
    """Snapshot folders, the one that `main` means first, then the newest."""
    try:
        found = [path for path in (folder / "snapshots").iterdir() if path.is_dir()]
    except OSError:
        return []
    main = _commit_of_main(folder)
    return sorted(found, key=lambda path: (path.name == main, path.stat().st_mtime), reverse=True)


def _commit_of_main(folder: Path) -> str | None:
    try:
        commit = (folder / "refs" / "main").read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return None
    return commit if _COMMIT.fullmatch(commit) else None


def _is_whole(snapshot: Path) -> bool:
    if not (snapshot / "config.json").is_file() or not has_tokenizer(snapshot):
        return False
    try:
        return look_at(snapshot).is_complete
    except UserError:
        return False


def _bytes_in(blobs: Path) -> int:
    try:
        return sum(_size(path) for path in blobs.iterdir())
    except OSError:
        return 0


def _path(text: str) -> Path:
    return Path(os.path.expandvars(text)).expanduser()
