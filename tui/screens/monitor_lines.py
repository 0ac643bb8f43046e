"""What the monitor says of a run, as lines: pure functions of what was followed and of the time."""

import time
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

from finetune_tui.core.hardware import Hardware
from finetune_tui.core.models.catalog import DEMO
from finetune_tui.core.runs.memory_taken import taken
from finetune_tui.core.runs.state import Status
from finetune_tui.core.runs.words import number as known
from finetune_tui.core.text import count, duration, percent, plain, size
from finetune_tui.tui.screens.following import Following
from finetune_tui.tui.screens.monitor_hardware import (
    hardware_facts,
    hardware_parts,
    hardware_title,
)
from finetune_tui.tui.screens.monitor_phases import bar, of_words
from finetune_tui.tui.widgets.lines import (
    Line,
    Span,
    cells,
    clip_left,
    dim,
    fit,
    key,
    line,
    spread,
    strong,
    wrap,
)
from finetune_tui.tui.widgets.plot import number
from finetune_tui.tui.widgets.status_mark import status_span

_ROOMY = 76  # columns in which the next keys have room on one line
_LOG_STYLES: Mapping[str, str] = {
    "failed": "bad",
    "warning": "warn",
    "recovered": "warn",
    "paused": "warn",
    "finished": "good",
}


def time_of_day(seconds: float, now: float | None = None) -> str:
    """'06:12', and the day where it is another one: 'Fri 06:12'."""
    at = time.localtime(seconds)
    other_day = now is not None and time.localtime(now)[:3] != at[:3]
    return time.strftime("%a %H:%M" if other_day else "%H:%M", at)


def name_line(following: Following, width: int) -> Line:
    """Which run this is, and its state in words."""
    run, state = following.run, following.state
    model = state.model or ""
    shown = PurePath(model).name if model.startswith("/") else model
    left = line(" ", strong(plain(run.short_id, 20)), " ", plain(shown, 40))
    if not following.is_training:
        left = line(
            " ", strong(plain(run.short_id, 20)), f" {following.task_words}", dim(" · "), shown
        )
    elif state.preset:
        left = line(left, dim(" · "), state.preset)
    return spread(left, line(_state_span(following), " "), width)


def _state_span(following: Following) -> Span:
    status = following.liveness.status
    if following.is_stopping:
        first = ": a checkpoint first" if following.is_training else ""
        return Span(f"◼ stopping{first}", "warn")
    if following.is_pausing:
        return Span("‖ pausing after this batch", "warn")
    if following.is_paused:
        return status_span(status, following.state.phase or status.value)
    if following.liveness.is_released:
        return status_span(status, "paused, the machine is free")
    phase = following.phases.current
    if status is Status.RUNNING and phase and phase.name not in ("training", "starting"):
        return status_span(status, f"{phase.name}{of_words(phase)}")
    return status_span(status, _running(following) if status is Status.RUNNING else None)


def _running(following: Following) -> str:
    words = "running"
    if following.curves.attempt > 1:
        words += f", attempt {following.curves.attempt}"
    times = len(following.recoveries)
    return words + (f", recovered {times}×" if times else "")


def progress_line(following: Following, width: int, now: float) -> Line:
    """`612/1044 ████░░░ 59%  2h51 +2h01 → 06:12`: done, elapsed, left, end."""
    step, total = following.step, following.total_steps
    start = line(" ", strong(f"{step}/{total}" if total else f"step {step}"), " ")
    end = _times(following, now)
    if not total:
        return line(start, " ", end)
    share = f" {percent(step, total)}  "
    room = width - cells(start) - len(share) - cells(end) - 1
    if room < 5:
        return line(start, share.lstrip(), end)
    return line(start, *bar(step, total, room), share, end)


def _times(following: Following, now: float) -> Line:
    state = following.state
    began = state.started or following.curves.started
    if following.liveness.status is Status.ELSEWHERE:
        heard = state.heartbeat or following.curves.last_heard
        return line(dim(f"heard {time_of_day(heard, now)}") if heard else "")
    if not following.is_alive:
        ended = state.ended or following.curves.last_heard
        took = f"{duration(ended - began)} " if began and ended else ""
        return line(took, dim(f"ended {time_of_day(ended, now)}") if ended else "")
    elapsed = duration(now - began) if began else ""
    left = following.seconds_left()
    if left is None or following.step >= (following.total_steps or 0):
        return line(elapsed)
    if following.is_paused:
        return line(elapsed, dim(f" +{duration(left)} once it goes on"))
    return line(elapsed, dim(f" +{duration(left)} → "), time_of_day(now + left, now))


