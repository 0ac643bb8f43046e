"""What stands around the rows of a comparison: title, tabs, rules, and words where there is nothing."""

from collections.abc import Sequence

from finetune_tui.core.evidence.compared_rows import ComparedRow
from finetune_tui.core.evidence.comparison import Comparison, Which
from finetune_tui.core.runs.directory import RunDirectory
from finetune_tui.core.text import plain
from finetune_tui.tui.screens.comparison_figures import (
    NARROW,
    SET_WORDS,
    filter_lines,
    metric_lines,
    verdict_words,
)
from finetune_tui.tui.screens.comparison_shown import Shown
from finetune_tui.tui.screens.runs_view import back_key
from finetune_tui.tui.widgets.lines import Line, Span, dim, key, line, rule, strong, wrap
from finetune_tui.tui.widgets.run_table import day_words

_ONE_LINE = 110  # columns from which title and tabs share a line
_NOTHING_YET = (
    "No comparison of this run yet. It asks base and tuned model the same held-out rows, and counts what"
    " became right, what became wrong, and what was forgotten."
)


def title_lines(
    run: RunDirectory | None, name: str, shown: Shown, now: float, width: int
) -> list[Line]:
    """Which run, which comparison of how many, and the tabs. name: of the run, maybe empty."""
    if run is None:
        return [rule(width, [], [back_key()])]
    told: list[str | Line] = [line(strong(plain(run.short_id, 20)), f" {name}" if name else "")]
    comparison = shown.comparison
    if comparison is None:
        return [rule(width, told, [back_key()])]
    by = plain(comparison.name, 20)
    if width >= NARROW:
        at = "tuned" if comparison.step is None else f"the checkpoint at step {comparison.step}"
        told.append(f"base against {at}")
        by += f" {day_words(comparison.created, now)}"
    told.append(line(dim(by)))
    right = [back_key()]
    known = len(shown.comparisons or ())
    if known > 1:
        right.insert(0, key("c", f"{shown.at + 1} of {known}", "choose"))
    if width >= _ONE_LINE:
        return [rule(width, [*told, *_tabs(shown)], right)]
    return [rule(width, told, right), rule(width, _tabs(shown), [line(dim("[ ]"))])]


def _tabs(shown: Shown) -> list[Line]:
    tabs = []
    rows = {
        one.which.value: one.rows for one in (shown.comparison.sets if shown.comparison else ())
    }
    for name in shown.tabs:
        words = f"{SET_WORDS[Which(name)]} {rows[name]:,}" if name in rows else name
        is_on = name == shown.tab
        span = Span(
            f"[{words}]" if is_on else words, "strong" if is_on else "dim", f"show_tab('{name}')"
        )
        tabs.append(line(span))
    return tabs


def figures_lines(shown: Shown, width: int, height: int) -> list[Line]:
    """The figures of a set, and its rows by verdict."""
    compared = shown.compared
    if compared is None:
        return []
    keys = [key("← →", "turn", "filter(1)"), key("/", "find", "find")]
    words = "rows" if width < NARROW else "what tuning did to the rows"
    found = len(shown.hits) if shown.hits is not None else None
    return [
        *metric_lines(compared, width, max(height // 4 + (width >= NARROW), 3)),
        rule(width, [line(dim(words))], keys),
        *filter_lines(compared, shown.verdict, shown.looked_for, found, width),
    ]


def row_rule(row: ComparedRow | None, at: int, of: int, width: int, keys: Sequence[Line]) -> Line:
    """`row 12 of 240 · fixed · orders.jsonl:1772`."""
    parts: list[str | Line] = [line(dim("row "), strong(f"{at + 1:,} of {of:,}"))]
    if row is not None:
        parts.append(verdict_words(row.verdict))
        if width >= NARROW:
            parts.append(line(dim(plain(row.where.rpartition("/")[2], 60))))
    return rule(width, parts, keys)


def no_rows(shown: Shown, width: int) -> list[Line]:
    """Why no row is shown."""
    if shown.error:
        return [line(" ", Span(words, "bad")) for words in wrap(shown.error, width - 2)]
    if shown.store is None or (shown.looked_for and shown.hits is None):
        return [rule(width, ["reading…"])]
    words = "no row is like that" if shown.is_filtered else "no rows"
    return [rule(width, [words]), line(" ", key("esc", "shows all", "app.one_level_out"))]


def nothing_yet(shown: Shown, width: int) -> list[Line]:
    """Instead of a comparison."""
    if shown.comparisons is None:
        return [line(dim(" reading…"))]
    words = [line(f" {text}") for text in wrap(_NOTHING_YET, width - 2)]
    return [*words, (), line(" ", key("C", "compare base and tuned", "again"))]


def choice_words(one: Comparison, now: float) -> str:
    """`06:12  exact match 2% → 98%  240 rows`: one of several comparisons."""
    judge = one.held_out.judge
    shares = f"{100 * judge.base.value:.0f}% → {100 * judge.tuned.value:.0f}%"
    words = f"{day_words(one.created, now)}  {plain(judge.title, 30)} {shares}  {one.held_out.rows:,} rows"
    return words + (f", {one.forgetting.rows:,} for what was forgotten" if one.forgetting else "")
