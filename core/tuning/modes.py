"""How one module trains."""

from dataclasses import dataclass
from enum import StrEnum


class Mode(StrEnum):
    FROZEN = "frozen"
    LORA = "lora"
    FULL = "full"
    BIAS = "bias"


@dataclass(frozen=True, slots=True)
class Choice:
    """A mode, with rank and alpha where they differ from the spec's."""

    mode: Mode
    r: int | None = None
    lora_alpha: float | None = None


LORA = Choice(Mode.LORA)
