"""The figures of a comparison as lines: metrics with their intervals, counts by verdict, fields, facts."""

from collections.abc import Mapping

from finetune_tui.core.evidence.comparison import (
    ComparedSet,
    Comparison,
    FieldMeasured,
    Measured,
    Verdict,
    Which,
)
from finetune_tui.core.evidence.intervals import Interval, Share
from finetune_tui.core.text import duration, percent, plain
from finetune_tui.tui.widgets.lines import (
    Line,
    Span,
    cells,
    clip_left,
    dim,
    fit,
    flowed,
    line,
    rule,
    strong,
    wrap,
)
from finetune_tui.tui.widgets.plot import number

NARROW, _BARS = 60, 76  # columns
_NAME, _FIGURE, _CHANGE = 15, 14, 17  # cells
SET_WORDS: Mapping[Which, str] = {Which.HELD_OUT: "held out", Which.FORGETTING: "forgotten"}
MARKS: Mapping[Verdict, Span] = {
    Verdict.FIXED: Span("▲", "good"),
    Verdict.REGRESSED: Span("▼", "bad"),
    Verdict.BOTH_RIGHT: Span("✓", "dim"),
    Verdict.BOTH_WRONG: Span("✗", "warn"),
}
VERDICTS: tuple[Verdict | None, ...] = (None, *Verdict)


def verdict_words(verdict: Verdict | None) -> str:
    return "all" if verdict is None else verdict.value.replace("-", " ")


def metric_lines(of: ComparedSet, width: int, most: int) -> list[Line]:
    """A row for each metric, the judging one first, under a head; `most` lines with it."""
    rows = [_metric_line(one, width) for one in of.measured]
    if of.base_loss is not None and of.tuned_loss is not None:
        rows.append(_loss_line(of.base_loss, of.tuned_loss, width))
    head = [] if width < NARROW or len(rows) >= most else [_head(width)]
    room = most - len(head)
    if len(rows) > room:
        hidden = len(rows) - room + 1
        rows = [*rows[: room - 1], line(dim(f" {hidden} more: [ ] leads to about"))]
    return [*head, *rows]


def _head(width: int) -> Line:
    parts = [f" {'METRIC':<{_NAME}}", f"{'BASE':<{_FIGURE}}", f"{'TUNED':<{_FIGURE}}"]
    bars = line(dim(" ○ base ● tuned")) if width >= _BARS else ()
    return line(dim("".join(parts)), dim(f"{'DIFFERENCE':<{_CHANGE}}"), bars)


def _metric_line(one: Measured, width: int) -> Line:
    title = plain(one.title, 40)
    if width < NARROW:
        figures = line(_short(one.base), dim(" → "), strong(_short(one.tuned)))
        return fit(line(f" {title[:12]:<12} ", figures, "  ", *change_spans(one.difference)), width)
    shown = line(
        fit((Span(f" {title}"),), _NAME + 1),
        *_figure(one.base, ""),
        *_figure(one.tuned, "strong"),
        fit(line(*change_spans(one.difference)), _CHANGE),
    )
    if width < _BARS:
        return shown
    return line(shown, " ", *_bar(one.base, one.tuned, width - cells(shown) - 2))


def _figure(of: Share, style: str) -> Line:
    return fit(line(Span(f"{_short(of):>5}", style), dim(f" {_between(of)}")), _FIGURE)


def _short(of: Share) -> str:
    """A share in percent, a mean score from 0 to 1."""
    return score(of.value) if of.hits is None and of.total else _share(of)


def _share(of: Share) -> str:
    return percent(of.value, 1) if of.total else "–"


def score(value: float) -> str:
    return f"{value:.2f}".removeprefix("0") if value < 0.995 else f"{value:.2f}"


def _between(of: Share | Interval) -> str:
    """`94–98`: hundredths, without a sign of their own."""
    return f"{100 * of.low:.0f}–{100 * of.high:.0f}"


