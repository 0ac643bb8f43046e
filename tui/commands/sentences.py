"""Events as sentences to listen to: numbers and units in words, no signs that a reader spells out."""

import math
import re
from collections.abc import Callable

from finetune_tui.core.runs.events import Event
from finetune_tui.core.runs.words import event_words, number, whole
from finetune_tui.core.text import plain

_LONGEST = 300
_SIGNS = {"|g|": "gradient norm", "✓": "right", "✗": "wrong", "→": "to", "·": ",", "×": "times"}
_SIZES = ((2**40, "terabytes"), (2**30, "gigabytes"), (2**20, "megabytes"), (2**10, "kilobytes"))
_COUNTS = ((1e12, "trillion"), (1e9, "billion"), (1e6, "million"), (1e3, "thousand"))
_UNITS = ((86400, "day"), (3600, "hour"), (60, "minute"), (1, "second"))


def sentence(event: Event, seconds_left: float | None = None) -> str | None:
    """One sentence, or None for what need not be told. Never raises: events of others hold anything."""
    teller = _TELLERS.get(event.get("kind", ""))
    words = teller(event) if teller else event_words(event)
    if not words:
        return None
    if event.get("kind") == "step" and seconds_left is not None:
        words += f", {spoken_duration(seconds_left)} left"
    return as_sentence(words)


def as_sentence(words: str) -> str:
    """Words as they stand elsewhere, with a capital and a full stop, signs spelt out."""
    for sign, word in _SIGNS.items():
        words = words.replace(sign, f" {word} ")
    words = re.sub(r"\s+", " ", words.replace("⏎", " ")).strip().replace(" ,", ",")
    end = "" if words.endswith((".", "?", ":")) else "."
    return words[:1].upper() + words[1:] + end


def spoken_duration(seconds: float) -> str:
    """`2 hours 1 minute`: the two largest units."""
    left = max(int(seconds), 0) if math.isfinite(seconds) else 0
    parts = []
    for unit, name in _UNITS:
        amount, left = divmod(left, unit)
        if amount:
            parts.append(f"{amount} {name}{'s' if amount > 1 else ''}")
        elif parts:
            break
    return " ".join(parts[:2]) or "less than a second"


def spoken_size(number_of_bytes: float) -> str:
    """`8.9 gigabytes`, counted in powers of 1024."""
    for unit, name in _SIZES:
        if number_of_bytes >= unit:
            return f"{number_of_bytes / unit:.1f} {name}"
    return f"{number_of_bytes:.0f} bytes"


def spoken_count(amount: float) -> str:
    """`34.6 million`."""
    for unit, name in _COUNTS:
        if amount >= unit:
            return f"{amount / unit:.3g} {name}"
    return f"{amount:.0f}"


def _started(event: Event) -> str:
    parts = [f"started training {_text(event, 'model') or 'a model'}"]
    if preset := _text(event, "preset"):
        parts.append(f"preset {preset}")
    if (trainable := number(event.get("trainable_parameters"))) is not None:
        parts.append(f"{spoken_count(trainable)} parameters trained")
    if host := _text(event, "host"):
        parts.append(f"on {host}")
    return ", ".join(parts)


def _phase(event: Event) -> str | None:
    if (event.get("done") or 0) not in (0, event.get("total")):
        return None
    return ": ".join(text for name in ("phase", "words") if (text := _text(event, name)))


def _step(event: Event) -> str:
    parts = [f"step {_of(event)}"]
    if (loss := number(event.get("loss"))) is not None:
        parts.append(f"loss {loss:.3f}")
    if (rate := number(event.get("tokens_per_second"))) is not None:
        parts.append(f"{rate:.0f} tokens a second")
    return ", ".join(parts)


def _eval(event: Event) -> str:
    loss = number(event.get("eval_loss"))
    words = f"held-out loss {'unknown' if loss is None else f'{loss:.3f}'} at step {_of(event)}"
    return words + (", the best so far" if event.get("best") is True else "")


def _sample(event: Event) -> str:
    right = event.get("correct") is True
    words = f"a sample is {'right' if right else 'wrong'}: {_text(event, 'reply') or 'no reply'}"
    wanted = _text(event, "expected")
    return words if right or not wanted else f"{words}; wanted: {wanted}"


def _checkpoint(event: Event) -> str:
    written = number(event.get("bytes"))
    words = f"a checkpoint of step {_of(event)} is written"
    return words + (f", {spoken_size(written)}" if written else "")


def _finished(event: Event) -> str:
    why = _text(event, "why")
    parts = [f"finished: {why}" if why and why != "finished" else "finished"]
    if (steps := whole(event.get("steps"))) is not None:
        parts.append(f"{steps} steps")
    if (seconds := number(event.get("seconds"))) is not None:
        parts.append(f"after {spoken_duration(seconds)}")
    if (loss := number(event.get("eval_loss"))) is not None:
        parts.append(f"held-out loss {loss:.3f}")
    return ", ".join(parts)


_TELLERS: dict[str, Callable[[Event], str | None]] = {
    "started": _started,
    "phase": _phase,
    "step": _step,
    "eval": _eval,
    "sample": _sample,
    "checkpoint": _checkpoint,
    "finished": _finished,
}
"""Those whose words elsewhere are short for the eye; the others' words do."""


def _of(event: Event) -> str:
    step, total = whole(event.get("step")), whole(event.get("total_steps"))
    return ("unknown" if step is None else str(step)) + (f" of {total}" if total else "")


def _text(event: Event, name: str) -> str | None:
    value = event.get(name)
    return plain(value, _LONGEST) if isinstance(value, str) and value else None
