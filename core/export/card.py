"""The model card: README.md of an export, for people and for the Hub.

Nothing of the machine it was made on: no path, host, user or token. Texts of files and models are made
harmless; what is not known is left out or said to be unknown.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from finetune_tui.core.evidence.comparison import ComparedSet, Comparison, list_comparisons
from finetune_tui.core.evidence.intervals import Share
from finetune_tui.core.export.exported import Exported
from finetune_tui.core.export.facts import DataFile, Facts, date_of
from finetune_tui.core.export.loading import loading_code
from finetune_tui.core.export.markdown import code, fenced, table, words
from finetune_tui.core.models.data_set_name import data_set_name
from finetune_tui.core.text import count, duration, percent, plain, size
from finetune_tui.core.tuning.spec import FIELDS

# Whose they are, or what belongs to one machine.
_PRIVATE = frozenset(
    {
        *("model_name_or_path", "task", "name", "note", "tags", "preset", "modules", "train_files"),
        *("eval_files", "gpus", "use_cpu", "report_to", "memory_check", "save_steps"),
        *("save_total_limit", "eval_samples", "eval_replies"),
    }
)
_MOST_PATTERNS = 40


def write_card(facts: Facts, exported: Exported, notes: Sequence[str] = ()) -> str:
    """The whole text. notes: what else a reader should know, one line each."""
    sections = [
        _front_matter(facts, exported),
        f"# {_title(facts)}",
        _first_words(facts, exported),
        "## Load it\n\n" + _loading(facts, exported),
        "## What trained\n\n" + _what_trained(facts),
        "## Settings\n\n" + _settings(facts),
        "## Data\n\n" + _data(facts),
        "## Results\n\n" + _results(facts),
        "## How it was made\n\n" + "\n".join(f"- {line}" for line in _made(facts, exported, notes)),
    ]
    return "\n\n".join(sections) + "\n"


def public_base(facts: Facts) -> str | None:
    """The base's id on the Hub; None for a folder, which means nothing elsewhere, and the built-in demo."""
    reference = facts.trained.reference
    return reference.name if reference.kind in ("catalog", "hub") else None


def _front_matter(facts: Facts, exported: Exported) -> str:
    base = public_base(facts)
    head: dict[str, Any] = {}
    if base:
        head["base_model"] = base
        head["base_model_relation"] = "finetune" if exported.merged else "adapter"
    head["library_name"] = (
        "peft" if not exported.merged and facts.trained.has_adapter else "transformers"
    )
    head["pipeline_tag"] = "text-generation"
    if facts.licence:
        head["license"] = facts.licence
    names = [name for source in facts.trained.spec.train_files if (name := _data_set(source))]
    if names:
        head["datasets"] = names
    head["tags"] = ["finetune-tui", *(["lora"] if facts.trained.has_adapter else [])]
    return f"---\n{yaml.safe_dump(head, sort_keys=False, allow_unicode=True)}---"


def _data_set(source: str) -> str | None:
    if not source.startswith("hf:"):
        return None
    found = data_set_name(source)
    return found.name if found else None


def _title(facts: Facts) -> str:
    spec = facts.trained.spec
    base = words(facts.trained.reference.short_title, 80)
    return f"{base} · {words(spec.preset or 'fine-tuned', 80)}"


def _first_words(facts: Facts, exported: Exported) -> str:
    base = public_base(facts)
    name = (
        code(base) if base else f"{words(facts.trained.reference.short_title, 80)} (a local model)"
    )
    if exported.merged:
        what = (
            f"{name}, fine-tuned, with what was learnt merged into the weights ({exported.dtype})."
        )
    else:
        what = f"What fine-tuning changed of {name}: it is loaded on top of that model."
    lines = [what, f"Checked before it was called done: {exported.check_words}."]
    return "\n\n".join(lines)


def _local_name(facts: Facts) -> str:
    reference = facts.trained.reference
    if reference.kind == "demo":
        return "the demo model that comes with finetune-tui"
    return f"{words(reference.short_title, 80)} (a local model)"


def _loading(facts: Facts, exported: Exported) -> str:
    return fenced(loading_code(facts.trained, exported, public_base(facts)), "python")


def _what_trained(facts: Facts) -> str:
    lines = []
    if facts.trained.spec.preset:
        lines.append(f"Preset {code(facts.trained.spec.preset)}:")
    shown = facts.patterns[:_MOST_PATTERNS]
    lines.append("\n".join(f"- {code(pattern)}" for pattern in shown))
    if len(facts.patterns) > len(shown):
        lines.append(f"and {len(facts.patterns) - len(shown)} more.")
    if facts.trainable and facts.parameters:
        share = percent(facts.trainable, facts.parameters)
        lines.append(
            f"{facts.trainable:,} trained parameters beside {facts.parameters:,} "
            f"({count(facts.trainable)}, {share})."
        )
    return "\n\n".join(line for line in lines if line)


