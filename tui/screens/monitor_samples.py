"""The samples tab: what the base said to held-out prompts, and what the model says at each evaluation."""

from collections.abc import Sequence
from itertools import groupby

from finetune_tui.core.runs.curves import Sample
from finetune_tui.core.text import plain
from finetune_tui.tui.screens.following import Following
from finetune_tui.tui.widgets.answer_marks import marked, wrapped
from finetune_tui.tui.widgets.lines import Line, Span, dim, fit, line, rule

_LONGEST = 1000  # characters of a reply
_MARKS = {True: Span("✓", "good"), False: Span("✗", "bad"), None: dim("·")}
_LABEL = 8  # cells before a text
_BOTH = 2 * _LABEL + 2

# Of a sample now and of the base: what became of it.
_CHANGES: dict[tuple[bool | None, bool | None], Span] = {
    (True, False): Span("fixed", "good"),
    (False, True): Span("regressed", "bad"),
    (True, True): dim("both right"),
    (False, False): dim("both wrong"),
}


def sample_lines(following: Following, width: int, side_by_side: bool = False) -> list[Line]:
    """Every look at the held-out prompts under a heading, the newest first.

    side_by_side: base and tuned beside each other, else below each other.
    """
    samples = list(following.curves.samples)
    if not samples:
        return [line(dim(" no samples: they come with evaluations (eval_samples, eval_replies)"))]
    base = {sample.prompt: sample for sample in samples if sample.when == "before"}
    looks = [list(look) for _, look in groupby(samples, lambda sample: (sample.step, sample.when))]
    lines: list[Line] = []
    for look in reversed(looks):
        pairs = [
            (sample, None if sample.when == "before" else base.get(sample.prompt))
            for sample in look
        ]
        lines.append(rule(width, [_heading(look[0])], [_right(pairs)]))
        for sample, before in pairs:
            lines += _sample_lines(sample, before, width, side_by_side)
    return lines


def _heading(sample: Sample) -> str:
    if sample.when == "before":
        return "before training"
    return f"step {sample.step}" + (", the result" if sample.when == "after" else "")


def _right(pairs: Sequence[tuple[Sample, Sample | None]]) -> Line:
    """`2 of 3 as wanted: 2 fixed, 1 regressed`."""
    judged = [sample for sample, _ in pairs if sample.correct is not None]
    if not judged:
        return ()
    right = sum(sample.correct is True for sample in judged)
    changes = [_change(sample, base) for sample, base in pairs]
    told = [
        f"{number} {words}"
        for words in ("fixed", "regressed")
        if (number := sum(change is not None and change.text == words for change in changes))
    ]
    after = f": {', '.join(told)}" if told else ""
    return line(dim(f"{right} of {len(judged)} as wanted{after}"))


def _change(sample: Sample, base: Sample | None) -> Span | None:
    return _CHANGES.get((sample.correct, base.correct)) if base else None


def _sample_lines(
    sample: Sample, base: Sample | None, width: int, side_by_side: bool
) -> list[Line]:
    prompt = dim(plain(sample.prompt, 400))
    change = _change(sample, base)
    lines = [
        fit(
            line(" ", _MARKS[sample.correct], " ", change or "", "  " if change else "", prompt),
            width,
        )
    ]
    if base is None:
        lines += _labelled("said", sample, width)
    elif base.reply == sample.reply:
        lines += _labelled("same", sample, width)
    elif side_by_side:
        lines += _beside(base, sample, width)
    else:
        lines += [*_labelled("now ", sample, width), *_labelled("base", base, width)]
    if sample.correct is not True and sample.expected:
        wanted = marked(plain(sample.expected, _LONGEST), _reply(sample))
        first, *rest = wrapped(wanted, max(width - _LABEL - 1, 10))
        lines.append(line(dim("   want "), first))
        lines += [line(" " * _LABEL, words) for words in rest]
    return lines


def _labelled(label: str, sample: Sample, width: int) -> list[Line]:
    first, *rest = _said(sample, max(width - _LABEL - 1, 10))
    return [line(dim(f"   {label} "), first), *(line(" " * _LABEL, words) for words in rest)]


def _beside(base: Sample, now: Sample, width: int) -> list[Line]:
    """Base at the left, tuned at the right, each wrapped in its half."""
    half = (width - _BOTH) // 2
    left, right = _said(base, half), _said(now, half)
    rows = []
    for row in range(max(len(left), len(right))):
        one: Line = left[row] if row < len(left) else ()
        other: Line = right[row] if row < len(right) else ()
        labels = ("   base ", "    now ") if row == 0 else (" " * _LABEL,) * 2
        rows.append(line(dim(labels[0]), fit(one, half + 1), dim(labels[1]), other))
    return rows


def _said(sample: Sample, width: int) -> list[Line]:
    """A reply; where it is not what was wanted, what differs is underlined."""
    said, wanted = _reply(sample), plain(sample.expected, _LONGEST).strip()
    is_wrong = sample.correct is False and wanted
    return wrapped(marked(said, wanted) if is_wrong else line(said), width)


def _reply(sample: Sample) -> str:
    return plain(sample.reply, _LONGEST).strip() or "(nothing)"
