"""Events in words, for a log that people read. Texts in events are foreign: they come out plain."""

from collections.abc import Callable
from pathlib import PurePath
from typing import Any

from finetune_tui.core.runs.events import Event
from finetune_tui.core.runs.memory_taken import taken
from finetune_tui.core.text import count, duration, percent, plain, size

_LONGEST = 500


def event_words(event: Event) -> str | None:
    """One plain line, or None for what is drawn and not told (hardware). Never raises."""
    teller = _TELLERS.get(event.get("kind", ""))
    words = teller(event) if teller else None
    return plain(words, _LONGEST) if words else None


def number(value: Any) -> float | None:
    """A finite number, or None: events of other writers hold anything."""
    if type(value) not in (int, float) or not -1e300 < value < 1e300:
        return None
    return float(value)


def whole(value: Any) -> int | None:
    """A whole number that fits 63 bits, or None."""
    return value if type(value) is int and abs(value) < 2**63 else None


def _started(event: Event) -> str:
    task, target = _text(event, "task"), _text(event, "run")
    if task and target:
        return f"started: {task} of {target}"
    parts = [f"started {_text(event, 'model') or ''}".strip()]
    if preset := _text(event, "preset"):
        parts.append(preset)
    if (trainable := number(event.get("trainable_parameters"))) is not None:
        parts.append(f"{count(trainable)} trained")
    if host := _text(event, "host"):
        parts.append(f"on {host}")
    return ", ".join(parts)


def _phase(event: Event) -> str | None:
    if (event.get("done") or 0) not in (0, event.get("total")):
        return None  # the bar shows how far it is; the log says where it began and ended
    return ": ".join(text for name in ("phase", "words") if (text := _text(event, name)))


def _step(event: Event) -> str:
    parts = [f"step {_of(event)}"]
    for name, label in (("loss", "loss"), ("learning_rate", "lr"), ("grad_norm", "|g|")):
        if (value := number(event.get(name))) is not None:
            parts.append(f"{label} {value:.4g}")
    if (rate := number(event.get("tokens_per_second"))) is not None:
        parts.append(f"{rate:.0f}t/s")
    return "  ".join(parts)


def _eval(event: Event) -> str:
    loss = number(event.get("eval_loss"))
    words = f"eval {_of(event)}: {'unknown' if loss is None else f'{loss:.4f}'}"
    return words + (" (best)" if event.get("best") is True else "")


def _sample(event: Event) -> str:
    mark = "✓" if event.get("correct") is True else "✗"
    words = f"sample {mark} {_text(event, 'reply') or ''}"
    wanted = _text(event, "expected")
    return f"{words} want {wanted}" if mark == "✗" and wanted else words


def _measured(event: Event) -> str:
    return (
        f"{_text(event, 'when') or 'measured'}: "
        f"{_whole(event, 'exact')} of {_whole(event, 'total')} replies exactly right"
    )


def _checkpoint(event: Event) -> str:
    written = number(event.get("bytes"))
    return f"checkpoint {_of(event)}" + (f" written, {size(written)}" if written else " written")


def _warning(event: Event) -> str:
    return _with_where(event, "warning: ")


def _recovered(event: Event) -> str:
    words = f"recovered: {_text(event, 'what') or 'training goes on'}"
    if (step := whole(event.get("step"))) is not None:
        words += f", on from step {step}"
    rows = [whole(event.get(f"micro_batch_{end}")) for end in ("from", "to")]
    if None not in rows:
        words += f" with {rows[1]} rows at once instead of {rows[0]}, the same rows a step"
    return words


def _resumed(event: Event) -> str:
    words = f"resumed from step {_of(event)}"
    skipped = event.get("skipped")
    if isinstance(skipped, list) and skipped:
        words += "; skipped " + ", ".join(_skipped(one) for one in skipped[:5])
    return words


def _stopping(event: Event) -> str:
    why = _text(event, "why")
    return "stopping" + (f": {why}" if why else "")


