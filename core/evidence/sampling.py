"""How an answer is drawn: the few settings, their bounds and the words beside them."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from finetune_tui.core.errors import UserError
from finetune_tui.core.text import did_you_mean, plain
from finetune_tui.core.tuning.fields import Field


@dataclass(frozen=True, slots=True)
class Sampling:
    """Names and meanings are those of Transformers' `generate`. temperature 0: always the likeliest token."""

    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    repetition_penalty: float = 1.0
    max_new_tokens: int = 256
    seed: int = 1

    @property
    def is_greedy(self) -> bool:
        return self.temperature == 0

    @property
    def words(self) -> str:
        """'greedy' or 'temperature .7, top_p .9', in a few words."""
        parts = ["greedy"]
        if not self.is_greedy:
            parts = [f"temperature {self.temperature:g}"]
            parts += [f"top_p {self.top_p:g}"] if self.top_p < 1 else []
            parts += [f"top_k {self.top_k}"] if self.top_k else []
            parts += [f"seed {self.seed}"]
        if self.repetition_penalty != 1:
            parts.append(f"repetition_penalty {self.repetition_penalty:g}")
        return ", ".join(parts)

    def changed(self, values: Mapping[str, Any]) -> "Sampling":
        """With these set, text read as the field reads it. Raises UserError naming key and value."""
        read = {}
        for name, value in values.items():
            if name not in SAMPLING:
                raise UserError(
                    f"'{plain(name, 40)}' is no sampling setting",
                    hint=did_you_mean(name, SAMPLING) or f"there are {', '.join(SAMPLING)}",
                )
            read[name] = SAMPLING[name].read(value)
        return dataclasses.replace(self, **read)

    def to_json(self) -> dict[str, float | int]:
        return {name: getattr(self, name) for name in SAMPLING}


_DEFAULT = Sampling()
_FIELDS = (
    Field(
        "temperature",
        "number",
        "0: always the likeliest token; .7 varies, above 1 wanders",
        _DEFAULT.temperature,
        minimum=0,
        maximum=5,
        why="two answers differ by the tuning alone, and come again",
    ),
    Field(
        "top_p",
        "number",
        "draws from the likeliest tokens that hold this share; 1: all",
        _DEFAULT.top_p,
        minimum=0.01,
        maximum=1,
        why="nothing is cut unless asked",
    ),
    Field(
        "top_k",
        "whole",
        "draws from so many of the likeliest tokens; 0: all",
        _DEFAULT.top_k,
        minimum=0,
        maximum=1_000_000,
        why="nothing is cut unless asked",
    ),
    Field(
        "repetition_penalty",
        "number",
        "above 1, tokens that were there become less likely",
        _DEFAULT.repetition_penalty,
        minimum=0.1,
        maximum=10,
        why="1 leaves the model as it is; JSON suffers from more",
    ),
    Field(
        "max_new_tokens",
        "whole",
        "an answer ends there at the latest",
        _DEFAULT.max_new_tokens,
        minimum=1,
        maximum=131_072,
        why="room for a long paragraph",
    ),
    Field(
        "seed",
        "whole",
        "the same seed draws the same answer; above temperature 0",
        _DEFAULT.seed,
        minimum=0,
        maximum=2**31 - 1,
        why="so that an answer can be had again",
    ),
)

SAMPLING: Mapping[str, Field] = {field.name: field for field in _FIELDS}
"""Every setting by its name, in the order they are shown."""
