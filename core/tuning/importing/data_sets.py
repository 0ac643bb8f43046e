"""What another tool names as data, as sources that are read here."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from finetune_tui.core.models.data_set_name import FILE_SUFFIXES, SCHEME
from finetune_tui.core.models.weights import is_hub_id
from finetune_tui.core.text import plain
from finetune_tui.core.tuning.importing.notes import Draft, Kind

_BUILDERS = frozenset({"json", "csv", "parquet"})
_SPLIT = re.compile(r"[A-Za-z0-9_.-]+")
_PARENTS = 3  # folders above the file that its paths may be meant from


class Sources:
    """Finds what a path means: from the file's folder, from where one stands, from a folder above."""

    def __init__(self, folder: Path, here: Path, draft: Draft) -> None:
        self._folders = [folder, here, *list(folder.parents)[:_PARENTS]]
        self._draft = draft

    def folder_with(self, name: str, inside: str) -> Path | None:
        """The folder of that name in which there is such a file."""
        for base in self._folders:
            found = _joined(base, name)
            if found is not None and _is_file(found / inside):
                return found
        return None

    def find(self, source: str, key: str) -> str:
        """A file, a folder or a data set of the Hub, in words that mean the same everywhere."""
        if source.startswith(
            ("s3://", "gs://", "gcs://", "az://", "abfs://", "oci://", "https://")
        ):
            words = f"'{plain(source, 100)}' is not fetched: put the file on this disk"
            self._draft.say(Kind.IMPOSSIBLE, key, words)
            return source
        for base in self._folders:
            found = _joined(base, source)
            if found is not None and found.exists():
                return str(found.resolve())
        suffix = Path(source).suffix.lower()
        if is_hub_id(source) and suffix not in FILE_SUFFIXES:
            return SCHEME + source
        words = f"'{plain(source, 100)}' is not on this disk: say where, before you train"
        self._draft.say(Kind.IMPOSSIBLE, key, words)
        return str(_joined(self._folders[0], source) or source)

    def of_entry(self, entry: Mapping[str, Any], key: str) -> list[str]:
        """`path`, `data_files`, `name` and `split` of one data set, as the datasets library reads them."""
        path, files = _text(entry.get("path")), _texts(entry.get("data_files"))
        name, split = _text(entry.get("name")), _text(entry.get("split")) or "train"
        if name:
            words = (
                f"of the data set only what lies in its main part is read, not '{plain(name, 40)}'"
            )
            self._draft.say(Kind.CHANGES, f"{key}.name", words)
        if path in _BUILDERS and files:
            return [self.find(file, f"{key}.data_files") for file in files]
        if not path:
            raise self._draft.wrong(key, "names no data")
        source = self.find(path, f"{key}.path")
        if not source.startswith(SCHEME):
            if files:
                return [self.find(str(Path(path) / file), f"{key}.data_files") for file in files]
            return [source]
        if files:
            return [f"{source}/{file}" for file in files]
        if not _SPLIT.fullmatch(split):
            words = f"'{plain(split, 40)}' takes a part of the rows: here all of them train"
            self._draft.say(Kind.CHANGES, f"{key}.split", words)
            split = split.partition("[")[0]
        return [source if split == "train" else f"{source}/{split}"]


def expect_columns(
    draft: Draft, key: str, found: Mapping[str, Any], wanted: Mapping[str, Sequence[str]]
) -> None:
    """Note columns of rows that are called otherwise than what is read here. found: meaning → its name."""
    for meaning, name in found.items():
        names = wanted.get(meaning)
        if names is None or name is None or name in names:
            continue
        words = f"the column '{plain(str(name), 40)}' is not read: call it '{names[0]}' in the file"
        draft.say(Kind.IMPOSSIBLE, key, words)


def _joined(base: Path, name: str) -> Path | None:
    try:
        path = base / Path(name).expanduser()
        path.exists()
    except (OSError, ValueError, RuntimeError):  # a name too long, a zero byte, ~ of nobody
        return None
    return path


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:
        return False


def _text(value: Any) -> str | None:
    if value is None or isinstance(value, dict | list | bool):
        return None
    return str(value).strip() or None


def _texts(value: Any) -> list[str]:
    items = value if isinstance(value, list) else [value]
    return [text for text in map(_text, items) if text]