def _settings(facts: Facts) -> str:
    spec = facts.trained.spec
    rows = []
    for name, field in FIELDS.items():
        value = getattr(spec, name)
        if name not in _PRIVATE and value != field.default:
            shown = ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
            rows.append([code(name), code(shown)])
    if not rows:
        return "All at their defaults."
    return table(["setting", "value"], rows) + "\n\nThe others are at their defaults."


def _data(facts: Facts) -> str:
    rows = [
        _data_row(file, use)
        for use, files in (("train", facts.train), ("held out", facts.held_out))
        for file in files
    ]
    parts = [table(["file", "for", "bytes", "sha256"], rows)] if rows else []
    counted = [
        f"{_row_count(facts, key)} {what}"
        for key, what in (
            ("train_rows", "rows to train on"),
            ("held_out", "held out"),
            ("bad", "left out"),
        )
        if _row_count(facts, key)
    ]
    if counted:
        parts.append("Rows: " + ", ".join(counted) + ".")
    if any(file.changed for file in (*facts.train, *facts.held_out)):
        parts.append("¹ written after the training began: the hash is of what the file is now.")
    return "\n\n".join(parts) or "Not recorded."


def _data_row(file: DataFile, use: str) -> list[str]:
    mark = " ¹" if file.changed else ""
    digest = "not read" if file.sha256 is None else code(file.sha256)
    if file.parts:
        digest += f" ({file.parts})"
    bytes_ = "?" if file.bytes is None else f"{file.bytes:,}"
    return [code(file.name) + mark, use, bytes_, digest]


def _row_count(facts: Facts, key: str) -> int | None:
    value = facts.data.get(key)
    return value if type(value) is int and value > 0 else None


def _results(facts: Facts) -> str:
    rows = []
    if facts.steps is not None:
        rows.append(["steps", str(facts.steps)])
    if facts.train_loss is not None:
        rows.append(["training loss", f"{facts.train_loss:.4f}"])
    if facts.best is not None:
        rows.append(["best held-out loss", f"{facts.best[1]:.4f} at step {facts.best[0]}"])
    for when in ("before", "after"):
        if when in facts.measured:
            exact, total = facts.measured[when]
            rows.append([f"exact replies {when}", f"{exact} of {total} ({percent(exact, total)})"])
    parts = [table(["measure", "value"], rows)] if rows else []
    compared = list_comparisons(facts.trained.run)
    if compared:
        parts += _compared(compared[0])
    return "\n\n".join(parts) or "Nothing was measured."


def _compared(comparison: Comparison) -> Iterator[str]:
    for one in comparison.sets:
        files = ", ".join(code(Path(file).name) for file in one.files[:5]) or "held-out rows"
        when = date_of(comparison.created)
        yield f"Base and tuned model on {one.rows} rows of {files} ({one.which.replace('_', ' ')}, {when}):"
        yield table(["metric", "base", "tuned", "difference"], _measured_rows(one))
        if comparison.step is not None:
            yield f"The tuned model was the checkpoint of step {comparison.step}."
        counts = one.counts
        yield (
            f"Judged by {words(one.judged_by)}: {counts.fixed} fixed, {counts.regressed} regressed, "
            f"{counts.both_right} right in both, {counts.both_wrong} wrong in both. "
            "In brackets: 95 % intervals."
        )


def _measured_rows(compared: ComparedSet) -> Iterator[list[str]]:
    for one in compared.measured:
        change = one.difference
        between = f"{100 * change.low:+.1f} to {100 * change.high:+.1f}"
        difference = f"{100 * change.value:+.1f} points ({between})"
        yield [words(one.title), _share(one.base), _share(one.tuned), difference]


def _share(share: Share) -> str:
    return f"{100 * share.value:.1f} % ({100 * share.low:.1f}–{100 * share.high:.1f})"


def _made(facts: Facts, exported: Exported, notes: Sequence[str]) -> Iterator[str]:
    date = date_of(facts.trained.started.get("t"))
    took = f", in {duration(facts.seconds)}" if facts.seconds else ""
    if date:
        yield f"trained on {date} (UTC){took}"
    if facts.memory:
        yield f"memory: {words(facts.memory.words)}"
    if facts.versions:
        yield "versions: " + ", ".join(
            f"{words(name)} {words(version)}" for name, version in facts.versions.items()
        )
    yield f"size of this export: {size(exported.bytes)} without this card"
    licence = facts.licence
    yield (
        f"licence of the base: {words(licence)}; look there for what it asks of models made from it"
        if licence
        else "the licence of the base is not known here: look it up before you pass this on"
    )
    for note in notes:
        yield words(plain(note), 400)
    yield "made with finetune-tui"
