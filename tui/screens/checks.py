"""Before you start: what would stop a run or spoil it, in words. Looks, never downloads."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from finetune_tui.core.memory.estimate import Estimate, fits
from finetune_tui.core.models.resolve import ModelReference
from finetune_tui.core.models.weights import problem_of, weights_on_disk
from finetune_tui.core.text import count, plain, size
from finetune_tui.tui.session import Session
from finetune_tui.tui.widgets.lines import Line, Span, dim, line, wrap

Verdict = Literal["good", "warn", "bad"]
_MARKS: Mapping[Verdict, str] = {"good": "✓", "warn": "!", "bad": "✗"}

# Checkpoints hold the trained numbers and AdamW's two moments in fp32; the best and the last stay.
_BYTES_PER_TRAINED = 2 * 12 + 4


@dataclass(frozen=True, slots=True)
class Check:
    """about: one word. `bad` is what a run would surely fail of."""

    about: str
    verdict: Verdict
    words: str


def checks(session: Session, data_error: str | None = None) -> list[Check]:
    """All of them, in the order in which a run would meet them."""
    return [
        _model(session.reference),
        _selection(session),
        _data(session, data_error),
        _machine(session),
        _disk(session),
    ]


def refusal(found: list[Check]) -> str | None:
    """Why a run cannot start, or None."""
    return next((check.words for check in found if check.verdict == "bad"), None)


def check_lines(found: list[Check], width: int, most: int = 1) -> list[Line]:
    """Each check on at most `most` lines, its verdict as a mark and not by colour alone."""
    lines: list[Line] = []
    for check in found:
        style = "" if check.verdict == "good" else check.verdict
        texts = wrap(check.words, max(width - 13, 10))
        if most == 1:
            texts = [check.words]
        mark = Span(f" {_MARKS[check.verdict]} ", check.verdict)
        lines.append(line(mark, dim(f"{check.about:<9}"), Span(texts[0], style)))
        lines += [line(" " * 12, Span(text, style)) for text in texts[1:most]]
    return lines


def _model(reference: ModelReference | None) -> Check:
    if reference is None:
        return Check("model", "bad", "no model is open: choose one in 1 Model")
    if reference.kind == "demo":
        return Check("model", "good", "the demo's weights come with the app")
    if weights_on_disk(reference.name, reference.folder):
        return Check("model", "good", f"the weights of {plain(reference.title, 40)} are here")
    if reference.folder is not None:
        return Check("model", "bad", problem_of(reference.folder) or "the weights are not whole")
    about = f", about {size(2 * reference.entry.parameters)}" if reference.entry else ""
    return Check("model", "warn", f"to be downloaded first{about}")


def _selection(session: Session) -> Check:
    if session.manifest is not None and not session.selection.choices:
        return Check("trains", "bad", "nothing is selected: choose a preset in 2 Layers")
    chosen = len(session.selection.choices)
    if not chosen:
        return Check("trains", "warn", "nothing yet")
    source = session.preset or "chosen by hand"
    return Check(
        "trains", "good", f"{count(session.trainable)} numbers in {chosen} modules ({source})"
    )


def _data(session: Session, error: str | None) -> Check:
    if not session.spec.train_files:
        return Check("data", "bad", "no file yet: o opens one")
    if error:
        return Check("data", "bad", error)
    report = session.data
    if report is None:
        return Check("data", "warn", "being read…")
    words = f"{report.rows} rows, {report.format}"
    if report.bad_rows:
        bad = len(report.bad_rows)
        if session.spec.strict:
            return Check("data", "bad", f"{bad} bad rows, and strict is on: see 3 Data")
        return Check("data", "warn", f"{words}; {bad} bad skipped (3 Data)")
    return Check("data", "good", words)


def _machine(session: Session) -> Check:
    hardware, estimate = session.hardware, session.estimate
    if session.reference is None:
        return Check("memory", "warn", "no model to estimate it for yet")
    if hardware is None:
        return Check("memory", "warn", "being measured…")
    on_gpu = bool(hardware.gpus) and not session.spec.use_cpu
    if on_gpu:
        return _memory(estimate, session.free_bytes, "GPU memory")
    if not session.spec.use_cpu and session.reference.kind != "demo":
        why = plain(hardware.gpu_error or "no GPU is usable here", 60)
        return Check("memory", "bad", f"{why}; use_cpu trains all the same, slowly")
    return _memory(estimate, hardware.memory_available, "memory (on the CPU)")


def _memory(estimate: Estimate | None, free: int | None, where: str) -> Check:
    if estimate is None:
        return Check("memory", "warn", "not estimated yet")
    need = f"needs about {size(estimate.device)} of {where}"
    fitting = fits(estimate, free)
    if fitting is None or free is None:
        return Check("memory", "warn", f"{need}; how much is free is unknown")
    words = f"{need}, {size(free)} free"
    return Check(
        "memory", "good" if fitting else "warn", words if fitting else f"too little: {words}"
    )


def _disk(session: Session) -> Check:
    free = session.hardware.disk_free if session.hardware else None
    need = session.trainable * _BYTES_PER_TRAINED
    if free is None:
        return Check("disk", "warn", "how much is free is unknown")
    words = f"{size(free)} free" + (f", needs about {size(need)}" if need else "")
    return (
        Check("disk", "good", words) if free > need else Check("disk", "bad", f"too full: {words}")
    )