def number_lines(following: Following, width: int, rows: int) -> list[Line]:
    """`loss .412  eval .447 (best .441@560)  lr 7.4e-5  |g| .31  1950t/s`, what fits `rows`."""
    curves = following.curves
    parts: list[Line] = [line(dim("loss "), strong(_number(curves.latest("loss"))))]
    evaluated = curves.latest("eval_loss")
    if evaluated is not None:
        parts.append(line(dim("eval "), strong(number(evaluated)), _best(following)))
    for label, name in (("lr ", "learning_rate"), ("|g| ", "grad_norm")):
        value = curves.latest(name)
        if value is not None:
            parts.append(line(dim(label), number(value)))
    speed = curves.latest("tokens_per_second")
    if speed is not None and following.is_alive:
        parts.append(line(count(speed), dim("t/s")))
    if curves.epoch is not None:
        parts.append(line(dim("epoch "), f"{curves.epoch:.1f}"))
    return _flowed(parts, width, rows)


def _best(following: Following) -> Span:
    """` (best .441@560 patience 1/3)`: how many evaluations in a row brought nothing better."""
    best, patience = following.curves.best, following.patience
    if not best:
        return dim("")
    told = f" patience {patience[0]}/{patience[1]}" if patience else ""
    return dim(f" (best {number(best[1])}@{best[0]}{told})")


def _number(value: float | None) -> str:
    return "–" if value is None else number(value)


def _flowed(parts: Sequence[Line], width: int, rows: int) -> list[Line]:
    """The parts side by side over exactly `rows` lines; what does not fit is left out."""
    lines = [line(" ")]
    for part in parts:
        longer = line(lines[-1], "  " if len(lines[-1]) > 1 else "", part)
        if cells(longer) <= width:
            lines[-1] = longer
        elif len(lines) < rows:
            lines.append(line(" ", part))
        else:
            break
    return lines + [()] * (rows - len(lines))


def pause_title(following: Following) -> str:
    return f"{following.state.phase or 'paused'} at step {following.step}"


def pause_lines(following: Following, width: int) -> list[Line]:
    """Why it waits, and the way on."""
    why = following.state.why or "paused"
    lines = [line(" ", Span(words, "warn")) for words in wrap(plain(why, 400), width - 2)[:3]]
    keys = [key("P", "checkpoint and let go", "release"), key("S", "stop", "stop")]
    if following.state.phase == "disk full":
        return lines + _keys(
            [line(dim("it goes on by itself when there is room")), *keys[1:]], width
        )
    return lines + _keys([key("p", "go on", "go_on"), *keys], width)


def hardware_line(following: Following, seen: Hardware | None, width: int) -> Line:
    """GPU (or processor), memory and disk: from the run's last event, else from here."""
    told = following.curves.memory or following.curves.start or {}
    parts = hardware_parts(_facts(following, seen), known(told.get("predicted_device")))
    if not parts:
        return line(dim(" nothing measured yet"))
    whole = _flowed(parts, width, 1)[0]
    return whole if cells(whole) > 1 else fit(line(" ", parts[0]), width)


def hardware_name(following: Following, seen: Hardware | None) -> str:
    return hardware_title(_facts(following, seen))


def _facts(following: Following, seen: Hardware | None) -> dict[str, Any]:
    chosen = following.spec.gpus if following.spec else ()
    return hardware_facts(following.curves.hardware, seen, chosen)


def outcome_title(following: Following) -> str:
    status = following.liveness.status
    if status is Status.FINISHED:
        return "what changed"
    if status in (Status.ELSEWHERE, Status.BROKEN):
        return {Status.ELSEWHERE: "on another machine"}.get(status, "cannot be read")
    if following.liveness.is_released:
        return f"paused at step {following.step}, the machine is free"
    at = f" at step {following.step}" if following.has_steps else " before the first step"
    at = at if following.is_training else ""
    return f"why it failed{at}" if status is Status.FAILED else f"{status.value}{at}"


def outcome_lines(following: Following, width: int) -> list[Line]:
    """How an ended run ended, what it brought, and what to do next."""
    if following.liveness.status is Status.FINISHED:
        return _finished(following, width)
    return _reason(following, width) + _keys(_next_keys(following), width)