def change_spans(of: Interval) -> tuple[Span, Span, Span]:
    """`▲ +96 93…98`: hundredths; ≈ where the interval holds no change too."""
    is_clear = of.low > 0 or of.high < 0
    mark = ("▲" if of.value > 0 else "▼") if is_clear else "≈"
    style = ("good" if of.value > 0 else "bad") if is_clear else "dim"
    between = f" {_signed(of.low)}…{_signed(of.high)}"
    return Span(f"{mark} ", style), Span(_signed(of.value), "strong"), dim(between)


def _signed(value: float) -> str:
    return f"{100 * value:+.0f}".replace("-", "−").replace("+0", "0")


def _loss_line(base: float, tuned: float, width: int) -> Line:
    mark = Span("▲ " if tuned < base else "▼ ", "good" if tuned < base else "bad")
    told = line(mark, dim("less is better"))
    if width < NARROW:
        return line(f" {'loss':<12} ", number(base), dim(" → "), strong(number(tuned)), "  ", told)
    figures = (f"{number(base):>5}", f"{number(tuned):>5}")
    return line(
        f" {'loss':<{_NAME}}",
        f"{figures[0]:<{_FIGURE}}",
        Span(f"{figures[1]:<{_FIGURE}}", "strong"),
        told,
    )


def _bar(base: Share, tuned: Share, width: int) -> list[Span]:
    """Both intervals on a line from 0 to 1: `·○───·······━━●━`."""
    if width < 8:
        return []
    shown: list[tuple[str, str]] = [("·", "rule")] * width

    def at(value: float) -> int:
        return min(max(round(value * (width - 1)), 0), width - 1)

    for of, through, style in ((base, "─", "dim"), (tuned, "━", "accent")):
        for cell in range(at(of.low), at(of.high) + 1):
            shown[cell] = (through, style)
    for of, point, style in ((base, "○", ""), (tuned, "●", "accent")):
        shown[at(of.value)] = (point, style)
    return [Span(text, style) for text, style in shown]


def counts_line(of: ComparedSet) -> Line:
    """`▲ fixed 209  ▼ regressed 3  …`."""
    parts = [
        line(MARKS[verdict], f" {verdict_words(verdict)} {of.counts[verdict]:,}  ")
        for verdict in Verdict
    ]
    return line(" ", *parts)


def filter_lines(
    of: ComparedSet, chosen: Verdict | None, words: str, found: int | None, width: int
) -> list[Line]:
    """`[all 240]  fixed 232  regressed 0 …`, each a click. words: looked for, in `found` rows."""
    parts = []
    for verdict in VERDICTS:
        name = verdict_words(verdict)
        total = of.counts.rows if verdict is None else of.counts[verdict]
        text = f"{name} {total:,}"
        mark: Line = (MARKS[verdict], Span(" ")) if verdict and width >= NARROW else ()
        style = "strong" if verdict is chosen else "dim" if not total else ""
        shown = Span(f"[{text}]" if verdict is chosen else text, style)
        click = f"only('{verdict.value if verdict else ''}')"
        parts.append(tuple(span._replace(click=click) for span in (*mark, shown)))
    lines = flowed(parts, width, 2)
    if words:
        told = "…" if found is None else f"in {found:,}"
        lines.append(
            line(
                " ",
                Span("/ ", "key", "find"),
                Span(plain(words, 40), "accent"),
                dim(f"  {told} of them"),
            )
        )
    return lines


