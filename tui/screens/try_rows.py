"""The held-out rows of a run, to be asked one after another, and the runs that can be asked."""

from dataclasses import dataclass

from finetune_tui.core.data.rows import BadRowError, Row
from finetune_tui.core.errors import UserError
from finetune_tui.core.evidence.conversation import Conversation, Style, style_of
from finetune_tui.core.evidence.held_out import held_out_rows
from finetune_tui.core.runs.directory import RunDirectory
from finetune_tui.core.runs.listing import RunFacts, read_facts
from finetune_tui.core.runs.targets import require_result
from finetune_tui.core.text import plain
from finetune_tui.tui.screens.try_lines import expected_lines, prompt_lines
from finetune_tui.tui.widgets.lines import Line, Span, dim, line

_MOST = 500  # rows that are shown
_LARGEST = 2**18  # bytes of one of them
_MOST_RUNS = 200


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Rows that have a prompt and an answer to expect; of many some, drawn evenly. total: all there are."""

    rows: tuple[Row, ...]
    total: int
    style: Style


def read_held_out(run: RunDirectory) -> HeldOut:
    """Raises UserError when there are none, or they cannot be read any more."""
    found = held_out_rows(run.spec())
    rows = []
    for place in found.sample(_MOST):
        try:
            row = found[place] if found.bytes_of(place) <= _LARGEST else None
        except BadRowError:
            continue
        if row is not None and row.text is None:
            rows.append(row)
    if not rows:
        why = (
            "no held-out rows" if not len(found) else "no held-out row with a prompt and an answer"
        )
        raise UserError(f"{why} in {plain(run.short_id)}", hint="write a prompt instead")
    return HeldOut(tuple(rows), len(found), style_of(found.format))


def runs_to_ask(runs: list[RunDirectory], now: float) -> list[RunFacts]:
    """Those that have a result to be asked, the newest first."""
    found = []
    for run in runs[:_MOST_RUNS]:
        try:
            require_result(run)
        except UserError:
            continue
        found.append(read_facts(run, now))
    return found


def row_line(row: Row, at: int, width: int) -> Line:
    """One held-out row in a list: its number, and how its prompt begins."""
    turn = Conversation().ask_row(row)
    words = plain(" ".join(turn.said.split()), max(width - 7, 8))
    return line(dim(f"{at + 1:>4}  "), Span(words))


def row_detail(row: Row, width: int) -> list[Line]:
    """The whole prompt, and what is expected."""
    turn = Conversation().ask_row(row)
    where = f"{plain(row.path.name)}:{row.line}"
    return [
        line(dim(f" {where}")),
        *prompt_lines(turn, width, 10_000),
        *expected_lines(turn.expected, width),
    ]
