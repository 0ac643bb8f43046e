"""What the list of runs says around its table: pure functions of the facts."""

from finetune_tui.core.runs.listing import RunFacts
from finetune_tui.core.runs.state import Status
from finetune_tui.core.text import duration, plain
from finetune_tui.tui.widgets.lines import (
    Line,
    Span,
    cells,
    clip_left,
    dim,
    fit,
    key,
    line,
    rule,
    spread,
    strong,
    wrap,
)
from finetune_tui.tui.widgets.plot import number
from finetune_tui.tui.widgets.run_table import day_words, unnamed

_NARROW = 60


def title_line(
    width: int,
    shown: int,
    total: int,
    filter_text: str,
    sort: str,
    marked: int,
    read: int | None,
) -> Line:
    """How many runs are shown of how many, why not all, and in which order. read: while not all are."""
    count = f"{shown:,} of {total:,} runs" if filter_text else _runs(shown)
    parts: list[str | Line] = [line(strong(count))]
    if read is not None:
        parts = [line(strong(f"read {read:,} of {total:,} runs"))]
    elif not filter_text and shown < total:
        parts.append(key("A", f"{total - shown:,} archived", "archived"))
    if marked:
        parts.append(line(Span(f"{marked} marked", "accent")))
    if filter_text:
        parts.append(
            line(Span("/ ", "key", "filter"), Span(plain(filter_text, 40), "accent", "filter"))
        )
    else:
        parts.append(key("/", "filter", "filter"))
    return rule(width, parts, [key("s", sort, "sort")])


def _runs(count: int) -> str:
    return "1 run" if count == 1 else f"{count:,} runs"


def detail_lines(
    facts: RunFacts, width: int, height: int, where: str, now: float, compared: str = ""
) -> list[Line]:
    """The run under the cursor: what its row has no room for. compared: what a comparison of it found."""
    name = " ".join(part for part in (facts.task_words, facts.name) if part)
    name = name or unnamed(facts) or facts.id
    head = line(strong(f"{facts.short_id} "), Span(plain(name, max(width - len(where) - 16, 8))))
    lines = [rule(width, [head], [line(dim(where))])]
    if width < _NARROW:
        lines.append(_narrow_facts(facts))
    rows = max(height - len(lines) - 2, 1)
    words = _whole_parts(_state_parts(facts, now, compared), width - 2, rows)
    lines += [line(f" {text}") for text in words]
    lines.append(_labels(facts, width))
    next_keys = _next_keys(facts) if width >= _NARROW else ()
    room = width - 2 - cells(next_keys)
    path = line(dim(f" {clip_left(plain(str(facts.run.path)), room)}"))
    lines.append(spread(path, next_keys, width) if next_keys else path)
    return lines[:height]


def _next_keys(facts: RunFacts) -> Line:
    """What comes after a training that finished."""
    if not facts.is_training or facts.status is not Status.FINISHED:
        return ()
    keys = (
        key("C", "compare  ", "compare"),
        key("6", "try  ", "try_run"),
        key("x", "export ", "export"),
    )
    return line(*keys)


def _whole_parts(parts: list[str], width: int, rows: int) -> list[str]:
    """As many of the parts as have room; the first in any case."""
    while len(parts) > 1 and len(wrap(" · ".join(parts), width)) > rows:
        parts = parts[:-1]
    return wrap(" · ".join(parts), width)[:rows]


def _state_parts(facts: RunFacts, now: float, compared: str) -> list[str]:
    """How it stands; of one that ended also how well it did, when, and how long it took."""
    parts = [facts.liveness.told]  # of a comparison that is what it found
    parts += [compared] if compared and facts.is_training else []
    if facts.best_eval_loss is not None and facts.best_step is not None:
        parts.append(f"best {number(facts.best_eval_loss)} at step {facts.best_step}")
    if facts.ended is not None and not facts.liveness.is_alive:
        parts.append(f"ended {day_words(facts.ended, now)}")
        if facts.started is not None:
            parts.append(f"took {duration(facts.ended - facts.started)}")
    return parts


def _narrow_facts(facts: RunFacts) -> Line:
    parts = [facts.model.rpartition("/")[2], facts.preset]
    if facts.eval_loss is not None:
        parts.append(f"eval {number(facts.eval_loss)}")
    return line(" ", dim(" · ".join(part for part in parts if part) or "nothing known of it"))


def _labels(facts: RunFacts, width: int) -> Line:
    """Tags and note, and how to give it others."""
    if facts.status is Status.FOREIGN:
        return line(dim(" left as it is"))
    away = Span("archived  ", "warn") if facts.archived else ""
    tags = Span(" ".join(f"#{tag}" for tag in facts.tags), "accent", "tags")
    keys = line(
        key("n", "name", "name"), "  ", key("N", "note", "note"), "  ", key("t", "tags", "tags")
    )
    if facts.note or facts.tags:
        note = line(" ", away, tags, "  " if facts.tags else "", Span(facts.note, "", "note"))
        return spread(note, line(keys, " "), width) if width >= _NARROW else fit(note, width)
    return line(" ", away, keys)


def nothing_lines(width: int, total: int, filter_text: str) -> list[Line]:
    """When no row is shown: why, and what to do."""
    if filter_text:
        words = plain(filter_text, 60)
        return [
            rule(width, [f"no run matches '{words}'"]),
            line(" ", key("esc", f"shows all {total:,}", "app.one_level_out")),
        ]
    if total:
        return [
            rule(width, [f"all {total:,} runs are archived"]),
            line(" ", key("A", "shows them", "archived")),
        ]
    return [
        rule(width, ["no runs yet"]),
        line(
            " ",
            key("4", "goes to Train, ", "app.show_place('train')"),
            key("s", "starts one there"),
        ),
        line(
            " ", key("1", "goes to Model, ", "app.show_place('model')"), key("d", "opens the demo")
        ),
        line(" ", key("b", "the bin", "app.perform('runs.bin')"), dim(" holds what was deleted")),
    ]
