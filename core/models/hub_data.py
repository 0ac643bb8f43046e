"""Fetch a data set from the Hub by the rules of weights: `hf://datasets/OWNER/NAME[/FILE, FOLDER or SPLIT]`.

Code and pickle are never fetched. What was fetched once is used again without asking the Hub: which files
at which commit belong to a name is kept in a small record, so that a run resumed later trains on the same.
"""

import hashlib
import json
import os
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path, PurePosixPath

from finetune_tui.core.errors import UserError
from finetune_tui.core.files import write_atomically
from finetune_tui.core.models.data_set_name import DataSetName
from finetune_tui.core.models.hub_files import Download, OnProgress
from finetune_tui.core.text import plain

_NO_DATA = re.compile(r"(^|/)(dataset_infos?|state|package|config)\.json$|(^|/)[._]")


def fetch_data_set(
    wanted: DataSetName,
    suffixes: Collection[str],
    records: Path,
    on_progress: OnProgress | None = None,
    environment: Mapping[str, str] = os.environ,
) -> list[Path]:
    """The data files of a data set, in the Hub's cache; fetched first when they are not there.

    suffixes: which files are data. records: a folder for what is known of earlier downloads. Raises
    UserError (unknown, gated, no data, several sets in one, no room), WorkFailed (no network, cut, disk
    full), and whatever `on_progress` raises.
    """
    download = Download(wanted.name, environment, "dataset")
    record = records / f"{_digest(f'{wanted} {download.folder}')}.json"
    if found := _kept(record):
        return found
    names = [name for name in download.remote.names if _is_data(name, suffixes)]
    chosen = _chosen(names, wanted)
    files = [download.file(name) for name in chosen]
    download.check_room(files)
    download.take(*files, on_progress=on_progress)
    paths = [download.snapshot / name for name in chosen]
    _keep(record, paths)
    return paths


def _is_data(name: str, suffixes: Collection[str]) -> bool:
    return PurePosixPath(name).suffix.lower() in suffixes and not _NO_DATA.search(name)


def _chosen(names: Sequence[str], wanted: DataSetName) -> list[str]:
    """The file, the folder or the split that is meant."""
    part = wanted.part
    if part in names:
        return [part]
    if not names:
        hint = "give a file you trust, saved as .jsonl or Parquet"
        raise UserError("no file that is read as data", where=str(wanted), hint=hint)
    inside = [name for name in names if part and name.startswith(f"{part}/")]
    # A folder holds splits too; without one of its own name, "train" is meant.
    among, split = (inside, "train") if inside else (list(names), part or "train")
    found = [name for name in among if _is_of(name, split)]
    if not found and part and not inside:
        raise UserError(f"has no '{plain(part, 60)}'", where=wanted.name, hint=_offer(names))
    return _one_set(found or among, wanted)


def _is_of(name: str, split: str) -> bool:
    """Whether a path names a split as the Hub reads it: a folder or a word of the file's name."""
    return bool(re.search(rf"(^|[/._-]){re.escape(split)}([/._-]|$)", name, re.IGNORECASE))


def _one_set(names: Sequence[str], wanted: DataSetName) -> list[str]:
    """Files of one folder and one kind: several are several sets, or one set twice."""
    folders = sorted({str(PurePosixPath(name).parent) for name in names})
    kinds = sorted({PurePosixPath(name).suffix.lower() for name in names})
    if len(folders) > 1 or len(kinds) > 1:
        what = "several folders" if len(folders) > 1 else " and ".join(kinds)
        raise UserError(f"holds data in {what}", where=wanted.name, hint=_offer(names))
    return sorted(names)


def _offer(names: Sequence[str]) -> str:
    folders = sorted({str(PurePosixPath(name).parent) for name in names} - {"."})
    shown = [plain(name, 60) for name in (folders or sorted(names))[:5]]
    return f"name one after a slash: {', '.join(shown)}"


def _kept(record: Path) -> list[Path]:
    """The files of an earlier download, when every one is still whole."""
    try:
        files = json.loads(record.read_bytes())["files"]
        whole = all(Path(file).stat().st_size == size for file, size in files)
    except (OSError, ValueError, KeyError, TypeError):
        return []
    return [Path(file) for file, _ in files] if whole else []


def _keep(record: Path, paths: Sequence[Path]) -> None:
    files = [[str(path), path.stat().st_size] for path in paths]
    record.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(record, json.dumps({"files": files}), durable=False)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:20]
