"""What would fit: settings that bring the same training onto a GPU, best first, applied in one key."""

from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.screen import ModalScreen

from finetune_tui.core.memory.estimate import verdict
from finetune_tui.core.runs.machine import machine_for
from finetune_tui.core.text import size
from finetune_tui.tui.actions import ActionGroup, bindings
from finetune_tui.tui.screens.cards import compare_with_card
from finetune_tui.tui.widgets.form_rows import value_words
from finetune_tui.tui.widgets.lines import (
    Line,
    Lines,
    Span,
    dim,
    key,
    line,
    rule,
    strong,
    wrap,
)
from finetune_tui.tui.widgets.lines import fit as fit_width
from finetune_tui.tui.widgets.memory_panel import bar_text
from finetune_tui.tui.widgets.memory_words import band_words, verdict_span
from finetune_tui.tui.widgets.status import NARROW

if TYPE_CHECKING:
    from finetune_tui.core.memory.fitting import Fit, Fitting
    from finetune_tui.tui.screens.place import Place
    from finetune_tui.tui.session import Session

_action = ActionGroup("fitting")

FITTING_ACTIONS = (
    _action("apply", "enter space", "apply", "train like this; u takes it back", shown="⏎"),
    _action("down", "j down", "down", "the next one", "move(1)"),
    _action("up", "k up", "up", "the one before", "move(-1)"),
    _action("top", "g home", "top", "the best", "move(-1000)"),
    _action("bottom", "G end", "bottom", "the last", "move(1000)", shown="G"),
    _action("card", "C", "card", "hold memory against another card", shown="C"),
    _action("close", "escape q F h left", "back", "leave all as it is", shown="esc"),
)

_MOST_ROWS = 9
_WORDS = 5  # lines about the one under the cursor
_TAIL = 19  # cells of size, band and verdict
_LEAST_WORDS, _LEAST_BAR = 30, 8


def show_fitting(place: "Place") -> None:
    """Work out what would fit beside the screen, then show it; without a GPU ask for a card first."""
    session = place.session
    if session.manifest is None:
        place.finetune.say("no model open: 1 chooses one")
        return
    if session.spec.use_cpu:
        place.finetune.say("use_cpu is on: there is no GPU to fit")
        return
    if session.budget is None:
        compare_with_card(place, then=lambda: show_fitting(place))
        return
    place.finetune.in_thread(
        _asked(session, session.budget), lambda found: _show(place, found), group="fitting"
    )


def _asked(session: "Session", budget: int) -> "Callable[[], Fitting]":
    from finetune_tui.core.memory.fitting import fitting

    manifest, selection, spec = session.manifest, session.selection, session.spec
    assert manifest is not None  # asked before
    hardware = None if session.card else session.hardware
    machine = machine_for(spec, hardware) if hardware else None
    tokens = session.tokens
    lengths = tokens.lengths if tokens else None
    context = session.context
    return lambda: fitting(manifest, selection, spec, budget, context, lengths, machine)


def _show(place: "Place", found: "Fitting") -> None:
    def answered(chosen: "Fit | None") -> None:
        if chosen is not None:
            apply(place, chosen)

    place.app.push_screen(FittingScreen(place, found), answered)


def apply(place: "Place", chosen: "Fit") -> None:
    """Its settings, as one step of undo."""
    session = place.session
    if not chosen.changes:
        place.finetune.say("nothing changes: it fits as it is")
        return
    session.change_spec(**chosen.changes)
    place.finetune.session_changed()
    place.finetune.say(f"{chosen.words} · u takes it back")