def _finished(following: Following, width: int) -> list[Line]:
    lines = [_fact("exact match", *_exact(following), width)] if following.curves.measured else []
    best = following.curves.best
    if best:
        lines.append(_fact("eval loss", strong(number(best[1])), dim(f" at step {best[0]}"), width))
    path = following.run.adapter
    written = following.state.adapter_bytes
    room = width - 16 - 8
    held = strong(size(written)) if written else dim("size unknown")
    lines.append(_fact("adapter", held, dim(f" {clip_left(plain(str(path)), room)}"), width))
    memory = taken(following.curves.memory or following.curves.ending or {})
    if memory:
        name = "GPU memory" if memory.of == "the GPU" else "memory"
        beside = f", predicted {memory.predicted_words}: " if memory.predicted else " at the peak"
        told = dim(beside + memory.miss_words)
        lines.append(_fact(name, strong(size(memory.peak)), told, width))
    data = "your" if following.state.model == DEMO else "other"
    keys = [
        key("o", f"the same on {data} data", "own_data"),
        key("C", "compare", "compare"),
        key("6", "try", "try_run"),
        key("X", "export", "export"),
        key("Y", "copy path", "copy_path"),
        key("n", "new run", "new_run"),
    ]
    found = _flowed([line(one, " ") for one in keys], width, 2)
    return lines + found[: 1 if width >= _ROOMY else 2]


def _keys(keys: Sequence[Line], width: int) -> list[Line]:
    return [found for found in _flowed([line(one, " ") for one in keys], width, 2) if found]


def _fact(name: str, value: Span | Line, more: Span, width: int) -> Line:
    return fit(line(dim(f" {name:<13}"), value, more), width)


def _exact(following: Following) -> tuple[Line, Span]:
    """`3 → 236 of 240  (1.3% → 98%)`: the same held-out prompts before and after."""
    before, after = (following.curves.measured.get(when) for when in ("before", "after"))
    if before and after:
        share = f"  ({percent(*before)} → {percent(*after)})"
        return line(f"{before[0]} → ", strong(str(after[0])), f" of {after[1]}"), dim(share)
    exact, total = after or before or (0, 0)
    when = "after" if after else "before"
    return line(strong(str(exact)), f" of {total}"), dim(f"  {when} training")


def _reason(following: Following, width: int) -> list[Line]:
    ending, state = following.curves.ending or {}, following.state
    status = following.liveness.status
    why = following.liveness.words
    if status is Status.FAILED:
        why = _text(ending, "message") or state.why or why
    lines = [line(f" {words}") for words in wrap(why, width - 2)[:3]]
    where = _text(ending, "where") if status is Status.FAILED else None
    if where:
        lines.append(line(dim(" at "), clip_left(where, width - 5)))
    hint = state.hint or _text(ending, "hint")
    if hint:
        first, *rest = wrap(hint, width - 5)[:3]
        lines.append(line(dim(" → "), first))
        lines += [line(f"   {words}") for words in rest]
    return lines


def _text(event: Mapping[str, Any], name: str) -> str | None:
    value = event.get(name)
    return plain(value, 500) if isinstance(value, str) and value else None


def _next_keys(following: Following) -> list[Line]:
    keys: list[Line] = []
    if following.no_resume is None:
        step = following.run.newest_checkpoint_step()
        start = f"resume from step {step}" if step else "start again from step 0"
        start = start if following.is_training else "go on"
        is_released = following.liveness.is_released
        keys.append(key("p" if is_released else "r", start, "go_on" if is_released else "resume"))
    elif following.liveness.words not in following.no_resume:  # which stands above
        keys.append(line(dim(following.no_resume)))
    output = key("l", "output", "show_tab('output')")
    return [*keys, output, key("n", "new run", "new_run")]


def log_lines(following: Following, width: int) -> list[Line]:
    """The story of the run, one event after the other."""
    lines: list[Line] = []
    for entry in following.curves.log:
        at = time_of_day(entry.time) if entry.time is not None else "     "
        style = _LOG_STYLES.get(entry.kind, "")
        texts = wrap(entry.text, max(width - 8, 10))
        lines.append(line(dim(f" {at} "), Span(texts[0], style)))
        lines += [line(" " * 7, Span(text, style)) for text in texts[1:]]
    return lines or [line(dim(" nothing yet"))]
