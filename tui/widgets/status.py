"""The frame's lines: places and machine on top, the status below them, the keys at the bottom."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, cast

from textual import events

from finetune_tui.core.text import count, percent, plain
from finetune_tui.tui.actions import ACTIONS, Action
from finetune_tui.tui.widgets.lines import Line, Lines, Span, cells, dim, key, line, spread, wrap
from finetune_tui.tui.widgets.memory_words import verdict_words

if TYPE_CHECKING:
    from finetune_tui.tui.app import FinetuneApp
    from finetune_tui.tui.session import Session

NARROW = 60  # below, one column and no tree art
_MOST_WORDS = 4  # rows


class _FrameLine(Lines):
    """One line of the frame."""

    DEFAULT_CSS = """
    _FrameLine { height: 1; width: 1fr; }
    """

    @property
    def finetune(self) -> "FinetuneApp":
        return cast("FinetuneApp", self.app)


class Rule(_FrameLine):
    """A thin line across."""

    def __init__(self) -> None:
        super().__init__(lambda width, _: (line(Span("─" * width, "rule")),))


class Masthead(_FrameLine):
    """`1Model [2Layers] 3Data …` and, at the right, the live run or the GPU."""

    def __init__(self) -> None:
        super().__init__(self._make)

    def _make(self, width: int, _height: int) -> list[Line]:
        tabs = line(*self._tabs(width >= NARROW))
        words = self.finetune.masthead_words()
        room = width - cells(tabs) - 3
        while words and cells(line("  ·  ".join(words))) > room:
            words = words[:-1]
        return [spread(tabs, line("  ·  ".join(words), " "), width) if words else tabs]

    def _tabs(self, full: bool) -> Iterator[Span]:
        for number, name in enumerate(self.finetune.places, start=1):
            front = name == self.finetune.place_name
            words = f"{number}{name.capitalize()}" if full or front else str(number)
            click = f"app.show_place('{name}')"
            yield Span(f"[{words}]" if front else f" {words} ", "strong" if front else "dim", click)


class StatusLine(_FrameLine):
    """Model · preset · precision · trainable · memory against what is free."""

    def __init__(self) -> None:
        super().__init__(lambda width, _height: (status_line(self.finetune.session, width),))


def status_line(session: "Session", width: int = 10_000) -> Line:
    """What is being worked on, in one line; where room is short, its title and its memory."""
    if session.manifest is None:
        return line(" ", dim("no model open: choose one in 1 Model"))
    title = line(Span(short_title(session.title or ""), "strong"))
    share = percent(session.trainable, session.manifest.parameters)
    preset = line(preset_words(session))
    trainable = line(f"{count(session.trainable)} {share}") if session.trainable else ()
    precision = line(session.precision.value if session.precision else "")
    memory = verdict_words(session) if session.estimate else ()
    for between in ((preset, precision, trainable), (precision, trainable), (precision,)):
        whole = _joined(title, *between, memory)
        if cells(whole) <= width:
            return whole
    return _joined(title, memory)


def _joined(*parts: Line) -> Line:
    joined: list[str | Span | Line] = [" "]
    for index, part in enumerate(part for part in parts if part):
        joined += [dim(" · "), part] if index else [part]
    return line(*joined)


def short_title(title: str) -> str:
    """Without what stands in brackets."""
    return plain(title.partition(" (")[0], 40)


def preset_words(session: "Session") -> str:
    if session.preset is None:
        return "chosen by hand" if session.selection.choices else "nothing chosen"
    return f"{session.preset} (changed)" if session.is_changed else session.preset


class Footline(_FrameLine):
    """The keys that work here; or words to the person, until the next key or click. Grows for long words."""

    def __init__(self) -> None:
        super().__init__(self._make)
        self._said: tuple[str, bool] | None = None

    def on_mount(self) -> None:
        self.screen.bindings_updated_signal.subscribe(self, lambda _screen: self.update())

    def on_show(self) -> None:
        """After a question: the focus may have moved while this line was hidden."""
        self.update()

    def say(self, words: str, wrong: bool = False) -> None:
        self._said = (plain(words), wrong)
        self._show()

    def hush(self) -> None:
        if self._said is not None:
            self._said = None
            self._show()

    async def on_click(self, event: events.Click) -> None:
        """A click on words brings the keys back, and does nothing that stood below them."""
        if self._said is not None:
            event.prevent_default()
            self.hush()

    def _show(self) -> None:
        self.styles.height = min(len(self._make(self.size.width or 80, 1)), _MOST_WORDS)
        self.update()

    def _make(self, width: int, _height: int) -> list[Line]:
        if self._said is None:
            return [self._keys(width)]
        words, wrong = self._said
        first, *rest = wrap(words, max(width - 4, 1))
        start = line(" ", Span("✗ ", "bad") if wrong else "", first)
        return [start, *(line("   " if wrong else " ", each) for each in rest)]

    def _keys(self, width: int) -> Line:
        """As many as there is room for; the way to all of them is always the last."""
        *others, last = [self._entry(action) for action in self._reachable()] or [()]
        kept: Line = line(" ")
        for entry in others:
            if cells(kept) + cells(entry) + cells(last) + 3 > width:
                break
            kept = line(kept, entry, "  ")
        return line(kept, last, " ")

    def _entry(self, action: Action) -> Line:
        words = self.finetune.keymap.words(action)
        return key(words, action.words, f"app.perform('{action.id}')")

    def _reachable(self) -> list[Action]:
        """What can be done now and belongs here, the innermost first, without its doubles."""
        found = {}
        for active in self.screen.active_bindings.values():
            action = ACTIONS.get(active.binding.id or "")
            if action and action.footer and active.enabled:
                found[action.id] = action
        return list(found.values())