def field_lines(of: ComparedSet, width: int) -> list[Line]:
    """The fields of the expected JSON: how often each is right, base beside tuned."""
    if not of.fields:
        words = (
            "No fields: the expected answers are no JSON objects, or were not asked for."
            " C compares again; choose `fields` among the metrics."
        )
        return [line(" ", dim(text)) for text in wrap(words, width - 2)]
    wide = width >= 90
    columns = ("F1", "PRECISION", "RECALL") if wide else ("F1",)
    each = 11
    room = max(
        min(max(len(one.path) for one in of.fields) + 2, width - 2 * each * len(columns) - 9), 12
    )
    head = "".join(f"{name:<{each}}" for name in columns)
    lines = []
    if wide:
        lines.append(
            line(" " * (room + 1), dim(f"{'BASE':<{each * 3}}"), dim(f"{'TUNED':<{each * 3}}"))
        )
        lines.append(line(dim(f" {'FIELD':<{room}}{head}{head}"), dim("EXPECTED")))
    else:
        heads = f"{'BASE F1':<{each}}{'TUNED F1':<{each}}"
        lines.append(line(dim(f" {'FIELD':<{room}}{heads}"), dim("EXPECTED")))
    lines += [_field_line(one, room, each, wide) for one in of.fields]
    if of.further_fields:
        lines.append(line(dim(f" {of.further_fields} further fields are rarer")))
    return lines


def _field_line(one: FieldMeasured, room: int, each: int, wide: bool) -> Line:
    parts: list[Span | Line] = [fit(line(f" {plain(one.path, 200)}"), room + 1)]
    for found, style in ((one.base, ""), (one.tuned, "strong")):
        figures = [score(found.f1) if found.said or found.expected else "–"]
        if wide:
            figures += [_share(found.precision), _share(found.recall)]
        parts += [
            Span(f"{figure:<{each}}", style if at == 0 else "dim")
            for at, figure in enumerate(figures)
        ]
    return line(*parts, dim(f"{one.tuned.expected:,}"))


def about_lines(comparison: Comparison, width: int) -> list[Line]:
    """How it was measured: what makes a figure one that can be repeated."""
    held_out = comparison.held_out
    facts: list[tuple[str, str]] = [
        ("model", plain(comparison.model or "unknown", 200)),
        ("run", plain(comparison.run, 100) + _checkpoint_words(comparison)),
        ("computed", plain(f"{comparison.precision} on {comparison.device}", 100)),
        ("took", duration(comparison.seconds)),
        ("answers", "greedy: the likeliest token each time, the same for base and tuned"),
        ("right", f"{plain(held_out.judge.title, 40)}: {plain(held_out.right_words, 300)}"),
        ("93–98", "between these a figure lies with 95 % confidence, in hundredths"),
        ("▲ ▼ ≈", "tuned is better, is worse; the difference may be chance"),
    ]
    for one in comparison.sets:
        name = SET_WORDS[one.which]
        rows = f"{one.rows:,} rows" + (f", {one.left_out:,} left out" if one.left_out else "")
        facts.append(
            (name, f"{rows} of {plain(', '.join(one.files) or 'the data of the run', 400)}")
        )
        facts += [("", plain(note, 400)) for note in one.notes]
    facts += [
        (plain(str(key), 40), _asked_words(value))
        for key, value in comparison.spec.items()
        if value and key not in ("run", "task")
    ]
    lines: list[Line] = []
    for name, value in facts:
        first, *rest = wrap(value, max(width - 16, 10))
        lines.append(line(dim(f" {name[:13]:<14}"), first))
        lines += [line(" " * 15, text) for text in rest]
    lines.append(
        line(dim(f" {'folder':<14}"), clip_left(plain(str(comparison.folder)), width - 16))
    )
    return lines


def _checkpoint_words(comparison: Comparison) -> str:
    if comparison.step is None:
        return ""
    return f": the checkpoint at step {comparison.step}, for the run has no result of its own"


def _asked_words(value: object) -> str:
    if isinstance(value, bool):
        return "yes"
    return plain(", ".join(map(str, value)) if isinstance(value, list) else str(value), 400)


def every_metric(comparison: Comparison, width: int) -> list[Line]:
    """All metrics of all sets, for where the table above had no room."""
    lines: list[Line] = []
    for one in comparison.sets:
        lines.append(rule(width, [SET_WORDS[one.which]]))
        lines += metric_lines(one, width, 100)
    return lines
