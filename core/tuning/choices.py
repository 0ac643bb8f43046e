"""The key `modules` of a spec: lines of `pattern: mode`, read and written."""

from typing import Any

from finetune_tui.core.errors import UserError
from finetune_tui.core.text import did_you_mean, plain
from finetune_tui.core.tuning.fields import Field
from finetune_tui.core.tuning.modes import Choice, Mode
from finetune_tui.core.tuning.patterns import expand

Modules = tuple[tuple[str, Choice], ...]

_DETAILS = ("mode", "r", "lora_alpha")


def read_modules(value: Any, rank: Field, alpha: Field) -> Modules:
    """The lines in order. rank, alpha: what a line's own may be. Raises UserError naming the line."""
    if isinstance(value, tuple):
        return value
    if not isinstance(value, list):
        raise UserError("a list of `- pattern: mode` lines", where="modules")
    modules = []
    for line in value:
        if not isinstance(line, dict) or len(line) != 1:
            raise UserError(
                f"{plain(repr(line), 60)} is not `pattern: mode`",
                where="modules",
                hint='quote a pattern that starts with "{"',
            )
        ((pattern, choice),) = line.items()
        expand(str(pattern))  # raises when the braces make no sense
        modules.append((str(pattern), _read_choice(str(pattern), choice, rank, alpha)))
    return tuple(modules)


def _read_choice(pattern: str, value: Any, rank: Field, alpha: Field) -> Choice:
    details = value if isinstance(value, dict) else {"mode": value}
    unknown = [key for key in details if key not in _DETAILS]
    if unknown:
        meant = did_you_mean(str(unknown[0]), _DETAILS)
        raise UserError(f"unknown key '{unknown[0]}'", where=f"modules: {pattern}", hint=meant)
    word = str(details.get("mode"))
    if word not in [mode.value for mode in Mode]:
        meant = did_you_mean(word, [mode.value for mode in Mode])
        modes = ", ".join(Mode)
        raise UserError(
            f"{plain(repr(word), 40)} is no mode ({modes})", where=f"modules: {pattern}", hint=meant
        )
    own_rank, own_alpha = details.get("r"), details.get("lora_alpha")
    if word != Mode.LORA and (own_rank is not None or own_alpha is not None):
        raise UserError("rank and alpha are LoRA's alone", where=f"modules: {pattern}")
    return Choice(
        Mode(word),
        None if own_rank is None else rank.read(own_rank),
        None if own_alpha is None else alpha.read(own_alpha),
    )


def write_choice(choice: Choice) -> Any:
    """A mode's word, or mode, rank and alpha where the line has its own."""
    if choice.r is None and choice.lora_alpha is None:
        return choice.mode.value
    details: dict[str, Any] = {"mode": choice.mode.value}
    if choice.r is not None:
        details["r"] = choice.r
    if choice.lora_alpha is not None:
        details["lora_alpha"] = choice.lora_alpha
    return details
