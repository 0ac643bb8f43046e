"""What is said of memory, wherever it is said: verdicts, sizes, what the last key did."""

from typing import TYPE_CHECKING

from finetune_tui.core.text import size
from finetune_tui.tui.widgets.lines import Line, Span, dim, line, strong

if TYPE_CHECKING:
    from finetune_tui.core.memory.estimate import Breakdown, Verdict
    from finetune_tui.tui.session import Session

GIB = 2**30
PARTS = ("base", "train", "acts", "logits", "ctx")
"""The model itself; what trains with gradients and optimizer; activations; logits; CUDA and its allocator."""

_STYLES = {"fits": "good", "may fit": "warn", "NO": "bad"}
_LEAST_IN_GIB = GIB // 100
_MOST = 0.6
_LAST_KEY = 21  # cells of ` last key: +10.12G  `


def parts_of(breakdown: "Breakdown") -> tuple[int, ...]:
    """Bytes of each of PARTS; they sum to the estimate's `device`."""
    return (
        breakdown.weights,
        breakdown.adapters + breakdown.gradients + breakdown.optimizer,
        breakdown.activations,
        breakdown.logits,
        breakdown.workspace + breakdown.context,
    )


def verdict_span(verdict: "Verdict | None") -> Span:
    """In words; colour only repeats them."""
    return Span(verdict.value, _STYLES[verdict.value]) if verdict else Span("")


def verdict_words(session: "Session") -> Line:
    """`8.9/23.1G fits`, `8.9/24G card may fit`; the size alone where nothing is known to hold it against."""
    estimate, budget = session.estimate, session.budget
    if estimate is None:
        return ()
    if budget is None:
        return line(size(estimate.device))
    against = card_words(session.card) if session.card else size(budget)
    number = size(estimate.device).removesuffix("G")  # one unit for both
    return line(f"{number}/{against} ", verdict_span(session.verdict))


def card_words(card: str) -> str:
    """'24 GB' → '24G card'."""
    return f"{card.removesuffix(' GB')}G card"


def short(number: float) -> str:
    """'.3', '5.2', '13'."""
    return f"{number:.0f}" if number >= 9.95 else f"{number:.1f}".removeprefix("0")


def band_words(device: int, band: int) -> str:
    """`±.4` behind a size in G, `±64M` behind a smaller one."""
    return f"±{short(band / GIB)}" if size(device).endswith("G") else f"±{band >> 20}M"


def change_words(change: int) -> str:
    """`+0.61G`, `−4.10G`, `+5.0M`, `0`."""
    if change == 0:
        return "0"
    sign, bytes = ("−" if change < 0 else "+"), abs(change)
    return sign + (f"{bytes / GIB:.2f}G" if bytes >= _LEAST_IN_GIB else size(bytes))


def last_key_line(session: "Session", width: int) -> Line:
    """` last key: +0.61G acts`: where most of it is; with room every part that changed."""
    change = session.last_change
    words: list[Span | str] = [
        " last key: ",
        strong(change_words(change) if change else "no change"),
    ]
    before, after = session.estimate_before, session.estimate
    if before is None or after is None or before == after:
        return line(*words)
    by_part = [
        (name, now - was)
        for name, was, now in zip(
            PARTS, parts_of(before.breakdown), parts_of(after.breakdown), strict=True
        )
        if now != was
    ]
    by_part.sort(key=lambda part: -abs(part[1]))
    every = "  ".join(f"{name} {change_words(change)}" for name, change in by_part)
    if len(by_part) > 1 and len(every) + _LAST_KEY <= width:
        return line(*words, "  ", dim(every))
    return line(*words, dim(f" {', '.join(_most_of(by_part))}"))


def _most_of(by_part: list[tuple[str, int]]) -> list[str]:
    """The fewest parts that make up most of a change, the larger first."""
    all, named, names = sum(abs(change) for _, change in by_part), 0, []
    for name, change in by_part:
        if named >= _MOST * all:
            break
        names.append(name)
        named += abs(change)
    return names
