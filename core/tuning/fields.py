"""What each key of a spec may hold, and the words beside it: one table for YAML, `--set` and the form."""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

from finetune_tui.core.errors import UserError
from finetune_tui.core.text import did_you_mean, plain

Kind = Literal["text", "whole", "number", "yes/no", "choice", "files", "names", "modules"]


@dataclass(frozen=True, slots=True)
class Field:
    """One key. help: the rule of thumb the settings show beside the field; why: the default's reason."""

    name: str
    kind: Kind
    help: str
    default: Any
    choices: tuple[str, ...] = ()
    minimum: float = -math.inf
    maximum: float = math.inf
    optional: bool = False
    why: str = ""

    def read(self, value: Any) -> Any:
        """`value` as this field holds it; text from YAML, a flag or a form is coerced.

        Raises UserError that names the key, the value and what would be right.
        """
        if value is None or (isinstance(value, str) and not value.strip() and self.optional):
            if self.optional:
                return None
            raise self._wrong(value, "a value")
        match self.kind:
            case "text":
                return self._text(value)
            case "whole":
                return self._bounded(self._whole(value))
            case "number":
                return self._bounded(self._number(value))
            case "yes/no":
                return self._yes_no(value)
            case "choice":
                return self._choice(value)
            case _:
                return self._list(value)

    def _text(self, value: Any) -> str:
        if not isinstance(value, str) or not value.strip():
            raise self._wrong(value, "text")
        return value.strip()

    def _whole(self, value: Any) -> int:
        number = self._number(value)
        if not number.is_integer():
            raise self._wrong(value, "a whole number")
        return int(number)

    def _number(self, value: Any) -> float:
        if isinstance(value, bool):
            raise self._wrong(value, "a number")
        try:
            number = float(value)  # YAML reads 2e-4 as text
        except (TypeError, ValueError, OverflowError):
            raise self._wrong(value, "a number") from None
        if not math.isfinite(number):
            raise self._wrong(value, "a finite number")
        return number

    def _bounded(self, number: float) -> float:
        if not self.minimum <= number <= self.maximum:
            raise self._wrong(number, f"between {self.minimum:.12g} and {self.maximum:.12g}")
        return number

    def _yes_no(self, value: Any) -> bool:
        if isinstance(value, bool):
            return value
        word = str(value).strip().lower()
        if word in ("true", "yes", "on", "1"):
            return True
        if word in ("false", "no", "off", "0"):
            return False
        raise self._wrong(value, "true or false")

    def _choice(self, value: Any) -> str:
        word = str(value).strip()
        if word not in self.choices:
            meant = did_you_mean(word, self.choices)
            raise self._wrong(value, f"one of {', '.join(self.choices)}", meant)
        return word

    def _list(self, value: Any) -> tuple[str, ...]:
        items = value.split(",") if isinstance(value, str) else value
        if not isinstance(items, list | tuple):
            raise self._wrong(value, "a list")
        texts = []
        for item in items:
            if not isinstance(item, str | int | float) or isinstance(item, bool):
                raise self._wrong(item, "a list of names")
            texts.append(str(item).strip())
        if self.choices:
            return tuple(dict.fromkeys(self._choice(text) for text in texts if text))
        return tuple(text for text in texts if text)

    def _wrong(self, value: Any, right: str, hint: str | None = None) -> UserError:
        return UserError(f"{plain(repr(value), 60)} is not {right}", where=self.name, hint=hint)


def fields_of(spec: Any, why: Mapping[str, str] = MappingProxyType({})) -> dict[str, Field]:
    """The table of a spec's class. why: the reasons for its defaults."""
    return {
        item.name: Field(
            name=item.name, default=item.default, why=why.get(item.name, ""), **item.metadata
        )
        for item in dataclasses.fields(spec)
    }


def key(kind: Kind, help: str, default: Any = None, **more: Any) -> Any:
    """A key of a spec as a dataclass declares it; None as default: it may be left out."""
    details = {"kind": kind, "help": help, "optional": default is None, **more}
    return dataclasses.field(default=default, metadata=details)
