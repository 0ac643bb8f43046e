"""A comparison as a table for a terminal of 80 columns."""

from collections.abc import Iterator

from finetune_tui.core.evidence.comparison import ComparedSet, Comparison, FieldMeasured, Measured
from finetune_tui.core.evidence.intervals import Interval, Share
from finetune_tui.core.evidence.summary import forgotten_words
from finetune_tui.core.text import count, duration, percent, plain

_FIELDS = 12  # that are printed
_NAME = 20  # columns of a metric's or a field's name


def table_lines(comparison: Comparison) -> Iterator[str]:
    """Base, tuned and the difference, each with its 95 % interval; counts; fields; what was forgotten."""
    model = plain(comparison.model or "the base", 30)
    where = f"{comparison.precision} on {comparison.device}"
    rows = f"{count(comparison.held_out.rows)} rows"
    yield f"{comparison.name}: {model} and what {plain(comparison.run, 30)} trained"
    yield f"{rows}, {where}, {duration(comparison.seconds)}; brackets: 95 % intervals"
    if comparison.step is not None:
        yield f"tuned is the checkpoint at step {comparison.step}: the run has no result of its own"
    yield ""
    yield from _set_lines(comparison.held_out)
    if comparison.forgetting is not None:
        yield ""
        yield f"forgetting, on {count(comparison.forgetting.rows)} rows of other work"
        yield from _set_lines(comparison.forgetting)
        yield _forgotten_line(comparison.forgetting)


def _set_lines(compared: ComparedSet) -> Iterator[str]:
    yield f"{'':<{_NAME}}{'base':<19}{'tuned':<19}difference"
    for one in compared.measured:
        yield _metric_line(one, compared.rows)
    if compared.base_loss is not None and compared.tuned_loss is not None:
        change = compared.tuned_loss - compared.base_loss
        losses = f"{compared.base_loss:<19.4f}{compared.tuned_loss:<19.4f}{change:+.4f}"
        yield f"{'loss':<{_NAME}}{losses}"
    counts = compared.counts
    yield (
        f"{count(counts.fixed)} fixed, {count(counts.regressed)} regressed, "
        f"{count(counts.both_right)} both right, {count(counts.both_wrong)} both wrong"
    )
    yield f"right: {compared.right_words}"
    for note in compared.notes:
        yield f"note: {note}"
    yield from _field_lines(compared)


def _metric_line(one: Measured, rows: int) -> str:
    name = one.title if one.rows == rows else f"{one.title} ({count(one.rows)})"
    return f"{name:<{_NAME - 1}} {_share(one.base):<19}{_share(one.tuned):<19}{_points(one.difference)}"


def _field_lines(compared: ComparedSet) -> Iterator[str]:
    """F1 of each field, with precision and recall of the tuned model."""
    fields = compared.fields
    if not fields:
        return
    yield ""
    yield f"{'field':<{_NAME}}{'base F1':>8}{'tuned F1':>10}{'precision':>11}{'recall':>8}{'values':>8}"
    for one in fields[:_FIELDS]:
        yield _field_line(one)
    further = len(fields) - _FIELDS + compared.further_fields
    if further > 0:
        yield f"{count(further)} more fields: --json has the {count(len(fields))} commonest"


def _field_line(one: FieldMeasured) -> str:
    name = plain(one.path, _NAME - 1)
    base, tuned = one.base, one.tuned
    return (
        f"{name:<{_NAME}}{_of_any(base.f1, base.said + base.expected):>8}"
        f"{_of_any(tuned.f1, tuned.said + tuned.expected):>10}"
        f"{_of_any(tuned.precision.value, tuned.said):>11}"
        f"{_of_any(tuned.recall.value, tuned.expected):>8}{count(tuned.expected):>8}"
    )


def _of_any(value: float, of: int) -> str:
    """Where there is nothing that could be right there is no share of it."""
    return percent(value, 1) if of else "–"


def _forgotten_line(compared: ComparedSet) -> str:
    forgotten = compared.counts.forgotten
    words = forgotten_words(compared)
    if not forgotten.total:
        return words
    return f"{words} that the base has right: {_share(forgotten)}"


def _share(figure: Share) -> str:
    """`98% [95–99]`."""
    low, high = (_bound(one) for one in (figure.low, figure.high))
    return f"{percent(figure.value, 1)} [{low}–{high}]"


def _points(figure: Interval) -> str:
    """`+97 [93–98]`, in points of a hundred."""
    return f"{_signed(figure.value)} [{_signed(figure.low)} … {_signed(figure.high)}]"


def _signed(value: float) -> str:
    points = 100 * value
    rounded = f"{points:+.0f}" if abs(points) >= 9.95 else f"{points:+.1f}"
    return "0" if float(rounded) == 0 else rounded


def _bound(value: float) -> str:
    return percent(value, 1).removesuffix("%")
