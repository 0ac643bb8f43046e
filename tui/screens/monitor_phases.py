"""Between start and the first step, and all of a run that has no steps: phases with how far each is."""

from collections.abc import Mapping

from finetune_tui.core.runs.state import Status
from finetune_tui.core.runs.words import number as known
from finetune_tui.core.text import count, duration, plain, size
from finetune_tui.tui.screens.following import Following, PhaseRow
from finetune_tui.tui.widgets.lines import Line, Span, dim, key, line, spread, strong

_IN_BYTES = frozenset({"reading", "downloading", "writing", "sending", "reading what to send"})
_UNITS: Mapping[str, str] = {
    "tokenising": " rows",
    "evaluating": " rows",
    "scoring": " rows",
    "measuring": " replies",
    "asking base": " answers",
    "asking tuned": " answers",
    "merging": " modules",
    "verifying": " prompts",
}


def bar(done: float, total: float, width: int) -> tuple[Span, Span]:
    filled = round(width * min(max(done / total, 0.0), 1.0)) if total > 0 else 0
    return Span("█" * filled, "accent"), Span("░" * (width - filled), "rule")


def of_words(phase: PhaseRow) -> str:
    return f" {_amounts(phase)}" if phase.done is not None and phase.total else ""


def _amounts(phase: PhaseRow) -> str:
    """`12/40`; of a download `3.1G/5.2G`."""
    show = size if phase.name in _IN_BYTES else "{:.0f}".format
    return f"{show(phase.done or 0)}/{show(phase.total or 0)}"


def phase_lines(following: Following, width: int, now: float) -> list[Line]:
    """Between start and the first step: each phase with its numbers, and a way out."""
    rows = [_phase_line(row, following, width, now) for row in following.phases.rows]
    if not rows:
        rows = [line(Span(" ▸ ", "accent"), strong("queued      "), dim("waiting for its worker"))]
    if following.is_training:
        rows += [line(dim(f" · {name}")) for name in following.phases.to_come]
    if following.is_alive:
        rows += [
            (),
            line(" ", key("S", "stops it", "stop"), "   ", key("q", "leaves: the run goes on")),
        ]
    return rows


def _phase_line(row: PhaseRow, following: Following, width: int, now: float) -> Line:
    going_on = row is following.phases.current and following.is_alive
    has_failed = not following.is_alive and following.liveness.status is not Status.FINISHED
    ended_here = has_failed and row is following.phases.rows[-1]
    mark = Span("▸", "accent") if going_on else Span("✗" if ended_here else "✓", "dim")
    spent = row.spent + (max(now - row.since, 0.0) if going_on and row.since else 0.0)
    took = f"{spent:.1f}s" if spent < 10 and not going_on else duration(spent)
    middle = _phase_numbers(row, going_on, min(20, max(width - 40, 4))) or line(
        dim(_phase_facts(row, following))
    )
    room = max(12, *(len(one.name) + 1 for one in following.phases.rows))
    name = Span(f"{row.name:<{room}}", "strong" if going_on else "")
    return spread(line(" ", mark, " ", name, middle), line(dim(took), " "), width)


def _phase_numbers(row: PhaseRow, going_on: bool, bar_width: int) -> Line:
    if row.done is None or not row.total:
        return ()
    numbers = _amounts(row)
    if row.name == "downloading" and row.words:  # they have the rate, then the file
        numbers = row.words.partition(":")[0]
    unit = _UNITS.get(row.name, "")
    if not going_on:
        return line(dim(f"{_amounts(row).partition('/')[2]}{unit}"))
    return line(*bar(row.done, row.total, bar_width), " ", numbers, dim(unit))


def _phase_facts(row: PhaseRow, following: Following) -> str:
    start = following.curves.start or {}
    if row.words:
        return row.words
    if row.name == "starting":
        return f"on {plain(str(start['host']), 30)}" if start.get("host") else ""
    if row.name == "loading" and known(start.get("parameters")):
        return f"{count(start['parameters'])} parameters, {plain(str(start.get('dtype')), 12)}"
    if row.name == "applying" and known(start.get("trainable_parameters")):
        return f"{count(start['trainable_parameters'])} to train"
    if row.name == "training":
        return "the first step takes longest"
    return ""
