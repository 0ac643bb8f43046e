"""Before you start: what would stop a run or spoil it, in words. Looks, never downloads."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from finetune_tui.core.errors import UserError
from finetune_tui.core.memory.estimate import Estimate, Verdict, verdict
from finetune_tui.core.models.resolve import ModelReference
from finetune_tui.core.models.weights import problem_of, weights_on_disk
from finetune_tui.core.runs.machine import machine_for
from finetune_tui.core.runs.rehearsal import SPARE_DISK, Rehearsal
from finetune_tui.core.text import count, percent, plain, size
from finetune_tui.core.tuning.refusals import Machine, refuse_impossible
from finetune_tui.tui.screens.monitor_hardware import others_words
from finetune_tui.tui.session import Session
from finetune_tui.tui.widgets.lines import Line, Span, dim, fit, line, wrap
from finetune_tui.tui.widgets.memory_words import band_words

Mark = Literal["good", "warn", "bad"]
_MARKS: Mapping[Mark, str] = {"good": "✓", "warn": "!", "bad": "✗"}

_CHECKPOINT = 12  # bytes for a trained number: it and AdamW's two moments, in fp32
_RESULT = 4


@dataclass(frozen=True, slots=True)
class Check:
    """about: one word. `bad` is what a run would surely fail of."""

    about: str
    verdict: Mark
    words: str


def checks(
    session: Session, data_error: str | None = None, rehearsal: Rehearsal | None = None
) -> list[Check]:
    """All of them, in the order in which a run would meet them; what was rehearsed counts as known."""
    return [
        _model(session.reference),
        _selection(session),
        _data(session, data_error),
        _machine(session, rehearsal),
        _disk(session, rehearsal),
    ]


def refusal(found: list[Check]) -> str | None:
    """Why a run cannot start, or None."""
    return next((check.words for check in found if check.verdict == "bad"), None)


def check_lines(
    found: list[Check], width: int, most: int = 1, most_good: int | None = None
) -> list[Line]:
    """Each check on at most `most` lines, its verdict as a mark and not by colour alone.

    most_good: of one that is well, where that is to be less.
    """
    lines: list[Line] = []
    for check in found:
        style = "" if check.verdict == "good" else check.verdict
        rows = most if most_good is None or check.verdict != "good" else most_good
        texts = wrap(check.words, max(width - 13, 10))
        texts[rows - 1 :] = (
            [" ".join(texts[rows - 1 :])] if len(texts) > rows else texts[rows - 1 :]
        )
        mark = Span(f" {_MARKS[check.verdict]} ", check.verdict)
        lines.append(line(mark, dim(f"{check.about:<9}"), Span(texts[0], style)))
        lines += [fit(line(" " * 12, Span(text, style)), width) for text in texts[1:]]
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
    tokens = session.spec.trainable_token_indices
    if session.manifest is not None and not session.selection.choices and not tokens:
        return Check("trains", "bad", "nothing is selected: choose a preset in 2 Layers")
    impossible = _impossible(session)
    if impossible is not None:
        where = f"{impossible.where}: " if impossible.where else ""
        hint = f"; {impossible.hint}" if impossible.hint else ""
        return Check("trains", "bad", f"{where}{impossible.message}{hint}")
    chosen = len(session.selection.choices)
    if not chosen:
        words = f"{len(tokens)} single tokens" if tokens else "nothing yet"
        return Check("trains", "good" if tokens else "warn", words)
    source = session.preset or "chosen by hand"
    return Check(
        "trains", "good", f"{count(session.trainable)} numbers in {chosen} modules ({source})"
    )


def _impossible(session: Session) -> UserError | None:
    """What a run would be refused for before a weight is loaded."""
    if session.manifest is None:
        return None
    machine = machine_for(session.spec, session.hardware) if session.hardware else Machine()
    try:
        refuse_impossible(session.spec, session.manifest, session.selection, machine)
    except UserError as error:
        return error
    return None


def _data(session: Session, error: str | None) -> Check:
    if not session.spec.train_files:
        return Check("data", "bad", "no file yet: o opens one")
    if error:
        return Check("data", "bad", error)
    report = session.data
    if report is None:
        return Check("data", "warn", "being read…")
    words = f"{report.rows} rows, {report.format}"
    counted = session.tokens
    if counted:
        words += f", {percent(counted.share_trained, 1)} trained"
        if not counted.ends_trained:
            return Check("data", "warn", f"{words}, but not its end: it may never stop (3 Data)")
    if bad := len(counted.bad_rows if counted else report.bad_rows):
        if session.spec.strict:
            return Check("data", "bad", f"{bad} bad rows, and strict is on: see 3 Data")
        return Check("data", "warn", f"{words}; {bad} bad skipped (3 Data)")
    return Check("data", "good", words)


def _machine(session: Session, rehearsal: Rehearsal | None) -> Check:
    hardware, estimate = session.hardware, session.estimate
    if session.reference is None:
        return Check("memory", "warn", "no model to estimate it for yet")
    if hardware is None:
        return Check("memory", "warn", "being measured…")
    on_gpu = bool(hardware.gpus) and not session.spec.use_cpu
    measured = _measured(rehearsal, on_gpu)
    if session.gpu is not None and on_gpu:
        where, free = f"GPU{session.gpu.index}", session.free_bytes
        others = f" ({others_words(session.gpu)})"
    elif not session.spec.use_cpu and session.reference.kind != "demo":
        why = plain(hardware.gpu_error or "no GPU is usable here", 60)
        return Check("GPU", "bad", f"{why}; d in 4 Train: on the CPU, slowly")
    else:
        where, free, others = "this machine", hardware.memory_available, ""
    if measured and rehearsal:
        return _measured_against(measured, rehearsal, where, free, others)
    if estimate is None:
        return Check("memory", "warn", "not estimated yet")
    return _estimated_against(session, estimate, where, free, others)


def _measured(rehearsal: Rehearsal | None, on_gpu: bool) -> int | None:
    if rehearsal is None:
        return None
    if not on_gpu:
        return rehearsal.peak_memory
    return rehearsal.peak_device or rehearsal.peak_reserved


def _measured_against(
    measured: int, rehearsal: Rehearsal, where: str, free: int | None, others: str
) -> Check:
    needs = f"{size(measured)} measured"
    if rehearsal.longest_tokens is not None:
        needs += f" with rows up to {rehearsal.longest_tokens} tokens"
    if free is None:
        return Check("memory", "warn", f"{needs}; how much {where} has free is unknown{others}")
    words = f"{needs}, {where} has {size(free)} free{others}"
    return (
        Check("memory", "good", words)
        if measured <= free
        else Check("memory", "warn", f"too little: {words}")
    )


def _estimated_against(
    session: Session, estimate: Estimate, where: str, free: int | None, others: str
) -> Check:
    rows, tokens = session.spec.per_device_train_batch_size, session.spec.max_length
    needs = f"{size(estimate.device)} {band_words(estimate.device, estimate.band)}"
    needs += f" for {rows}×{tokens} tokens"
    says = verdict(estimate, free)
    if says is None or free is None:
        words = f"needs {needs}; how much {where} has free is unknown{others}"
        return Check("memory", "warn", words)
    has = f"{needs}, {where} has {size(free)} free{others}"
    if says is Verdict.FITS:
        return Check("memory", "good", f"fits: {has}")
    start = "may fit" if says is Verdict.MAY else "does not fit"
    remedy = "" if session.spec.use_cpu else ", F finds what does"
    is_refused = says is Verdict.NO and session.spec.memory_check
    return Check("memory", "bad" if is_refused else "warn", f"{start}{remedy}: {has}")


def _disk(session: Session, rehearsal: Rehearsal | None) -> Check:
    free = session.hardware.disk_free if session.hardware else None
    if free is None:
        return Check("disk", "warn", "how much is free is unknown")
    need, download = _disk_needed(session, rehearsal), _download(session.reference)
    words = f"{size(free)} free"
    if need:
        words += f", needs {size(need + download)}" + (
            f", {size(download)} of it weights" if download else ""
        )
    if free <= need + download:
        return Check("disk", "bad", f"too full: {words}")
    return Check("disk", "good", words)


def _disk_needed(session: Session, rehearsal: Rehearsal | None) -> int:
    """Bytes: the checkpoints that are kept, the one being written beside them, and the result."""
    if rehearsal is not None:
        return rehearsal.disk_needed(session.spec)
    if not session.trainable:
        return 0
    checkpoints = session.spec.save_total_limit + 1
    return session.trainable * (_CHECKPOINT * checkpoints + _RESULT) + SPARE_DISK


def _download(reference: ModelReference | None) -> int:
    """Bytes of weights that are not on this disk yet, as far as the catalog knows."""
    if reference is None or reference.kind == "demo" or reference.entry is None:
        return 0
    if weights_on_disk(reference.name, reference.folder):
        return 0
    return 2 * reference.entry.parameters
