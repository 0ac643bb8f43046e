"""Rehearsing from the Train place, and how long a run will take: what is known of the spec at hand."""

import asyncio
import contextlib
import contextvars
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from finetune_tui.core.errors import UserError
from finetune_tui.core.runs.pace import Prediction
from finetune_tui.core.runs.rehearsal import Rehearsal, RehearsalCancelled
from finetune_tui.core.text import duration, plain, size
from finetune_tui.core.tuning.spec import Spec
from finetune_tui.tui.widgets.lines import Line, Span, dim, flowed, key, line, rule, wrap

if TYPE_CHECKING:
    from finetune_tui.tui.screens.place import Place


_TIME_TO_CLEAN_UP = 5.0  # seconds


@dataclass(frozen=True, slots=True)
class Foresight:
    """What is known of `spec` before it runs. progress: words of a rehearsal that goes on.

    error: why the last one failed.
    """

    spec: Spec | None = None
    rehearsal: Rehearsal | None = None
    prediction: Prediction | None = None
    progress: str | None = None
    error: str | None = None


class Rehearsing:
    """Runs rehearsals beside the screen, and looks up what earlier ones said of another spec.

    changed: called on the screen's thread whenever `foresight` is another.
    """

    def __init__(self, place: "Place", changed: Callable[[], object]) -> None:
        self._place = place
        self._changed = changed
        self.foresight = Foresight()
        self._cancelled = threading.Event()
        self._has_ended = threading.Event()
        self._is_over = False

    @property
    def is_going_on(self) -> bool:
        return self.foresight.progress is not None

    def look(self, spec: Spec) -> None:
        """Know what there is to know of this spec; what was measured of another one is forgotten."""
        if spec == self.foresight.spec or self.is_going_on:
            return
        self.foresight = Foresight(spec)
        self._look_up(spec)

    def begin(self, spec: Spec) -> None:
        """Rehearse; the answer replaces what was known."""
        if self.is_going_on:
            return
        cancelled = self._cancelled = threading.Event()
        has_ended = self._has_ended = threading.Event()
        loop, context = asyncio.get_running_loop(), contextvars.copy_context()
        self._set(Foresight(spec, progress="starting"))

        def rehearse() -> None:
            try:
                self._place.services.rehearse(spec, progress, cancelled.is_set)
            except RehearsalCancelled:
                pass
            finally:
                has_ended.set()

        def progress(words: str) -> None:
            with contextlib.suppress(RuntimeError):  # the app is gone
                loop.call_soon_threadsafe(self._said, cancelled, words, context=context)

        def ended(_: None) -> None:
            self._set(Foresight(spec))
            self._look_up(spec)

        def failed(error: UserError) -> None:
            self._set(Foresight(spec, error=str(error)))

        self._place.finetune.in_thread(rehearse, ended, "rehearsal", failed)

    def cancel(self) -> None:
        """Its worker ends at once and what it wrote is deleted."""
        if self.is_going_on:
            self._cancelled.set()
            self._set(Foresight(self.foresight.spec, progress="cancelling"))

    def leave(self) -> None:
        """The app closes: a rehearsal that goes on is of no use to anybody."""
        self._is_over = True
        if self.is_going_on:
            self._cancelled.set()
            self._has_ended.wait(_TIME_TO_CLEAN_UP)

    def _said(self, of: threading.Event, words: str) -> None:
        if of is self._cancelled and self.is_going_on and not of.is_set():
            self._set(Foresight(self.foresight.spec, progress=plain(words, 120)))

    def _look_up(self, spec: Spec) -> None:
        if self._is_over:
            return

        def found(answer: tuple[Rehearsal | None, Prediction | None]) -> None:
            if spec == self.foresight.spec and not self.is_going_on:
                self._set(Foresight(spec, *answer))

        self._place.finetune.in_thread(
            lambda: self._place.services.foresee(spec), found, "foresight", lambda _error: None
        )

    def _set(self, foresight: Foresight) -> None:
        self.foresight = foresight
        if not self._is_over:
            self._changed()


