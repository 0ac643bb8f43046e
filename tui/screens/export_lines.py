"""What an export would write, need and send, in lines beside its sheet."""

from dataclasses import dataclass

from finetune_tui.core.errors import UserError
from finetune_tui.core.export.plan import ExportPlan
from finetune_tui.core.export.push_plan import PushPlan
from finetune_tui.core.text import plain, size
from finetune_tui.tui.widgets.lines import (
    Line,
    Span,
    clip_left,
    dim,
    key,
    line,
    rule,
    spread,
    strong,
    wrap,
)


@dataclass(frozen=True, slots=True)
class Outlook:
    """What is known before an export starts. error: why it cannot be, as it is now.

    push_to: where it would be sent, None: nowhere. push: the Hub's answer; is_asking: it is being asked.
    """

    plan: ExportPlan | None = None
    error: UserError | None = None
    push_to: str | None = None
    push: PushPlan | None = None
    push_error: UserError | None = None
    is_asking: bool = False


def outlook_lines(outlook: Outlook, width: int, is_roomy: bool) -> list[Line]:
    """is_roomy: there is room for every file with its size. Else what is sent comes first, once it is known:
    it matters most."""
    written, sent = _written(outlook, width, is_roomy), _sent(outlook, width)
    return [*sent, *written] if outlook.push is not None and not is_roomy else [*written, *sent]


def question(push: PushPlan) -> tuple[str, str]:
    """Before something leaves for the first time: the question, and what a person must know."""
    facts = dict(push.facts())
    return (
        f"Send it to {plain(push.repo, 60)}?",
        f"It {facts['']}. As {facts['as']}. {facts['send']}.",
    )


def _written(outlook: Outlook, width: int, is_roomy: bool) -> list[Line]:
    lines = [rule(width, [line(dim("what is written"))])]
    plan = outlook.plan
    if outlook.error is not None:
        return [*lines, *_wrapped(f"✗ {outlook.error}", width, "bad")]
    if plan is None:
        return [*lines, line(dim(" looking…"))]
    what = f"merged, {plan.dtype}" if plan.merge else "adapter"
    count = f"{len(plan.files)} files, {size(plan.bytes)}"
    lines.append(line(" ", strong(what), f": {count}, into"))
    lines.append(line(f" {clip_left(plain(str(plan.out), 400), width - 2)}"))
    if is_roomy:
        lines += [_file(file.name, file.bytes, "", width) for file in plan.files]
    lines.append(_room("disk", plan.bytes, plan.disk_free))
    if plan.memory:
        where = "memory" if plan.device == "memory" else plain(plan.device, 30)
        lines.append(_room(where, plan.memory, plan.memory_free, "about "))
    for note in plan.notes:
        lines += _wrapped(f"! {note}", width, "warn")
    return lines


def _room(what: str, needed: int, free: int | None, about: str = "") -> Line:
    """`✓ disk needs 65.2M, 41.0G free`."""
    enough = None if free is None else needed <= free
    mark = {True: Span("✓", "good"), False: Span("✗", "bad"), None: dim("·")}[enough]
    known = "free unknown" if free is None else f"{size(free)} free"
    words = f" {what} needs {about}{size(needed)}, {known}"
    return line(" ", mark, Span(words, "bad" if enough is False else ""))


def _sent(outlook: Outlook, width: int) -> list[Line]:
    if outlook.push_to is None:
        return []
    lines = [rule(width, [line(dim("what is sent"))])]
    push = outlook.push
    if outlook.is_asking:
        return [*lines, line(dim(" asking the Hub…"))]
    if outlook.push_error is not None:
        return [*lines, *_wrapped(f"✗ {outlook.push_error}", width, "bad")]
    if push is None:
        words = "asks the Hub what would be sent, changes nothing"
        return [*lines, line(" ", key("d", words, "dry_run"))]
    for word, fact in push.facts():
        style = "" if push.private or word else "warn"  # who sees it, when everybody does
        first, *rest = wrap(fact, max(width - 7, 8))
        lines.append(line(dim(f" {word:<5}"), Span(first, style)))
        lines += [line("      ", Span(words, style)) for words in rest]
        if word == "send":
            replaced = [file for file in push.files if file.replaces]
            lines += [_file(file.name, file.bytes, "replaces", width) for file in replaced]
    return lines


def _file(name: str, count: int, mark: str, width: int) -> Line:
    """mark: why this one is told."""
    known = line(Span(f"{mark} " if mark else "", "warn"), dim(f"{size(count):>7}"))
    return spread(line(dim(f"  {plain(name, 80)}")), known, width - 1)


def _wrapped(text: str, width: int, style: str) -> list[Line]:
    return [line(Span(f" {words}", style)) for words in wrap(plain(text, 600), width - 2)]
