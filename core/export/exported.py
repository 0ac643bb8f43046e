"""What an export left behind, as its event and the note inside the folder say it."""

from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from finetune_tui.core.errors import UserError
from finetune_tui.core.files import read_json
from finetune_tui.core.runs.events import Event
from finetune_tui.core.runs.words import number, whole
from finetune_tui.core.text import plain, size

NOTE = "export.json"
"""Lies in the folder: what it is, and which export wrote it."""


@dataclass(frozen=True, slots=True)
class Exported:
    """A folder that is whole. bytes: of its files. dtype: of merged weights, None for an adapter.

    difference: the largest distance of a logit, read back from disk, from the run's own model over so
    many `prompts`; tolerance: what was allowed; moved: how far tuning itself moved them. None: nothing was
    merged, the files were compared byte by byte.
    """

    out: Path
    merged: bool
    dtype: str | None
    bytes: int
    files: int
    difference: float | None = None
    tolerance: float | None = None
    moved: float | None = None
    prompts: int = 0

    @property
    def words(self) -> str:
        """`merged model (bfloat16), 5.1G, in /models/invoices`."""
        what = f"merged model ({self.dtype})" if self.merged else "adapter"
        return plain(f"{what}, {size(self.bytes)}, in {self.out}")

    @property
    def check_words(self) -> str:
        """How it was checked before it was called done."""
        if self.difference is None:
            return "every file was read back and compared byte by byte"
        return (
            f"read back from disk, its logits differ from the run's by at most {self.difference:.2g} "
            f"over {self.prompts} prompts (allowed: {self.tolerance:.2g}; tuning moved them by up to "
            f"{self.moved or 0:.2g})"
        )

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "out": str(self.out)}

    @staticmethod
    def from_event(event: Event) -> "Exported | None":
        """What an event `exported` or `finished` of an export says; None when it says none of it."""
        out, merged = event.get("out"), event.get("merged")
        size_, files = whole(event.get("bytes")), whole(event.get("files"))
        if not isinstance(out, str) or type(merged) is not bool or size_ is None or files is None:
            return None
        dtype = event.get("dtype")
        return Exported(
            out=Path(out),
            merged=merged,
            dtype=plain(dtype, 20) if isinstance(dtype, str) else None,
            bytes=size_,
            files=files,
            difference=number(event.get("difference")),
            tolerance=number(event.get("tolerance")),
            moved=number(event.get("moved")),
            prompts=whole(event.get("prompts")) or 0,
        )


def exported_by(out: Path, key: str) -> Exported | None:
    """The export that lies in `out` when the one called `key` wrote it; never raises."""
    try:
        note = read_json(out / NOTE, limit=2**20)
    except UserError:
        return None
    if not isinstance(note, dict) or note.get("export") != key:
        return None
    return Exported.from_event({**note, "out": str(out)})


def note_of(exported: Exported, key: str) -> dict[str, Any]:
    """What the note in the folder says: no path of this machine."""
    told = {item.name: getattr(exported, item.name) for item in fields(exported)}
    del told["out"]
    return {"export": key, **told}
