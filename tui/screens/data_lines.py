"""What is known of the data, as lines: facts, tokens, bad rows, lengths."""

from collections.abc import Sequence
from pathlib import Path

from finetune_tui.core.data.report import DataReport, Lengths
from finetune_tui.core.data.rows import BadRow
from finetune_tui.core.data.source import SMALL, held_out_size
from finetune_tui.core.data.token_report import TokenReport
from finetune_tui.core.text import count, percent, plain
from finetune_tui.core.tuning.spec import Spec
from finetune_tui.tui.screens.data_counting import CountState
from finetune_tui.tui.widgets.lines import (
    Line,
    Span,
    clip_left,
    dim,
    key,
    line,
    rule,
    strong,
    wrap,
)

_MOST_BAD = 200
_BESIDE = 60  # columns in which what is trained has room beside its fields


def nothing_yet(width: int) -> list[Line]:
    """Before data was chosen."""
    texts = (
        "JSONL, JSON, CSV, TSV or Parquet, a folder of them, or hf://datasets/OWNER/NAME:",
        "rows with one of",
    )
    fields = (
        ("prompt, completion", "the completion is trained"),
        ("messages, conversations", "the assistant is trained"),
        ("instruction, input, output", "the output is trained"),
        ("text", "all of it is trained"),
    )
    said = [line(f" {part}") for text in texts for part in wrap(text, width - 2)]
    for names, trained in fields:
        if width >= _BESIDE:
            said.append(line(f"   {names:<26}  {trained}"))
        else:
            said += [line(f"   {names}"), line(dim(f"     {trained}"))]
    opening = line(" ", key("o", "opens a file, folder or data set", "app.open_data"))
    return [rule(width, ["no data yet"]), *said, (), opening]


def not_readable(sources: Sequence[str], error: str, width: int) -> list[Line]:
    lines = [rule(width, ["not read"])]
    lines += [line(Span(f" {text}", "bad")) for text in wrap(error, width - 2)]
    lines += [line(dim(f" {clip_left(plain(source), width - 2)}")) for source in sources]
    again = key("r", "reads again", "read_again")
    return [*lines, (), line(" ", again, "   ", key("o", "opens another", "app.open_data"))]


def reading(progress: str) -> Line:
    return line(dim(f" reading {progress}".rstrip() + "…  "), key("esc", "cancel", "cancel"))


def fact_lines(report: DataReport, spec: Spec, width: int) -> list[Line]:
    """Files, format, rows, how they are split."""
    lines = []
    for source in report.sources[:3]:
        lines.append(_fact("from", line(clip_left(plain(source), width - 12))))
    if len(report.sources) > 3:
        lines.append(_fact("", line(dim(f"and {len(report.sources) - 3} more"))))
    columns = ", ".join(plain(name, 30) for name in report.columns[:8])
    lines.append(_fact("format", line(strong(report.format.value), dim(f"  fields: {columns}"))))
    bad, double = len(report.bad_rows), report.duplicates
    rows = line(strong(f"{report.rows:,}"), " usable")
    rows = line(rows, ", ", _number(bad, "bad"), ", ", _number(double, "repeated"))
    lines.append(_fact("rows", rows))
    lines.append(_fact("held out", _split(report, spec)))
    return lines


def note_lines(notes: Sequence[str], width: int) -> list[Line]:
    """Remarks that no other line makes."""
    lines = []
    for note in filter(_is_new, notes):
        first, *rest = wrap(plain(note, 300), max(width - 12, 20))
        lines.append(_fact("note", line(Span(first, "warn"))))
        lines += [_fact("", line(Span(text, "warn"))) for text in rest]
    return lines


def token_lines(
    tokens: TokenReport | None, state: CountState, missing: str, width: int
) -> list[Line]:
    """What the model would learn from, or how far the counting is. missing: what must be had before:
    "model", "tokenizer" or nothing.
    """
    if tokens is not None:
        return _counted(tokens, width)
    if state.progress is not None:
        esc = key("esc", "cancel", "cancel")
        return [_fact("tokens", line(Span(f"▸ {state.progress}", "accent"), "  ", esc))]
    again = key("c", "counts them again", "count")
    if state.error is not None:
        first, *rest = wrap(f"cannot be counted: {state.error}", max(width - 12, 20))
        lines = [_fact("tokens", line(Span(first, "bad")))]
        return [*lines, *(_fact("", line(Span(text, "bad"))) for text in rest), _fact("", again)]
    if missing == "model":
        opening = key("1", "opens one", "app.show_place('model')")
        return [_fact("tokens", line(dim("no model to count them for: "), opening))]
    if missing == "tokenizer":
        fetching = key("c", "fetches it, a few MB, and counts", "count")
        why = dim("this model's tokenizer is not on this disk")
        return [_fact("tokens", line(why)), _fact("", fetching)]
    return [_fact("tokens", key("c", "counts them", "count"))]


