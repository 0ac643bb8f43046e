"""The column beside the monitor: the facts of a run, whose memory the GPU's is, three small plots."""

from functools import partial

from finetune_tui.core.runs.memory_taken import taken
from finetune_tui.core.runs.series import Series
from finetune_tui.core.text import duration, plain, size
from finetune_tui.tui.screens.following import Following
from finetune_tui.tui.screens.monitor_hardware import hardware_facts, shares
from finetune_tui.tui.screens.monitor_lines import time_of_day
from finetune_tui.tui.widgets.curve import sparkline
from finetune_tui.tui.widgets.kept import Kept
from finetune_tui.tui.widgets.lines import Line, Span, clip_left, dim, line, rule, wrap

_RECOVERIES = 2  # the newest, told beside the plot


def side_lines(
    following: Following, width: int, height: int, now: float, kept: Kept | None = None
) -> list[Line]:
    """What a wide terminal has room for: the run's facts and three small plots. kept: made before."""
    kept = kept or Kept()
    lines = [rule(width, ["run"])]
    for name, value in _facts(following, now):
        lines.append(line(dim(f" {name:<9}"), clip_left(value, width - 11)))
    for recovery in following.recoveries[-_RECOVERIES:]:
        first, *rest = wrap(recovery, max(width - 2, 10))[:4]
        lines += [
            line(Span(f" {first}", "warn")),
            *(line(Span(f" {each}", "warn")) for each in rest),
        ]
    lines += _gpu_lines(following, width)
    plots = (
        ("learning rate", "learning_rate"),
        ("gradient norm", "grad_norm"),
        ("tokens a second", "tokens_per_second"),
    )
    rows = (height - len(lines)) // len(plots)
    if rows >= 4 and following.has_steps:
        for title, name in plots:
            series = following.curves.series(name)
            of = (series, series.changes, width, rows)
            last = kept.lines(name, of, partial(_small_plot, series, title, width, rows))
            lines += [rule(width, [last[0]]), *last[1:], ()]
    return lines[:height]


def _gpu_lines(following: Following, width: int) -> list[Line]:
    """Whose memory the GPU's is; nothing on a machine without one."""
    chosen = following.spec.gpus if following.spec else ()
    lines: list[Line] = []
    for gpu in hardware_facts(following.curves.hardware, None, chosen)["gpus"]:
        whose = shares(gpu)
        if whose:
            lines.append(rule(width, [f"GPU{gpu.get('index', 0)} memory"]))
            lines += [line(dim(f" {who:<9}"), words) for who, words in whose]
    return lines


def _facts(following: Following, now: float) -> list[tuple[str, str]]:
    state, curves = following.state, following.curves
    start = curves.start or {}
    facts = [("id", plain(following.run.id)), ("host", plain(state.host or "unknown"))]
    began = state.started or curves.started
    if began:
        facts.append(("started", time_of_day(began, now)))
    if curves.attempt > 1:
        facts.append(("attempt", str(curves.attempt)))
    if isinstance(start.get("dtype"), str):
        facts.append(("computes", plain(f"{start['dtype']} on {start.get('device', '?')}", 40)))
    memory = taken(curves.memory or {})
    if memory:
        predicted = f" (predicted {size(memory.predicted)})" if memory.predicted else ""
        facts.append(("memory", f"{size(memory.peak)}{predicted}"))
    if curves.checkpoint_step is not None:
        facts.append(("saved", f"checkpoint at step {curves.checkpoint_step}"))
    if following.is_alive and state.heartbeat:
        quiet = now - state.heartbeat
        facts.append(("heard", f"{duration(quiet)} ago" if quiet >= 5 else "just now"))
    return facts


def _small_plot(series: Series, title: str, width: int, rows: int) -> list[Line]:
    return sparkline(series.points(), title, "", width, rows - 1)
