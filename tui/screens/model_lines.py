"""The words of the Model place: this machine, the table, and a card for the model under the cursor."""

from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING

from finetune_tui.core.models.catalog import CatalogEntry
from finetune_tui.core.text import count, plain, size
from finetune_tui.tui.screens.model_filters import licence_family
from finetune_tui.tui.session import Session
from finetune_tui.tui.widgets.lines import Line, Span, cells, dim, line, rule, strong, wrap
from finetune_tui.tui.widgets.memory_words import verdict_span

if TYPE_CHECKING:
    from finetune_tui.core.doctor import Finding
    from finetune_tui.core.memory.estimate import Estimate, Precision
    from finetune_tui.core.models.weights import Cached

Needs = Mapping["Precision", "Estimate"]
"""What training structured-output with the defaults would take, at each precision."""

OPTIMAL = 20
"""Tokens for each parameter at which training a new model is compute-optimal (arXiv 2203.15556)."""

_WIDE, _FULL = 72, 100
_KIND_ADVICE = {
    "base": "base: for one fixed prompt and its response",
    "instruct": "instruct: for many ad-hoc prompts, or a chat",
}


@cache
def needs(entry: CatalogEntry) -> Needs:
    """Reads the manifest: milliseconds, so not before the first paint."""
    from finetune_tui.core.memory.estimate import estimate_all
    from finetune_tui.core.tuning.presets import resolve_preset
    from finetune_tui.core.tuning.spec import Spec, demo_spec

    manifest = entry.manifest()
    selection = resolve_preset("structured-output", manifest).selection
    return estimate_all(manifest, selection, demo_spec() if entry.kind == "demo" else Spec())


def best_fit(found: Needs | None, session: Session) -> str | None:
    """The finest precision that fits here, '' when none does; None when it cannot be said."""
    if found is None or session.budget is None or session.spec.use_cpu:
        return None
    fitting = (precision for precision, each in found.items() if session.verdict_of(each) == "fits")
    best = next(fitting, None)
    return best.value if best else ""


# The table


def head_line(width: int, title: str) -> Line:
    """The rule above the table, with the names of its columns."""
    columns = ""
    if width >= _FULL:
        columns += f"{'BLOCKS':>7}{'CONTEXT':>9}{'TOK/PARAM':>11}"
    if width >= _WIDE:
        columns += f"  {'KIND':<9}{'LICENCE':<11}{'FITS':<6}{'DISK':<6}"
    head = line(dim(f"{'PARAMS':>7}{columns}"))
    return line(rule(width - cells(head), [title]), head)


def entry_line(
    entry: CatalogEntry,
    width: int,
    at_cursor: bool,
    mark: Span,
    fit: str | None,
    disk: "Cached | None",
) -> Line:
    """One model. mark: two cells. fit: as `best_fit` says."""
    numbers: list[Span | str] = [f"{count(entry.parameters):>7}"]
    if width >= _FULL:
        context = count(entry.context) if entry.context else "?"
        ratio = f"{entry.tokens_seen / entry.parameters:.0f}" if entry.tokens_seen else "?"
        numbers.append(f"{entry.blocks:>7}{context:>9}{ratio:>11}")
    if width >= _WIDE:
        fits = {None: dim("?     "), "": Span("NO    ", "bad")}.get(fit)
        here = entry.kind == "demo" or (disk is not None and disk.is_complete)
        on_disk = Span("✓", "good") if here else dim(f"{size(disk.bytes)}…" if disk else "·")
        numbers += [
            f"  {entry.kind:<9}{licence_family(entry):<11}",
            fits or Span(f"{fit:<6}", "good"),
            on_disk._replace(text=f"{on_disk.text:<6}"),
        ]
    end = line(*numbers)
    room = max(width - cells(end) - 3, 1)
    name = plain(entry.title, room)
    return line(
        Span("▌" if at_cursor else " ", "accent"),
        mark,
        Span(f"{name:<{room}}", "strong" if at_cursor else ""),
        end,
    )


# The card