def _counted(tokens: TokenReport, width: int) -> list[Line]:
    """`share_trained` is of what max_length leaves."""
    kept = f"{count(tokens.trained_tokens)} of {count(tokens.tokens - tokens.cut_tokens)}"
    seen = f" in {tokens.looked_at:,} rows" if tokens.looked_at < tokens.rows else ""
    share = line(strong(percent(tokens.share_trained, 1)), f" trained: {kept}{seen}")
    ends = "is learnt" if tokens.ends_trained else "is not learnt: replies may never end"
    end_mark = Span("✓ ", "good") if tokens.ends_trained else Span("! ", "warn")
    return [
        _fact("tokens", share),
        _fact("end token", line(end_mark, Span(ends, "" if tokens.ends_trained else "warn"))),
        *_cut_lines(tokens, width),
    ]


def _cut_lines(tokens: TokenReport, width: int) -> list[Line]:
    limit = f"at max_length {tokens.question.max_length}"
    if not tokens.cut_rows:
        return [_fact("cut", line("no row ", dim(limit)))]
    rows = "1 row" if tokens.cut_rows == 1 else f"{tokens.cut_rows:,} rows"
    share = percent(tokens.cut_rows, tokens.looked_at)
    words = f"{rows} ({share}) lose {count(tokens.cut_tokens)} tokens {limit}"
    first, *rest = wrap(words, max(width - 14, 20))
    lines = [_fact("cut", line(Span("! ", "warn"), Span(first, "warn")))]
    return [*lines, *(_fact("", line("  ", Span(text, "warn"))) for text in rest)]


def _is_new(note: str) -> bool:
    """Bad and repeated rows are counted above already."""
    return "cannot be used" not in note and "repeat" not in note


def _fact(name: str, words: Line) -> Line:
    return line(dim(f" {name:<10}"), words)


def _number(number: int, word: str) -> Span:
    return Span(f"{number} {word}", "warn" if number else "dim")


def _split(report: DataReport, spec: Spec) -> Line:
    if spec.eval_files:
        names = ", ".join(plain(Path(file).name, 40) for file in spec.eval_files)
        return line(f"rows of {names}", dim("  (eval_files)"))
    if not spec.eval_split:
        return line(Span("nothing: how well it learns will not be known", "warn"))
    rows = held_out_size(report.rows, spec.eval_split, report.bytes > SMALL)
    words = "1 row" if rows == 1 else f"{rows:,} rows"
    share = f"{100 * spec.eval_split:g}%"
    return line(words, dim(f"  ({share}, drawn by content and seed {spec.seed})"))


def length_lines(lengths: Lengths, width: int, limit: int | None = None) -> list[Line]:
    """A histogram on its side; what lies beyond `limit` is marked `✂`."""
    beyond = limit is not None and lengths.max > limit
    lines = [
        rule(width, [f"lengths in {lengths.unit}"], [f"✂ max_length {limit}"] if beyond else [])
    ]
    summary = "  ".join(
        f"{name} {value}"
        for name, value in (
            ("shortest", lengths.min),
            ("median", lengths.median),
            ("95%", lengths.p95),
            ("longest", lengths.max),
        )
    )
    lines.append(line(f" {summary}"))
    most = max((rows for _, rows in lengths.histogram), default=0)
    room = max(width - 26, 4)
    for index, (upper, rows) in enumerate(lengths.histogram):
        filled = round(room * rows / most) if most else 0
        blocks = "█" * max(filled, 1 if rows else 0)
        lower = _lower(lengths, index)
        label = f"{lower}–{upper}" if lower < upper else str(upper)
        is_cut = limit is not None and upper > limit and rows > 0
        style = "warn" if is_cut else "accent"
        mark = Span(" ✂", "warn") if is_cut else ""
        lines.append(line(dim(f" {label:>13} "), Span(blocks, style), f" {rows or ''}", mark))
    return lines


def _lower(lengths: Lengths, index: int) -> int:
    """The shortest length that a bar counts."""
    if index:
        return lengths.histogram[index - 1][0] + 1
    if len(lengths.histogram) > 1:
        (first, _), (second, _) = lengths.histogram[:2]
        return max(first - (second - first) + 1, 0)
    return lengths.min


def bad_row_lines(bad_rows: Sequence[BadRow], width: int, strict: bool) -> list[Line]:
    """Every bad row by its line, with the reason."""
    if not bad_rows:
        return []
    fate = "strict: a run would not start" if strict else "skipped; strict would stop at the first"
    number = "1 bad row" if len(bad_rows) == 1 else f"{len(bad_rows):,} bad rows"
    lines = [rule(width, [number, line(dim(fate))])]
    for bad in bad_rows[:_MOST_BAD]:
        where = f" {plain(bad.path.name, 24)}:{bad.line} "
        first, *rest = wrap(plain(bad.error, 300), max(width - len(where) - 1, 20))
        lines.append(line(Span(where, "warn"), first))
        lines += [line(" " * len(where), text) for text in rest]
    if len(bad_rows) > _MOST_BAD:
        lines.append(line(dim(f" and {len(bad_rows) - _MOST_BAD} more")))
    return lines
