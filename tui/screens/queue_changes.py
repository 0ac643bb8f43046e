"""Changes of the queue that can be taken back."""

from dataclasses import dataclass
from pathlib import Path

from finetune_tui.core.runs.queue import Removed, move, put_back, remove
from finetune_tui.core.text import plain


@dataclass(slots=True)
class Moving:
    """An item to another place of the queue; places count from 0."""

    home: Path
    item_id: str
    before: int
    after: int

    @property
    def words(self) -> str:
        return f"{plain(self.item_id)} moved"

    def do(self) -> None:
        move(self.home, self.item_id, self.after)

    def undo(self) -> None:
        move(self.home, self.item_id, self.before)


@dataclass(slots=True)
class Removing:
    """An item out of the queue."""

    home: Path
    item_id: str
    words: str = ""
    _removed: Removed | None = None

    def do(self) -> None:
        self._removed = remove(self.home, self.item_id)
        self.words = f"{plain(self.item_id)} is out of the queue"

    def undo(self) -> None:
        if self._removed:
            put_back(self.home, self._removed)
            self.words = f"{plain(self.item_id)} is in the queue again"
