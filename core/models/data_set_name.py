"""What names a data set on the Hub: `hf://datasets/OWNER/NAME`, with a file, folder or split after it."""

import re
from dataclasses import dataclass
from pathlib import Path

from finetune_tui.core.errors import UserError
from finetune_tui.core.models.weights import is_hub_id
from finetune_tui.core.text import plain

SCHEME = "hf://datasets/"
FILE_SUFFIXES = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet")
"""What the name of a data file ends with: `owner/name.csv` is a file, there or not."""


@dataclass(frozen=True, slots=True)
class DataSetName:
    """owner/name, and the part that is meant: a file, a folder, a split, or "" for the training split."""

    name: str
    part: str

    def __str__(self) -> str:
        return SCHEME + self.name + (f"/{self.part}" if self.part else "")


def data_set_name(source: str) -> DataSetName | None:
    """What a source names on the Hub; None when it is no `hf://` and no owner/name.

    Raises UserError for an `hf://` that names no data set.
    """
    if not source.startswith("hf:"):
        return DataSetName(source, "") if is_hub_id(source) else None
    # A path made of it has lost a slash.
    path = re.sub(r"^hf:/+(datasets/)?", "", source).strip("/")
    owner, _, rest = path.partition("/")
    name, _, part = rest.partition("/")
    if not is_hub_id(f"{owner}/{name}"):
        hint = f"{SCHEME}OWNER/NAME, and /FILE, /FOLDER or /SPLIT after it"
        raise UserError(f"'{plain(source, 80)}' names no data set", hint=hint)
    return DataSetName(f"{owner}/{name}", part)


def anchored(source: str, folder: Path) -> str:
    """What a source means to someone in `folder`, in words that mean the same everywhere: a file's whole
    path, or the whole name of a data set. Never raises; looks only whether a file is there.
    """
    path = folder / Path(source).expanduser()
    is_name = is_hub_id(source) and path.suffix.lower() not in FILE_SUFFIXES
    if source.startswith("hf:"):
        return source
    return SCHEME + source if is_name and not path.exists() else str(path.absolute())
