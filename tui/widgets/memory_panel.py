"""Memory at four precisions against what is really free."""

from typing import TYPE_CHECKING

from finetune_tui.core.text import size
from finetune_tui.tui.widgets.lines import Line, Span, dim, line, strong

if TYPE_CHECKING:
    from finetune_tui.core.memory.estimate import Breakdown, Estimate
    from finetune_tui.tui.session import Session

_EIGHTHS = " ▏▎▍▌▋▊▉█"


def memory_title(session: "Session") -> tuple[str, str]:
    """Which GPU, and how much of it is free."""
    if session.spec.use_cpu:
        return "CPU", "sizes only"
    if session.gpu is None:
        return "no GPU here", "sizes only"
    free = session.free_bytes
    return f"GPU{session.gpu.index}", f"free {size(free)}" if free is not None else "free unknown"


def memory_lines(session: "Session", width: int, parts: bool) -> list[Line]:
    """A bar for each precision, the present one marked, then what the last key did.

    parts: with what the present one is made of.
    """
    estimates = session.estimates
    scale = session.free_bytes or max((each.device for each in estimates.values()), default=1)
    lines = []
    for precision, estimate in estimates.items():
        now = precision is session.precision
        lines.append(
            _bar_line(precision.value, estimate, scale, session.verdict(estimate), now, width)
        )
    lines.append(last_key_line(session))
    if session.manifest is not None and session.manifest.config.experts:
        lines.append(line(dim(" 8bit, 4bit: experts stay in 16 bits")))
    if parts and session.estimate:
        lines.append(parts_line(session.estimate.breakdown))
    return lines


def last_key_line(session: "Session") -> Line:
    change, estimate = session.last_change, session.estimate
    sign = "−" if change < 0 else "+"
    band = f"   all sizes ±{size(estimate.band)}" if estimate else ""
    return line(" last key: ", strong(f"{sign}{size(abs(change))}" if change else "0"), dim(band))


def parts_line(breakdown: "Breakdown") -> Line:
    """`base 5.2 train .2 acts 12 logits 1.2 rest 1.0 G`: they sum to the total."""
    parts = (
        ("base", breakdown.weights),
        ("train", breakdown.adapters + breakdown.gradients + breakdown.optimizer),
        ("acts", breakdown.activations),
        ("logits", breakdown.logits),
        ("rest", breakdown.workspace + breakdown.context),
    )
    spans: list[Span | str] = [" "]
    for name, number in parts:
        spans += [dim(f"{name} "), f"{_short(number / 2**30)} "]
    return line(*spans, dim("G"))


def _short(number: float) -> str:
    """'.3', '5.2', '13'."""
    return f"{number:.0f}" if number >= 9.95 else f"{number:.1f}".removeprefix("0")


def _bar_line(
    name: str, estimate: "Estimate", scale: int, fits: bool | None, now: bool, width: int
) -> Line:
    verdict = {True: Span(" fits", "good"), False: Span(" NO", "bad"), None: Span("")}[fits]
    room = width - 6 - 7 - (6 if fits is not None else 1)
    bar = bar_text(estimate.device / scale, room)
    filled = bar.rstrip("░▶")
    return line(
        Span(f"{'>' if now else ' '}{name:<5}", "strong" if now else ""),
        Span(filled, "accent" if now else "dim"),
        Span(bar[len(filled) :], "bad" if fits is False else "rule"),
        Span(f"{size(estimate.device):>7}", "strong" if now else ""),
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