def card_lines(
    entry: CatalogEntry, session: Session, found: Needs | None, disk: "Cached | None", width: int
) -> list[Line]:
    """What it is good for, what it has seen, what it would take, and whether it is here."""
    lines = [
        rule(width, [line(strong(plain(entry.title))), plain(entry.id)], [plain(entry.licence)])
    ]
    advice = "; ".join(filter(None, (plain(entry.advice), _KIND_ADVICE.get(entry.kind))))
    lines += [line(" ", words) for words in wrap(advice, width - 2)]
    lines += [line(" ", words) for words in _seen(entry, width - 2)]
    lines.append(line(" ", *_memory(found, session)))
    lines.append(line(" ", *_here(entry, disk)))
    return lines


def _seen(entry: CatalogEntry, width: int) -> list[Line]:
    if not entry.tokens_seen:
        return []
    ratio = entry.tokens_seen / entry.parameters
    words = f"saw {count(entry.tokens_seen)} tokens, {ratio:,.0f} a parameter; compute-optimal: {OPTIMAL}"
    sources = f"  {' '.join(entry.sources)}" if entry.sources else ""
    made = line(words, dim(sources))
    return [made] if cells(made) <= width else [line(each) for each in wrap(words, width)]


def _memory(found: Needs | None, session: Session) -> list[Span | str]:
    if found is None:
        return [dim("memory to train …")]
    parts: list[Span | str] = [dim("train ")]
    for precision, each in found.items():
        verdict = None if session.spec.use_cpu else session.verdict_of(each)
        parts += [dim(f"{precision.value} "), size(each.device), " ", verdict_span(verdict), "  "]
    return parts


def _here(entry: CatalogEntry, disk: "Cached | None") -> list[Span | str]:
    about = size(2 * entry.parameters)
    if entry.kind == "demo":
        return [Span("✓", "good"), " comes with the app"]
    if disk is None:
        return [dim(f"not on this disk: about {about} to download")]
    if disk.is_complete:
        return [Span("✓", "good"), f" on this disk, {size(disk.bytes)}"]
    return [Span("!", "warn"), f" part of it is on this disk: {size(disk.bytes)} of about {about}"]


# This machine


def machine_lines(session: Session, width: int) -> list[Line]:
    """`GPU0 RTX 4090 24.0G ✓  PyTorch 2.9 ✓  Hub login ✗  disk 41G ✓`, then what is wrong and its fix."""
    if session.findings is None and session.hardware is None:
        return [line(dim(" looking at this machine…"))]
    found = [_gpu_item(session), *(_item(finding) for finding in session.findings or ())]
    lines: list[Line] = [line(" ")]
    for item in found:
        if item and sum(len(span.text) for span in (*lines[-1], *item)) + 3 > width:
            lines.append(line(" "))
        lines[-1] = line(lines[-1], item, "   " if item else "")
    if session.findings is None:
        lines[-1] = line(lines[-1], dim("PyTorch …"))
    for finding in session.findings or ():
        if finding.ok is False and finding.fix:
            words = f"{finding.name}: {finding.words}; {finding.fix}"
            lines += [line(" ", Span(each, "warn")) for each in wrap(plain(words, 300), width - 2)]
    return lines


def _gpu_item(session: Session) -> Line:
    if session.hardware is None:
        return line()
    if session.gpu is None:
        return line("no GPU ", Span("!", "warn"), dim(" the demo needs none"))
    total = f" {size(session.gpu.total)}" if session.gpu.total else ""
    name = plain(session.gpu.name or "", 30).removeprefix("NVIDIA ").removeprefix("GeForce ")
    mark = Span("✗", "bad") if session.gpu.error else Span("✓", "good")
    return line(f"GPU{session.gpu.index} {name}{total} ", mark)


def _item(finding: "Finding") -> Line:
    if finding.name not in ("PyTorch", "disk", "memory", "Hub login") and finding.ok is not False:
        return line()
    if finding.name == "GPU":
        return line()
    mark = {True: Span("✓", "good"), False: Span("✗", "bad"), None: dim("–")}[finding.ok]
    words = (
        finding.words.partition(",")[0]
        if finding.name in ("PyTorch", "disk") and finding.ok
        else ""
    )
    return line(finding.name, f" {plain(words, 20)} " if words else " ", mark)
