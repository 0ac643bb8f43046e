"""What two runs were asked differently, key by key."""

from collections.abc import Sequence
from typing import ClassVar

from textual.app import ComposeResult

from finetune_tui.core.runs.difference import Difference, spec_difference
from finetune_tui.core.runs.listing import RunFacts
from finetune_tui.core.text import plain
from finetune_tui.tui.actions import Action, ActionGroup
from finetune_tui.tui.screens.runs_view import RunsView, back_key
from finetune_tui.tui.widgets.lines import (
    Line,
    Lines,
    Span,
    dim,
    fit,
    line,
    rule,
    strong,
    text_of,
    wrap,
)

_SIDE_BY_SIDE = 60  # columns from which both values stand beside each other
_LONGEST_KEY = 28
_action = ActionGroup("difference")

DIFFERENCE_ACTIONS = (
    _action("swap", "x", "swap", "the left one right, the right one left", footer=True),
    _action("copy", "y", "copy", "copy it as text", footer=True),
    _action("down", "j down", "down", "down a line", "move(1)"),
    _action("up", "k up", "up", "up a line", "move(-1)"),
    _action("page_down", "pagedown space", "page down", "down ten lines", "move(10)"),
    _action("page_up", "pageup", "page up", "up ten lines", "move(-10)"),
    _action("top", "g home", "top", "to the first line", "move(-100000)"),
    _action("bottom", "G end", "bottom", "to the last line", "move(100000)"),
)


class DifferenceView(RunsView):
    """`show` reads both specs beside the screen."""

    title: ClassVar[str] = "Difference"
    actions: ClassVar[tuple[Action, ...]] = DIFFERENCE_ACTIONS

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._shown = Lines(self._lines, id="difference")
        self._runs: tuple[RunFacts, RunFacts] | None = None
        self._found: tuple[Difference, ...] | None = None
        self._error: str | None = None

    def compose(self) -> ComposeResult:
        yield self._shown

    def on_shown(self) -> None:
        self.focus()

    def show(self, left: RunFacts, right: RunFacts) -> None:
        self._runs, self._found, self._error = (left, right), None, None
        self._redraw()

        def found(differences: tuple[Difference, ...]) -> None:
            self._found = differences
            self._redraw()

        def failed(error: Exception) -> None:
            self._error = str(error)
            self._redraw()

        self.finetune.in_thread(
            lambda: spec_difference(left.run.spec(), right.run.spec()),
            found,
            "difference of runs",
            failed,
        )

    def _redraw(self) -> None:
        self._shown.update()

    def _lines(self, width: int, _height: int) -> Sequence[Line]:
        if self._runs is None:
            return []
        left, right = self._runs
        names = (_name(left), _name(right))
        if self._error is not None:
            return [
                _title(width, names),
                *(line(" ", Span(words, "bad")) for words in wrap(self._error, width - 2)),
            ]
        if self._found is None:
            return [_title(width, names), line(dim(" being read…"))]
        return difference_lines(self._found, names, width)

    # What the keys do

    def action_swap(self) -> None:
        if self._runs:
            self.show(self._runs[1], self._runs[0])

    def action_copy(self) -> None:
        if self._found is not None:
            lines = [f"{one.key}: {one.left or '–'} → {one.right or '–'}" for one in self._found]
            self.finetune.copy("\n".join(lines) or "the same in every key", "the difference")

    def action_move(self, by: int) -> None:
        shown = self._shown
        shown.scroll_to(y=shown.scroll_offset.y + by, animate=False, force=True, immediate=True)

    async def on_lines_clicked(self, message: Lines.Clicked) -> None:
        message.stop()
        if message.action:
            await self.run_action(message.action)


def difference_lines(found: Sequence[Difference], names: tuple[str, str], width: int) -> list[Line]:
    """Both values of each key that differs; in a narrow terminal below each other."""
    lines = [_title(width, names)]
    if not found:
        return [*lines, line(dim(" both were asked the same in every key"))]
    if width < _SIDE_BY_SIDE:
        for one in found:
            lines.append(line(" ", strong(plain(one.key))))
            for mark, value in zip("−+", (one.left, one.right), strict=True):
                first, *rest = wrap(value or "–", width - 5)
                lines.append(line(dim(f"  {mark} "), first))
                lines += [line("    ", words) for words in rest]
        return lines
    room = min(max(len(one.key) for one in found) + 2, _LONGEST_KEY)
    each = (width - room - 3) // 2
    lines.append(line(dim(" " + "KEY".ljust(room)), *(dim(_cut(name, each)) for name in names)))
    for one in found:
        columns = [wrap(value or "–", each - 1) for value in (one.left, one.right)]
        for row in range(max(map(len, columns))):
            key = strong(_cut(one.key, room)) if row == 0 else " " * room
            cells = [
                fit(
                    (
                        Span(
                            words[row] if row < len(words) else "", "" if words != ["–"] else "dim"
                        ),
                    ),
                    each,
                )
                for words in columns
            ]
            lines.append(line(" ", key, *cells))
    return lines


def _cut(text: str, width: int) -> str:
    return text_of(fit((Span(text),), width - 1)) + " "


def _title(width: int, names: tuple[str, str]) -> Line:
    return rule(width, [line(strong(names[0]), dim(" against "), strong(names[1]))], [back_key()])


def _name(facts: RunFacts) -> str:
    return f"{facts.short_id} {facts.name}" if facts.name else facts.short_id
