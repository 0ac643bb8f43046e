"""What a person calls a run: a name, a note, tags, and whether it is put away.

They lie in `labels.json` beside the spec, which is never written again. Whoever writes it keeps the keys
that are not its own.
"""

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetune_tui.core.errors import UserError, WorkFailed
from finetune_tui.core.files import read_json, write_atomically
from finetune_tui.core.text import plain

if TYPE_CHECKING:
    from finetune_tui.core.runs.directory import RunDirectory
    from finetune_tui.core.tuning.task_spec import AnySpec

LABELS = "labels.json"

LONGEST_NAME = 60
LONGEST_NOTE = 1000
LONGEST_TAG = 32
MOST_TAGS = 16

_TAG = re.compile(r"\w[\w.+-]*")  # letters of any script, digits
_LARGEST = 2**16  # bytes


@dataclass(frozen=True, slots=True)
class Labels:
    """name, note: one plain line each, maybe empty. tags: small letters. archived: left out of lists."""

    name: str = ""
    note: str = ""
    tags: tuple[str, ...] = ()
    archived: bool = False


def read_labels(run: "RunDirectory") -> Labels:
    """What is missing or damaged counts as none; never raises."""
    values = _read(run.path)
    name, note, tags = (values.get(key) for key in ("name", "note", "tags"))
    found = [tag for tag in tags if _is_tag(tag)] if isinstance(tags, list) else []
    return Labels(
        plain(name, LONGEST_NAME) if isinstance(name, str) else "",
        plain(note, LONGEST_NOTE) if isinstance(note, str) else "",
        tuple(found[:MOST_TAGS]),
        values.get("archived") is True,
    )


def change_labels(
    run: "RunDirectory",
    name: str | None = None,
    note: str | None = None,
    tags: Iterable[str] | None = None,
    archived: bool | None = None,
) -> Labels:
    """Change what is given; "" and () take away. Returns all labels.

    Raises UserError for what cannot be a label, WorkFailed when it cannot be written.
    """
    labels = read_labels(run)
    if name is not None:
        labels = replace(labels, name=_line("name", name, LONGEST_NAME))
    if note is not None:
        labels = replace(labels, note=_line("note", note, LONGEST_NOTE))
    if tags is not None:
        labels = replace(labels, tags=_checked_tags(tags))
    if archived is not None:
        labels = replace(labels, archived=archived)
    try:
        write_labels(run.path, labels)
    except OSError as error:
        raise WorkFailed(
            f"the labels cannot be written ({error.strerror})", where=str(run.path)
        ) from error
    return labels


def write_labels(folder: Path, labels: Labels) -> None:
    """Into the folder of a run. Raises OSError."""
    ours = {
        "name": labels.name,
        "note": labels.note,
        "tags": list(labels.tags),
        "archived": labels.archived,
    }
    text = json.dumps(_read(folder) | ours, indent=1, ensure_ascii=False)
    write_atomically(folder / LABELS, text.encode("utf-8", "replace") + b"\n", durable=False)


def labels_of(spec: "AnySpec") -> Labels:
    """What a spec says of them. Raises UserError."""
    return Labels(
        _line("name", spec.name or "", LONGEST_NAME),
        _line("note", spec.note or "", LONGEST_NOTE),
        _checked_tags(spec.tags),
    )


def read_tags(text: str) -> tuple[str, ...]:
    """Tags as a person types them, with commas or spaces between. Raises UserError."""
    return _checked_tags(re.split(r"[\s,]+", text.strip(" ,\t\n")) if text.strip(" ,\t\n") else ())


def _read(folder: Path) -> dict[str, Any]:
    try:
        values = read_json(folder / LABELS, limit=_LARGEST)
    except UserError:
        return {}
    return values if isinstance(values, dict) else {}


def _line(key: str, text: str, longest: int) -> str:
    clean = plain(" ".join(text.split()))
    if len(clean) > longest:
        raise UserError(
            f"{len(clean)} characters are too many", where=key, hint=f"{longest} at most"
        )
    return clean


def _checked_tags(tags: Iterable[str]) -> tuple[str, ...]:
    found = tuple(dict.fromkeys(tag.strip().lower() for tag in tags if tag.strip()))
    _refuse_wrong(found)
    return found


def _is_tag(value: object) -> bool:
    is_word = isinstance(value, str) and len(value) <= LONGEST_TAG and _TAG.fullmatch(value)
    return bool(is_word)


def _refuse_wrong(tags: Sequence[str]) -> None:
    for tag in tags:
        if not _is_tag(tag):
            raise UserError(
                f"'{plain(tag, 40)}' cannot be a tag",
                where="tags",
                hint=f"letters, digits, `.`, `_`, `-`, `+`; {LONGEST_TAG} at most",
            )
    if len(tags) > MOST_TAGS:
        raise UserError(f"{len(tags)} tags are too many", where="tags", hint=f"{MOST_TAGS} at most")