def time_words(prediction: Prediction) -> str:
    """`about 4h50 ±1h00, from the rehearsal`."""
    spread = duration(prediction.spread)
    return f"about {duration(prediction.seconds)} ±{spread}, {plain(prediction.source, 40)}"


def next_lines(
    foresight: Foresight, can_start: bool, watched: str | None, width: int
) -> list[Line]:
    """The keys of what comes next and how long it will take, or how far a rehearsal is."""
    if foresight.progress is not None:
        cancel = key("esc", "cancel", "cancel_rehearsal")
        first, *rest = wrap(f"rehearsing: {foresight.progress}", max(width - 3 - 14, 20))[:3]
        lines = [line(Span(f" ▸ {first}", "accent")), *(line(f"   {text}") for text in rest)]
        return [*lines[:-1], line(lines[-1], "  ", cancel)]
    keys = [key("s", "start", "start") if can_start else line(Span("✗ cannot start yet", "bad"))]
    keys += [key("R", "rehearse", "rehearse")] if can_start else []
    keys += [key("w", f"watch {watched}", "watch")] if watched else []
    words = time_words(foresight.prediction) if foresight.prediction else ""
    return flowed([*keys, line(dim(words))] if words else keys, width)


def rehearsal_lines(
    foresight: Foresight, disk_free: int | None, width: int, is_tall: bool
) -> list[Line]:
    """What the rehearsal measured, what of it stands in the way, or why it failed."""
    if foresight.error:
        texts = wrap(foresight.error, max(width - 4, 10))[: 6 if is_tall else 3]
        title = rule(width, [line(Span("the rehearsal failed", "bad"))])
        return [title, *(line(" ", Span(text, "bad")) for text in texts)]
    if foresight.rehearsal is None or foresight.spec is None:
        return []
    rehearsal, spec = foresight.rehearsal, foresight.spec
    facts = measured(rehearsal, spec, disk_free)
    lines = [rule(width, ["rehearsed"])]
    if is_tall:
        lines += [line(dim(f" {name:<12}"), words) for name, words in facts]
    else:
        told = " · ".join(words for _, words in facts[:3])
        lines += [line(f" {text}") for text in wrap(told, max(width - 2, 10))[:2]]
    for problem in rehearsal.problems(spec, disk_free):
        texts = wrap(problem, max(width - 4, 10))
        lines += [
            line(Span(" ! " if first else "   ", "warn"), text) for first, text in _marked(texts)
        ]
    if is_tall and rehearsal.sample:
        lines.append(line(dim(" a held-out row, after these few steps")))
        said = plain(str(rehearsal.sample.get("reply") or "(nothing)"), 300).strip()
        lines += [line(f" {text}") for text in wrap(said, max(width - 2, 10))[:3]]
    return lines


def measured(rehearsal: Rehearsal, spec: Spec, disk_free: int | None) -> list[tuple[str, str]]:
    """Name and value of what a person wants to know, the more important first."""
    free = "" if disk_free is None else f", {size(disk_free)} free"
    facts = [
        ("peak memory", _memory(rehearsal)),
        ("a step", f"{_seconds(rehearsal.seconds_per_step)} × {rehearsal.steps(spec)} steps"),
        ("disk", f"needs {size(rehearsal.disk_needed(spec))}{free}"),
        ("loading", f"{duration(rehearsal.load_seconds)} before the first step"),
        ("saving", f"{size(rehearsal.checkpoint_bytes)} a checkpoint"),
    ]
    if rehearsal.eval_seconds:
        facts.append(("evaluation", f"{_seconds(rehearsal.eval_seconds)} each"))
    if rehearsal.longest_tokens is not None:
        facts.append(("longest row", f"{rehearsal.longest_tokens} tokens"))
    return facts


def _memory(rehearsal: Rehearsal) -> str:
    found = rehearsal.taken
    if found is None:
        return "unknown"
    predicted = f" ({size(found.predicted)} predicted)" if found.predicted else ""
    return f"{size(found.peak)} of {found.of}{predicted}"


def _seconds(seconds: float) -> str:
    return f"{seconds:.2f}s" if seconds < 10 else duration(seconds)


def _marked(texts: list[str]) -> list[tuple[bool, str]]:
    return [(index == 0, text) for index, text in enumerate(texts)]
