"""Memory at four precisions against what is really free, what the last key did, and what was simulated."""

import re
from typing import TYPE_CHECKING

from finetune_tui.core.text import plain, size
from finetune_tui.tui.screens.monitor_hardware import others_words
from finetune_tui.tui.widgets.lines import Line, Span, cells, dim, fit, key, line, wrap
from finetune_tui.tui.widgets.memory_words import (
    GIB,
    PARTS,
    band_words,
    last_key_line,
    parts_of,
    short,
    verdict_span,
)

if TYPE_CHECKING:
    from finetune_tui.core.hardware import Gpu
    from finetune_tui.core.memory.estimate import Estimate
    from finetune_tui.core.memory.simulated import Simulation
    from finetune_tui.tui.session import Session
    from finetune_tui.tui.simulating import SimulationState

_EIGHTHS = " ▏▎▍▌▋▊▉█"
_NAME, _SIZE, _BAND, _VERDICT = 6, 6, 5, 7  # cells
_COLUMNS = (5, 6, 5, 7, 4, 6)  # of the parts and their sum
_WIDE = 46  # from which a table of parts has room beside nothing
_WIDEST = 54  # from which the title has room for three keys
_ONE_BAR = 60  # from which the panel is one bar over a form
_SIMULATED_ROWS = (5, 2)  # in a column, and there
_MOSTLY_FREE = 0.9
_IN_GIB = 2 * GIB  # below, parts are counted in M


def parts_title(session: "Session", width: int) -> Line:
    """The names of the parts' columns, on a rule."""
    words = re.findall(r"\S+| +", _header(session).ljust(width))
    return line(*(Span("─" * len(word), "rule") if word.isspace() else dim(word) for word in words))


def memory_title(session: "Session") -> list[str | Line]:
    """What memory is held against."""
    if session.spec.use_cpu:
        free = session.budget
        return ["memory", "CPU", "free unknown" if free is None else f"free {size(free)}"]
    if session.card is not None:
        return ["memory", f"{session.card} card", f"{size(session.budget or 0)} usable"]
    if session.gpu is None:
        return ["memory", "no GPU here", "sizes only"]
    gpu = session.gpu
    if gpu.free is None:
        return ["memory", f"GPU{gpu.index}", "free unknown"]
    of = f" of {size(gpu.total)}" if gpu.total and _is_shared(gpu) else ""
    return ["memory", f"GPU{gpu.index}", f"free {size(gpu.free)}{of}"]


def memory_keys(session: "Session", width: int, place: str) -> list[Line]:
    """What can be done about it, for the mouse too; others on the GPU come first. place: whose actions."""
    if not session.estimates:
        return []
    gpu = session.gpu
    if gpu and _is_shared(gpu) and not session.card and not session.spec.use_cpu:
        return [line(dim(others_words(gpu)))]
    keys = [("F", "fit"), ("M", "simulate"), ("C", "card")]
    if session.spec.use_cpu:
        keys = [("M", "simulate")]
    return [
        key(letter, verb, f"app.perform('{place}.{verb}')")
        for letter, verb in keys[: 3 if width > _WIDEST else 2 if width >= _WIDE else 1]
    ]


def memory_lines(session: "Session", width: int, parts: bool, table: bool) -> list[Line]:
    """A bar for each precision, the present one marked, then what the last key did.

    parts: numbers for each part in place of the bars. table: also those of the present one, under them.
    """
    scale = session.budget or max((each.device for each in session.estimates.values()), default=1)
    lines = []
    for precision, estimate in session.estimates.items():
        now = precision is session.precision
        if parts:
            lines.append(_parts_line(session, precision.value, estimate, now, width))
        else:
            lines.append(bar_line(session, precision.value, estimate, scale, now, width))
    if session.manifest is not None and session.manifest.config.experts:
        lines.append(line(dim(" 8bit, 4bit: experts stay in 16 bits")))
    if table and not parts and session.estimate and width >= _WIDE:
        lines.append(line(dim(_header(session))))
        lines.append(_parts_line(session, "", session.estimate, False, width))
    lines.append(last_key_line(session, width))
    if session.simulation is not None:
        lines += simulation_lines(session.simulation, session, width)
    return lines


def present_line(session: "Session", width: int) -> Line:
    """The bar of the present precision with what the last key did, in one line."""
    estimate, precision = session.estimate, session.precision
    if estimate is None or precision is None:
        return ()
    scale = session.budget or estimate.device
    if width < _ONE_BAR:
        return bar_line(session, precision.value, estimate, scale, True, width)
    last = last_key_line(session, 0)
    bar = bar_line(session, precision.value, estimate, scale, True, width - cells(last) - 3)
    return line(fit(bar, width - cells(last) - 2), "  ", last)


