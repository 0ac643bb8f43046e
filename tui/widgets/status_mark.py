"""A run's status as a mark and a word."""

from collections.abc import Mapping

from finetune_tui.core.runs.state import Status
from finetune_tui.tui.widgets.lines import Span

# A mark beside every status, so that the colour repeats it.
_MARKS: Mapping[Status, tuple[str, str]] = {
    Status.STARTING: ("▸", "accent"),
    Status.PREPARING: ("▸", "accent"),
    Status.RUNNING: ("▶", "good"),
    Status.PAUSED: ("‖", "warn"),
    Status.FINISHED: ("✓", "good"),
    Status.STOPPED: ("■", "warn"),
    Status.FAILED: ("✗", "bad"),
    Status.KILLED: ("✗", "bad"),
    Status.DEAD: ("✗", "bad"),
    Status.BROKEN: ("✗", "bad"),
    Status.ELSEWHERE: ("?", "warn"),
    Status.FOREIGN: ("–", "dim"),
    Status.NEWER: ("?", "warn"),
}


def status_span(status: Status, words: str | None = None) -> Span:
    mark, style = _MARKS[status]
    return Span(f"{mark} {words or status.value}", style)
