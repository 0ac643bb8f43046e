"""What a data report says, as lines: facts, lengths, bad rows, and examples with what is trained marked."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from finetune_tui.core.data.report import DataReport, Lengths
from finetune_tui.core.data.rows import BadRow, Format, Row
from finetune_tui.core.text import count, percent, plain
from finetune_tui.core.tuning.spec import Spec
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
_LONGEST_EXAMPLE = 2000  # characters


def nothing_yet(width: int) -> list[Line]:
    """Before a file was chosen."""
    texts = (
        "A JSONL file: one row a line, each an object with one of",
        '  {"prompt": …, "completion": …}                the completion is trained',
        '  {"messages": [{"role": …, "content": …}, …]}  the assistant is trained',
        '  {"text": …}                                   all of it is trained',
    )
    opening = line(" ", key("o", "opens a file", "app.open_data"))
    return [rule(width, ["no data yet"]), *(line(f" {text}") for text in texts), (), opening]


def not_readable(files: Sequence[Path], error: str, width: int) -> list[Line]:
    lines = [rule(width, ["cannot be read"])]
    lines += [line(Span(f" {text}", "bad")) for text in wrap(error, width - 2)]
    lines += [line(dim(f" {clip_left(plain(str(file)), width - 2)}")) for file in files]
    return [*lines, (), line(" ", key("o", "opens another file", "app.open_data"))]


def fact_lines(report: DataReport, spec: Spec, width: int) -> list[Line]:
    """Files, format, rows, how they are split, notes."""
    lines = [rule(width, ["data"])]
    for file in report.files:
        lines.append(_fact("file", line(clip_left(plain(str(file)), width - 12))))
    columns = ", ".join(plain(name, 30) for name in report.columns[:8])
    lines.append(_fact("format", line(strong(report.format.value), dim(f"  fields: {columns}"))))
    bad, double = len(report.bad_rows), report.duplicates
    rows = line(strong(str(report.rows)), " usable")
    rows = line(rows, ", ", _number(bad, "bad"), ", ", _number(double, "repeated"))
    lines.append(_fact("rows", rows))
    lines.append(_fact("held out", _split(report, spec)))
    if report.tokens is not None and report.trained_tokens is not None:
        share = percent(report.trained_tokens, report.tokens)
        trained = f"{count(report.tokens)}, {count(report.trained_tokens)} trained ({share})"
        lines.append(_fact("tokens", line(trained)))
    if report.ends_trained is not None:
        words = "is learnt" if report.ends_trained else "is not learnt: replies may never end"
        lines.append(_fact("end token", line(Span(words, "" if report.ends_trained else "warn"))))
    lines += [_fact("note", line(Span(note, "warn"))) for note in report.notes if _is_new(note)]
    return lines


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
    rows = min(max(round(report.rows * spec.eval_split), 1), report.rows - 1)
    words = "1 row" if rows == 1 else f"{rows} rows"
    share = f"{100 * spec.eval_split:g}%"
    return line(words, dim(f"  ({share}, drawn by content and seed {spec.seed})"))


def length_lines(lengths: Lengths, width: int) -> list[Line]:
    """A histogram on its side."""
    lines = [rule(width, [f"lengths in {lengths.unit}"])]
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
    room = max(width - 24, 4)
    for index, (upper, rows) in enumerate(lengths.histogram):
        filled = round(room * rows / most) if most else 0
        blocks = "█" * max(filled, 1 if rows else 0)
        lower = _lower(lengths, index)
        label = f"{lower}–{upper}" if lower < upper else str(upper)
        lines.append(line(dim(f" {label:>13} "), Span(blocks, "accent"), f" {rows or ''}"))
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
    lines = [rule(width, [f"{len(bad_rows)} bad rows", line(dim(fate))])]
    for bad in bad_rows[:_MOST_BAD]:
        where = f" {plain(bad.path.name, 24)}:{bad.line} "
        first, *rest = wrap(plain(bad.error, 300), max(width - len(where) - 1, 20))
        lines.append(line(Span(where, "warn"), first))
        lines += [line(" " * len(where), text) for text in rest]
    if len(bad_rows) > _MOST_BAD:
        lines.append(line(dim(f" and {len(bad_rows) - _MOST_BAD} more")))
    return lines


def example_lines(rows: Sequence[Row], spec: Spec, width: int) -> list[Line]:
    """The first rows; what is trained is bold and underlined, the rest is dim."""
    legend = line(dim("dim: read"), dim("  "), Span("underlined", "under"), dim(": trained"))
    lines = [rule(width, ["examples", legend])]
    for row in rows:
        lines.append(line(dim(f" line {row.line}")))
        for text, trained in _parts(row, spec):
            style = "under" if trained else "dim"
            for piece in _pieces(text, width - 3):
                indent = len(piece) - len(piece.lstrip())
                lines.append(line(" " * (2 + indent), Span(piece.strip(), style)))
    return lines


def _parts(row: Row, spec: Spec) -> Iterator[tuple[str, bool]]:
    """The texts of a row in order, and whether each is trained."""
    if row.kind is Format.TEXT:
        yield row.text or "", True
    elif row.kind is Format.PROMPT_COMPLETION:
        yield row.prompt or "", not spec.completion_only_loss
        yield row.completion or "", True
    for message in row.messages or ():
        role, content = str(message.get("role")), message.get("content")
        trained = role == "assistant" or not spec.completion_only_loss
        said = content if isinstance(content, str) else "(calls a tool)"
        yield f"{role}: {said}", trained


def _pieces(text: str, width: int) -> Iterator[str]:
    for one in text[:_LONGEST_EXAMPLE].strip("\n").split("\n"):
        yield from wrap(plain(one), max(width, 10))
    if len(text) > _LONGEST_EXAMPLE:
        yield f"… {len(text) - _LONGEST_EXAMPLE} characters more"
