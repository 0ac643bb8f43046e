"""A text of any length in the person's own pager."""

import os
import shlex
import shutil
import subprocess
from collections.abc import Iterable
from contextlib import suppress

from finetune_tui.core.errors import UserError
from finetune_tui.core.text import plain

_PAGERS = ("less", "more")


def page(lines: Iterable[str], wanted: str | None) -> None:
    """Show the lines, piece by piece as they are asked for; waits until the pager is closed.

    wanted: from the settings; else $PAGER, else what there is. Raises UserError when it does not work.
    """
    words = wanted or os.environ.get("PAGER") or next(filter(shutil.which, _PAGERS), "less")
    try:
        pager = subprocess.Popen(shlex.split(words), stdin=subprocess.PIPE)
    except (OSError, ValueError, IndexError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise UserError(
            f"the pager did not work ({plain(why, 100)})",
            where=plain(words, 60),
            hint="set $PAGER, or `pager` in the settings",
        ) from None
    assert pager.stdin is not None
    with suppress(BrokenPipeError):  # it was closed before the end
        for text in lines:
            pager.stdin.write(f"{text}\n".encode(errors="replace"))
        pager.stdin.close()
    pager.wait()