def bar_line(
    session: "Session", name: str, estimate: "Estimate", scale: int, now: bool, width: int
) -> Line:
    """`>nf4  ██████▋░░░   8.9G ±.4 fits`."""
    verdict = verdict_span(session.verdict_of(estimate))
    has_verdict = session.budget is not None
    gap = 1 if width >= _WIDE else 0
    band = " " * gap + band_words(estimate.device, estimate.band) if now else ""
    room = width - _NAME - _SIZE - gap - _BAND - (_VERDICT + 1 if has_verdict else 0)
    bar = bar_text(estimate.device / scale, room)
    filled = bar.rstrip("░▶")
    return line(
        Span(f"{'>' if now else ' '}{name:<5}", "strong" if now else ""),
        Span(filled, "accent" if now else "dim"),
        Span(bar[len(filled) :], "bad" if verdict.style == "bad" else "rule"),
        Span(f"{size(estimate.device):>{_SIZE}}", "strong" if now else ""),
        dim(f"{band:<{gap + _BAND}}"),
        " " if has_verdict else "",
        verdict,
    )


def bar_text(share: float, width: int) -> str:
    """`share` of `width` cells in eighths; more than all of it ends in an arrow."""
    if width < 1:
        return ""
    if share > 1:
        return "█" * (width - 1) + "▶"
    eighths = round(share * width * 8)
    full, rest = divmod(eighths, 8)
    text = "█" * full + (_EIGHTHS[rest] if rest else "")
    return text.ljust(width, "░")


def simulation_lines(state: "SimulationState", session: "Session", width: int) -> list[Line]:
    """How far a simulation is, why it failed, or what it found; in the same few rows all the time."""
    if state.progress is not None:
        cancel = key("esc", "cancel", "app.perform('app.out')")
        words = wrap(f"simulating: {state.progress}", width - 15)
        lines = [line(Span(f" ▸ {words[0]}", "accent"), "  ", cancel), *_more(words[1:])]
    elif state.error is not None:
        words = wrap(f"simulation: {state.error}", width - 4)
        lines = [line(Span(f" ✗ {words[0]}", "bad")), *_more(words[1:])]
    else:
        lines = _found_lines(state, session, width)
    rows = _SIMULATED_ROWS[width >= _ONE_BAR]
    return [*lines[:rows], *[()] * (rows - len(lines))]


def _found_lines(state: "SimulationState", session: "Session", width: int) -> list[Line]:
    found = state.result
    if found is None:
        return []
    verdict = {True: Span("fits", "good"), False: Span("NO", "bad"), None: Span("")}[found.fits]
    first = line(" simulated ", Span(f"{found.device / GIB:.2f}G ", "strong"), verdict)
    card = f"smallest card {plain(found.card)}" if found.card else "more than any card sold"
    texts = [
        f"reserved {found.reserved / GIB:.2f}G · {card.replace(' GB', 'GB')}",
        f"peak: {plain(found.peak_words, 120).replace(' in model.', ' ')}",
        *_largest_words(found, session),
    ]
    if width >= _ONE_BAR:
        first = line(first, dim(f" · {texts.pop(0)}"))
        texts = [" · ".join(texts)]
    return [first, *(line(dim(f"  {words}")) for text in texts for words in wrap(text, width - 2))]


def _largest_words(found: "Simulation", session: "Session") -> list[str]:
    """`fits up to 3×1024 or 2×1536 tokens`."""
    if found.largest is None:
        return []
    rows, tokens = found.largest["rows"], found.largest["tokens"]
    spec = session.spec
    parts = []
    if rows is not None:
        parts.append(f"{rows}×{spec.max_length}")
    if tokens is not None:
        parts.append(f"{spec.per_device_train_batch_size}×{tokens}")
    return [f"fits up to {' or '.join(parts)} tokens"] if parts else ["not even one short row fits"]


def _is_shared(gpu: "Gpu") -> bool:
    """Someone else holds a good part of it."""
    if gpu.total is None or gpu.free is None:
        return False
    return gpu.free < gpu.total * _MOSTLY_FREE


def _more(words: list[str]) -> list[Line]:
    return [line(f"   {text}") for text in words]


def _header(session: "Session") -> str:
    names = zip((*PARTS, "total"), _COLUMNS, strict=True)
    return f" in {_unit(session)[0]}" + "".join(f"{name:>{cells}}" for name, cells in names)


def _parts_line(session: "Session", name: str, estimate: "Estimate", now: bool, width: int) -> Line:
    _, divisor = _unit(session)
    numbers = (*parts_of(estimate.breakdown), estimate.device)
    words = [
        f"{short(number / divisor):>{cells}}"
        for number, cells in zip(numbers, _COLUMNS, strict=True)
    ]
    total = f"{estimate.device / divisor:.{1 if divisor == GIB else 0}f}"
    words[-1] = f"{total:>{_COLUMNS[-1]}}"
    verdict = verdict_span(session.verdict_of(estimate))
    return line(
        Span(f"{'>' if now else ' '}{name:<4}", "strong" if now else ""),
        Span("".join(words[:-1])),
        Span(words[-1], "strong" if now else ""),
        line("  ", verdict) if name and width >= _WIDE else (),
    )


def _unit(session: "Session") -> tuple[str, int]:
    most = max((each.device for each in session.estimates.values()), default=0)
    return ("G", GIB) if most >= _IN_GIB else ("M", 2**20)
