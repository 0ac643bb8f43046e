"""The samples tab: what the base said to held-out prompts, and what the model says at each evaluation."""

from collections.abc import Sequence
from itertools import groupby

from finetune_tui.core.runs.curves import Sample
from finetune_tui.core.text import plain
from finetune_tui.tui.screens.following import Following
from finetune_tui.tui.widgets.lines import Line, Span, dim, fit, line, rule, wrap

_SIDE_BY_SIDE = 90  # columns from which base and tuned stand beside each other
_LONGEST = 1000  # characters of a reply
_MARKS = {True: Span("✓", "good"), False: Span("✗", "bad"), None: dim("·")}


def sample_lines(following: Following, width: int) -> list[Line]:
    """Every look at the held-out prompts under a heading, the newest first."""
    samples = list(following.curves.samples)
    if not samples:
        return [line(dim(" no samples: they come with evaluations (eval_samples, eval_replies)"))]
    base = {sample.prompt: sample for sample in samples if sample.when == "before"}
    looks = [list(look) for _, look in groupby(samples, lambda sample: (sample.step, sample.when))]
    lines: list[Line] = []
    for look in reversed(looks):
        lines.append(rule(width, [_heading(look[0])], [_right(look)]))
        for sample in look:
            before = None if sample.when == "before" else base.get(sample.prompt)
            lines += _sample_lines(sample, before, width)
    return lines


def _heading(sample: Sample) -> str:
    if sample.when == "before":
        return "before training"
    return f"step {sample.step}" + (", the result" if sample.when == "after" else "")


def _right(look: Sequence[Sample]) -> Line:
    judged = [sample for sample in look if sample.correct is not None]
    right = sum(sample.correct is True for sample in judged)
    return line(dim(f"{right} of {len(judged)} as wanted")) if judged else ()


def _sample_lines(sample: Sample, base: Sample | None, width: int) -> list[Line]:
    prompt = plain(sample.prompt, 400)
    lines = [fit(line(" ", _MARKS[sample.correct], " ", dim(prompt)), width)]
    said = "now " if base else "said"
    if base is not None and base.reply == sample.reply:
        lines += _labelled("same", sample.reply, width)
    elif base is not None and width >= _SIDE_BY_SIDE:
        lines += _beside(base.reply, sample.reply, width)
    else:
        lines += _labelled("base", base.reply, width) if base else []
        lines += _labelled(said, sample.reply, width)
    if sample.correct is not True and sample.expected:
        lines += _labelled("want", sample.expected, width)
    return lines


def _labelled(label: str, text: str, width: int) -> list[Line]:
    first, *rest = wrap(_reply(text), max(width - 9, 10))
    return [line(dim(f"   {label} "), first), *(line(" " * 8, words) for words in rest)]


def _beside(base: str, now: str, width: int) -> list[Line]:
    """Base at the left, tuned at the right, each wrapped in its half."""
    half = (width - 16) // 2
    left, right = wrap(_reply(base), half - 2), wrap(_reply(now), half)
    rows = []
    for row in range(max(len(left), len(right))):
        one = left[row] if row < len(left) else ""
        other = right[row] if row < len(right) else ""
        labels = ("   base ", "now  ") if row == 0 else (" " * 8, " " * 5)
        rows.append(line(dim(labels[0]), *fit(line(one), half), dim(labels[1]), other))
    return rows


def _reply(text: str) -> str:
    return plain(text, _LONGEST).strip() or "(nothing)"
