"""A report to read: Markdown as scrolling lines, made beside the screen."""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, ClassVar, cast

from finetune_tui.tui.actions import Action, ActionGroup, bindings
from finetune_tui.tui.widgets.lines import Line, Lines, Span, dim, line
from finetune_tui.tui.widgets.markdown import markdown_lines

if TYPE_CHECKING:
    from finetune_tui.tui.app import FinetuneApp

_action = ActionGroup("report")

REPORT_ACTIONS = (
    _action("down", "j down", "down", "further down", "scroll_by(1)"),
    _action("up", "k up", "up", "further up", "scroll_by(-1)"),
    _action(
        "page_down", "pagedown space ctrl+d", "page", "one page down", "scroll_page(1)", True, "spc"
    ),
    _action("page_up", "pageup ctrl+u", "page up", "one page up", "scroll_page(-1)"),
    _action("top", "g home", "top", "first line", "scroll_by(-1000000)"),
    _action("bottom", "G end", "bottom", "last line", "scroll_by(1000000)"),
    _action("copy", "y", "copy", "copy it as Markdown", footer=True),
)

Top = Callable[[int, str], Iterable[Line]]
"""Lines that stand above the text: of a width, and with where one is in it."""


class ReportPane(Lines, can_focus=True):
    """Shows a Markdown text under a title line of its own, with a bar at the left when asked."""

    BINDINGS = list(bindings(REPORT_ACTIONS))
    actions: ClassVar[tuple[Action, ...]] = REPORT_ACTIONS

    def __init__(self, top: Top, barred: bool = False, id: str | None = None) -> None:
        super().__init__(self._make, id=id)
        self.can_focus = True
        self.text = ""
        self._top = top
        self._bar = (Span("│", "rule"), Span(" ")) if barred else (Span(" "),)
        self._first = 0
        self._laid: tuple[str, int, list[Line]] = ("", 0, [])

    def show(self, text: str) -> None:
        """Another text is read from its start."""
        if text != self.text:
            self.text, self._first = text, 0
        self.update()

    def action_scroll_by(self, by: int) -> None:
        self._first += by
        self.update()

    def action_scroll_page(self, by: int) -> None:
        self.action_scroll_by(by * max(self.size.height - 2, 1))

    def action_copy(self) -> None:
        cast("FinetuneApp", self.app).copy(self.text, "the report as Markdown")

    def on_mouse_scroll_down(self) -> None:
        self.action_scroll_by(3)

    def on_mouse_scroll_up(self) -> None:
        self.action_scroll_by(-3)

    def _make(self, width: int, height: int) -> list[Line]:
        body = self._body(width - len(self._bar) - 1)
        room = max(height - 1, 1)
        self._first = max(min(self._first, len(body) - room), 0)
        last = min(self._first + room, len(body))
        where = f"{last}/{len(body)}" if len(body) > room else ""
        shown = body[self._first : last] or [line(dim("…"))]
        shown += [()] * (room - len(shown))
        return [*self._top(width, where), *(line(*self._bar, each) for each in shown)]

    def _body(self, width: int) -> list[Line]:
        """Laid out once for a text and a width."""
        text, for_width, lines = self._laid
        if (text, for_width) != (self.text, width):
            lines = markdown_lines(self.text, width)
            self._laid = (self.text, width, lines)
        return lines
