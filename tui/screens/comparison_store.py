"""The rows of one set of a comparison, read beside the screen as they come into view."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from finetune_tui.core.evidence.compared_rows import ComparedRow, RowIndex, read_rows
from finetune_tui.tui.screens.place import Place

_KEPT = 600  # rows; of a row at most 256 Ki characters are held
_AROUND = 20  # rows before and after those in view


class RowStore:
    """changed: called when rows have come that were wanted. error: why none come any more."""

    def __init__(
        self, place: Place, folder: Path, index: RowIndex, changed: Callable[[], object]
    ) -> None:
        self.index = index
        self.error = ""
        self._place = place
        self._folder = folder
        self._changed = changed
        self._known: dict[int, ComparedRow] = {}
        self._is_reading = False

    def row(self, number: int) -> ComparedRow | None:
        return self._known.get(number)

    def want(self, numbers: Sequence[int], in_view: range) -> None:
        """Read those of `numbers` that are in view or near it, where they are not known."""
        near = numbers[max(in_view.start - _AROUND, 0) : in_view.stop + _AROUND]
        if not self._is_reading and any(
            number not in self._known for number in numbers[in_view.start : in_view.stop]
        ):
            self._read([number for number in near if number not in self._known])

    def _read(self, numbers: list[int]) -> None:
        self._is_reading = True
        folder, offsets = self._folder, [self.index.offsets[number] for number in numbers]

        def have_read(rows: Iterable[ComparedRow]) -> None:
            self._is_reading = False
            self._known.update(zip(numbers, rows, strict=True))
            for oldest in list(self._known)[:-_KEPT]:
                del self._known[oldest]
            self._changed()

        self._place.finetune.in_thread(
            lambda: read_rows(folder, offsets), have_read, f"rows of {folder}", self._failed
        )

    def _failed(self, error: Exception) -> None:
        """The rows stay unread until the comparison is opened again."""
        self.error = str(error)
        self._changed()
