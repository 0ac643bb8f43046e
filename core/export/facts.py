"""What a model card tells of a run, gathered from its files; nothing of this machine or its owner."""

import hashlib
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

from finetune_tui.core.data.finding import look_up
from finetune_tui.core.errors import UserError
from finetune_tui.core.export.plan import Trained
from finetune_tui.core.files import open_plain
from finetune_tui.core.models.data_set_name import DataSetName
from finetune_tui.core.runs.curves import Curves
from finetune_tui.core.runs.events import read_events
from finetune_tui.core.runs.memory_taken import Taken, taken
from finetune_tui.core.text import plain

_WHOLE_UP_TO = 2**32  # bytes of all files together: about ten seconds of reading
_ENDS = 2**24  # bytes hashed at either end of what is beyond
_MOST_FILES = 50
_CARD_HEAD = 2**16  # bytes of a base's own card that are looked at

# What the Hub calls the licences of the catalog.
_LICENCES = {
    "MIT": "mit",
    "Apache-2.0": "apache-2.0",
    "Gemma Terms of Use": "gemma",
    "Llama 3.1 Community": "llama3.1",
    "Llama 3.2 Community": "llama3.2",
}
_LICENCE = re.compile(r"^license: *([a-z0-9][a-z0-9.\-]{0,40}) *$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class DataFile:
    """sha256: of the whole file, or of `parts` where it is too large for that; None: it is not here.

    changed: whether it was written after the training began. name: without its folder.
    """

    name: str
    bytes: int | None
    sha256: str | None
    parts: str | None = None
    changed: bool = False


@dataclass(frozen=True, slots=True)
class Facts:
    """Texts are as they came: the card makes them harmless. data: the event that counted the rows."""

    trained: Trained
    patterns: tuple[str, ...]
    trainable: int | None
    parameters: int | None
    licence: str | None
    train: tuple[DataFile, ...]
    held_out: tuple[DataFile, ...]
    data: dict[str, Any]
    steps: int | None
    train_loss: float | None
    best: tuple[int, float] | None
    measured: dict[str, tuple[int, int]]
    memory: Taken | None
    seconds: float | None
    versions: dict[str, str]


def gather(trained: Trained, patterns: Sequence[str]) -> Facts:
    """patterns: the trained modules, folded, each with its mode. Reads events and data, no network."""
    curves = Curves()
    data: dict[str, Any] = {}
    finished: dict[str, Any] = {}
    measured: Taken | None = None
    for event in read_events(trained.run.events_path):
        curves.feed([event])
        if event["kind"] == "data":
            data = event
        elif event["kind"] == "finished":
            finished = event
        measured = taken(event) if event["kind"] in ("memory", "finished") else measured
    started = trained.started
    began = _number(started.get("t"))
    versions = started.get("versions")
    return Facts(
        trained=trained,
        patterns=tuple(patterns),
        trainable=_whole(started.get("trainable_parameters")),
        parameters=_whole(started.get("parameters")),
        licence=licence_of(trained),
        train=data_files(trained.spec.train_files, began),
        held_out=data_files(trained.spec.eval_files, began),
        data=data,
        steps=curves.last_step,
        train_loss=_number(finished.get("train_loss")) or curves.latest("loss"),
        best=curves.best,
        measured=dict(curves.measured),
        memory=measured,
        seconds=_number(finished.get("seconds")),
        versions={
            plain(str(name), 40): plain(str(value), 40)
            for name, value in (versions if isinstance(versions, dict) else {}).items()
            if value
        },
    )


def licence_of(trained: Trained) -> str | None:
    """As the Hub calls it: the catalog's, else what the base's own card says; never a guess."""
    entry = trained.reference.entry
    if entry is not None:
        return _LICENCES.get(entry.licence)
    folder = trained.reference.folder
    if folder is None:
        return None
    try:
        with open_plain(folder / "README.md") as file:
            head = file.read(_CARD_HEAD).decode("utf-8", "replace")
    except OSError:
        return None
    front, _, body = head.removeprefix("---\n").partition("\n---\n")
    found = _LICENCE.search(front) if head.startswith("---\n") and body else None
    return found[1] if found else None


def data_files(sources: Sequence[str], began: float | None) -> tuple[DataFile, ...]:
    """What the first sources are now. began: seconds since 1970 at which the training read them."""
    found: list[DataFile] = []
    left = _WHOLE_UP_TO
    for one in islice(_looked_up(sources), _MOST_FILES):
        file = DataFile(one, None, None) if isinstance(one, str) else _data_file(one, began, left)
        left -= file.bytes or 0
        found.append(file)
    return tuple(found)


def _looked_up(sources: Sequence[str]) -> Iterator[Path | str]:
    """Files that are here, and the names of what is not."""
    for source in sources:
        try:
            looked = look_up(source)
        except (UserError, OSError):
            yield Path(source).name or "data"
            continue
        if isinstance(looked, DataSetName):
            yield str(looked)
        else:
            yield from looked


def _data_file(path: Path, began: float | None, whole_up_to: int) -> DataFile:
    try:
        with open_plain(path) as file:
            facts = os.fstat(file.fileno())
            digest, parts = hashlib.sha256(), None
            if facts.st_size <= max(whole_up_to, 2 * _ENDS):
                _feed(digest, file, facts.st_size)
            else:
                parts = f"first and last {_ENDS // 2**20} MiB"
                for place in (0, facts.st_size - _ENDS):
                    file.seek(place)
                    _feed(digest, file, _ENDS)
    except OSError:
        return DataFile(path.name, None, None)
    changed = began is not None and facts.st_mtime > began
    return DataFile(path.name, facts.st_size, digest.hexdigest(), parts, changed)


def _feed(digest: Any, file: Any, left: int) -> None:
    while left and (chunk := file.read(min(left, 2**20))):
        digest.update(chunk)
        left -= len(chunk)


def date_of(seconds: Any) -> str | None:
    """`2026-11-21`, in UTC; None for what is no time of this century."""
    if type(seconds) not in (int, float) or not 946_684_800 <= seconds < 4_102_444_800:
        return None
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d}"


def _number(value: Any) -> float | None:
    return float(value) if type(value) in (int, float) else None


def _whole(value: Any) -> int | None:
    return value if type(value) is int else None