class FittingScreen(ModalScreen["Fit | None"]):
    """Answers what was chosen, None when all stays as it is."""

    DEFAULT_CSS = """
    FittingScreen { align: center bottom; background: transparent; }
    FittingScreen Lines { width: 1fr; height: 1; }
    """
    BINDINGS: ClassVar[list[BindingType]] = list(bindings(FITTING_ACTIONS))

    def __init__(self, place: "Place", found: "Fitting") -> None:
        super().__init__()
        self.styles.background = (
            "transparent"  # the app's own style for screens would hide the rest
        )
        self._place = place
        self._session = place.session
        self._found = found
        self._fits = found.fits or ((found.nearest,) if found.nearest else ())
        self.cursor = 0

    def compose(self) -> ComposeResult:
        yield Lines(self._title, id="fitting-title")
        rows = Lines(self._rows, id="fitting-rows")
        rows.styles.height = min(max(len(self._fits), 1), _MOST_ROWS)
        yield rows
        words = Lines(self._words, id="fitting-words")
        words.styles.height = _WORDS + 1
        yield words

    def action_move(self, by: int) -> None:
        self.cursor = min(max(self.cursor + by, 0), max(len(self._fits) - 1, 0))
        self.query_one("#fitting-rows", Lines).reveal(self.cursor)
        for shown in self.query(Lines):
            shown.update()

    def action_apply(self) -> None:
        self.dismiss(self._fits[self.cursor] if self._fits else None)

    def action_close(self) -> None:
        self.dismiss(None)

    def action_card(self) -> None:
        place = self._place
        self.dismiss(None)
        compare_with_card(place, then=lambda: show_fitting(place))

    async def on_lines_clicked(self, event: Lines.Clicked) -> None:
        if event.lines.id == "fitting-rows" and event.index < len(self._fits):
            again = event.index == self.cursor
            self.action_move(event.index - self.cursor)
            if again:
                self.action_apply()
        elif event.action:
            await self.run_action(event.action)

    # What is shown

    def _title(self, width: int, _height: int) -> list[Line]:
        where = against_words(self._session)
        if not self._found.fits:
            return [rule(width, [line(Span(f"nothing fits {where}", "bad"))])]
        at = f"{self.cursor + 1} of {len(self._fits)}"
        return [rule(width, [line(strong(f"what fits {where}"))], [line(dim(at))])]

    def _rows(self, width: int, _height: int) -> list[Line]:
        return [
            self._row(each, width, index == self.cursor) for index, each in enumerate(self._fits)
        ]

    def _row(self, each: "Fit", width: int, at_cursor: bool) -> Line:
        estimate = each.estimate
        says = verdict_span(verdict(estimate, self._found.budget))
        mark = Span("▌" if at_cursor else " ", "accent")
        name = line(Span(f" {each.words}", "strong" if at_cursor else ""))
        if width < NARROW:
            return line(mark, *fit_width(name, width - 12), f"{size(estimate.device):>6} ", says)
        longest = max(len(one.words) for one in self._fits)
        words = min(max(longest + 1, _LEAST_WORDS), max(width - _TAIL - _LEAST_BAR - 2, 10))
        bar = bar_text(estimate.device / self._found.budget, width - words - _TAIL - 2)
        filled = bar.rstrip("░▶")
        band = band_words(estimate.device, estimate.band)
        return line(
            mark,
            *fit_width(name, words),
            " ",
            Span(filled, "accent" if at_cursor else "dim"),
            Span(bar[len(filled) :], "rule"),
            f"{size(estimate.device):>6}",
            dim(f"{band:<5}"),
            " ",
            says,
        )

    def _words(self, width: int, _height: int) -> list[Line]:
        keys = line(
            " ",
            key("⏎", "apply", "apply"),
            "   ",
            key("C", "card", "card"),
            "   ",
            key("esc", "back", "close"),
        )
        lines = self._about(width)[:_WORDS] if self._fits else [line(" no setting comes near it")]
        return [*lines, *[()] * (_WORDS - len(lines)), keys]

    def _about(self, width: int) -> list[Line]:
        """What changes, what it costs, what is left."""
        chosen, found = self._fits[self.cursor], self._found
        lines = [rule(width, [line(dim(self._room_words(chosen)))])]
        for style, words in (
            ("warn", ", ".join(chosen.costs)),
            ("good", ", ".join(chosen.gains)),
            ("dim", self._change_words(chosen)),
        ):
            texts = wrap(words, width - 3) if words else []
            shown = texts[: _WORDS - len(lines)]
            if len(shown) < len(texts):
                shown[-1:] = [f"{text}…" for text in shown[-1:]]
            lines += [line(Span(f" {text}", style)) for text in shown]
        if found.fits and not chosen.changes:
            lines.append(line(dim(" as it is: nothing changes")))
        return lines

    def _room_words(self, chosen: "Fit") -> str:
        found = self._found
        if found.fits:
            return f"{size(chosen.room)} to spare"
        card = f"the smallest card that does: {found.card}" if found.card else "no card sold does"
        return f"the nearest, {size(found.missing or 0)} too much; {card}"

    def _change_words(self, chosen: "Fit") -> str:
        """`load_in_4bit no → yes, max_length 2048 → 1024`."""
        now = self._session.spec
        then = now.changed(**chosen.changes)
        return ", ".join(
            f"{name} {value_words(now, name)} → {value_words(then, name)}"
            for name in chosen.changes
            if value_words(now, name) != value_words(then, name)
        )


def against_words(session: "Session") -> str:
    """`GPU0, 23.1G free`, `the 24 GB card, 23.5G usable`."""
    if session.card:
        return f"the {session.card} card, {size(session.budget or 0)} usable"
    index = session.gpu.index if session.gpu else 0
    return f"GPU{index}, {size(session.budget or 0)} free"
