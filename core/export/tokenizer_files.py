"""The base's tokenizer beside an export, read back before it is trusted; and its licence."""

import filecmp
import shutil
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer

from finetune_tui.core.errors import WorkFailed
from finetune_tui.core.export.plan import TOKENIZER, Trained, companions
from finetune_tui.core.training.room import is_disk_full

_ODD_TEXT = "Order 12: 3 × naïve café, 4.50 € <b>\n\tend"


def write_tokenizer(folder: Path, trained: Trained) -> None:
    """The base's own files where, read back from here, they write what they wrote there.

    Without the model's config beside them they may not: then it is saved anew, with its class.
    Raises WorkFailed when that does not either.
    """
    for source in companions(trained.reference):
        copy_checked(source, folder / source.name)
    try:
        there = AutoTokenizer.from_pretrained(trained.reference.weights, trust_remote_code=False)
        if _writes_the_same(folder, there):
            return
        for name in TOKENIZER:
            (folder / name).unlink(missing_ok=True)
        there.save_pretrained(folder)
        if _writes_the_same(folder, there):
            return
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        if is_disk_full(error):
            raise
        raise WorkFailed(
            "the tokenizer cannot be read back from the export", where=trained.reference.name
        ) from error
    raise WorkFailed(
        "the exported tokenizer does not write what the base's does", where=trained.reference.name
    )


def _writes_the_same(folder: Path, there: Any) -> bool:
    here = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    return bool(
        here(_ODD_TEXT)["input_ids"] == there(_ODD_TEXT)["input_ids"]
        and here.chat_template == there.chat_template
        and here.special_tokens_map == there.special_tokens_map
    )


def copy_checked(source: Path, target: Path) -> None:
    """Raises WorkFailed when the copy, read back, is not the source."""
    shutil.copyfile(source, target)
    if not filecmp.cmp(source, target, shallow=False):
        raise WorkFailed("a copy is not its source; the disk may be failing", where=source.name)
