"""The places and where they live: each is imported on its first visit, so that the first paint is early."""

import importlib
from dataclasses import dataclass

from finetune_tui.tui.screens.place import Place


@dataclass(frozen=True, slots=True)
class PlaceEntry:
    """A class that is named and not yet imported."""

    module: str
    name: str

    def load(self) -> type[Place]:
        loaded: type[Place] = getattr(importlib.import_module(self.module), self.name)
        return loaded


PLACES: dict[str, PlaceEntry] = {
    name: PlaceEntry(f"finetune_tui.tui.screens.{name}", f"{name.capitalize()}Place")
    for name in ("model", "layers", "data", "train", "runs")
} | {"try": PlaceEntry("finetune_tui.tui.screens.trying", "TryPlace")}  # a keyword names no module
