"""What to do with an error that nobody foresaw: a line for the person, the whole story in a file."""

import tempfile
import traceback
from pathlib import Path

from finetune_tui.core.errors import WorkFailed


def told(error: BaseException, home: Path) -> WorkFailed:
    """The error as one line. Its traceback goes to `<home>/app-errors.txt`, else to a temporary file."""
    story = "".join(traceback.format_exception(error))
    first = (str(error).strip().splitlines() or [""])[0]
    return WorkFailed(
        f"a fault of the app: {type(error).__name__}{': ' if first else ''}{first}",
        hint=f"what happened is in {_write(story, home)}; runs are not touched by it",
    )


def _write(story: str, home: Path) -> Path:
    for folder in (home, Path(tempfile.gettempdir())):
        path = folder / "app-errors.txt"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with path.open("a", encoding="utf-8", errors="replace") as file:
                file.write(f"{story}\n")
        except OSError:
            continue
        return path
    return Path("nowhere: no disk can be written")