def _data(event: Event) -> str:
    parts = [f"{_whole(event, 'train_rows')} rows to train on"]
    if held_out := whole(event.get("held_out")):
        parts.append(f"{held_out} held out")
    if bad := whole(event.get("bad")):
        parts.append(f"{bad} bad ones left out")
    if (share := number(event.get("share_trained"))) is not None:
        parts.append(f"{percent(share, 1)} of the tokens trained")
    if longest := whole(event.get("longest")):
        parts.append(f"the longest has {longest} tokens")
    return "data: " + ", ".join(parts)


def _paused(event: Event) -> str:
    why = _text(event, "why")
    return f"paused at step {_of(event)}" + (f": {why}" if why else "")


def _continued(event: Event) -> str:
    return f"goes on at step {_of(event)}"


def _early_stop(event: Event) -> str:
    words = (
        f"no better evaluation in {_whole(event, 'patience')}: training ends at step {_of(event)}"
    )
    best = whole(event.get("best_step"))
    return words if best is None else f"{words}, the best was step {best}"


def _finished(event: Event) -> str:
    parts = [_text(event, "why") or "finished"]
    if len(parts[0]) == len("finished") and (steps := whole(event.get("steps"))) is not None:
        parts.append(f"{steps} steps")
    if (seconds := number(event.get("seconds"))) is not None:
        parts.append(duration(seconds))
    if (loss := number(event.get("eval_loss"))) is not None:
        parts.append(f"eval loss {loss:.4f}")
    return ", ".join(parts)


def _compared(event: Event) -> str:
    counts = [
        f"{_whole(event, name)} {name.replace('_', ' ')}"
        for name in ("fixed", "regressed", "both_right", "both_wrong")
    ]
    return f"compared {_whole(event, 'rows')} rows: {', '.join(counts)}"


def _exported(event: Event) -> str:
    written = number(event.get("bytes"))
    what = "merged model" if event.get("merged") is True else "adapter"
    words = f"exported: {what}" + (f", {size(written)}" if written is not None else "")
    return f"{words}, in {_text(event, 'out') or '?'}"


def _memory(event: Event) -> str | None:
    found = taken(event)
    return f"memory: {found.words}" if found else None


def _stopped(event: Event) -> str:
    return f"stopped at step {_of(event)}"


def _hook(event: Event) -> str:
    return f"the hook: {_text(event, 'words') or 'ran'}"


def _failed(event: Event) -> str:
    words = _with_where(event, "failed: ")
    hint = _text(event, "hint")
    return f"{words}; {hint}" if hint else words


_TELLERS: dict[str, Callable[[Event], str | None]] = {
    "started": _started,
    "phase": _phase,
    "data": _data,
    "step": _step,
    "eval": _eval,
    "sample": _sample,
    "measured": _measured,
    "checkpoint": _checkpoint,
    "warning": _warning,
    "recovered": _recovered,
    "resumed": _resumed,
    "paused": _paused,
    "continued": _continued,
    "early_stop": _early_stop,
    "stopping": _stopping,
    "compared": _compared,
    "exported": _exported,
    "memory": _memory,
    "finished": _finished,
    "stopped": _stopped,
    "failed": _failed,
    "hook": _hook,
}


def _of(event: Event) -> str:
    step, total = whole(event.get("step")), whole(event.get("total_steps"))
    return ("?" if step is None else str(step)) + (f" of {total}" if total else "")


def _with_where(event: Event, start: str) -> str:
    where = _text(event, "where")
    return start + (f"{where}: " if where else "") + (_text(event, "message") or "no word of why")


def _skipped(value: Any) -> str:
    if not isinstance(value, dict):
        return "?"
    name = PurePath(_text(value, "path") or "?").name
    why = _text(value, "why")
    return f"{name} ({why})" if why else name


def _text(event: Event, name: str) -> str | None:
    value = event.get(name)
    return plain(value, _LONGEST) if isinstance(value, str) and value else None


def _whole(event: Event, name: str) -> str:
    value = whole(event.get(name))
    return "?" if value is None else str(value)
