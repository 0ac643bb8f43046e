"""Before a run: what would be in its way, and the settings, edited in their place."""

from collections.abc import Sequence

from textual.app import ComposeResult
from textual.widget import Widget

from finetune_tui.tui.screens.checks import Check, check_lines, refusal
from finetune_tui.tui.session import Session
from finetune_tui.tui.widgets.lines import Line, Lines, Span, dim, key, line, rule, wrap
from finetune_tui.tui.widgets.settings_form import SettingsForm

_WIDE = 100  # columns from which the checks stand beside the form
_HEADING = "before you start"


class SettingsView(Widget):
    """The checks over the form, beside it where there is room."""

    DEFAULT_CSS = """
    SettingsView { width: 1fr; height: 1fr; layout: vertical; }
    SettingsView #settings-checks { height: 7; }
    SettingsView.-wide { layout: horizontal; }
    SettingsView.-wide #settings-checks { width: 40; height: 1fr; border-left: solid $line; }
    """

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._checks: list[Check] = []
        self._watched: str | None = None
        self._title = ""

    def compose(self) -> ComposeResult:
        yield Lines(self._check_lines, id="settings-checks")
        yield SettingsForm(id="settings-form")

    @property
    def form(self) -> SettingsForm:
        return self.query_one(SettingsForm)

    def show(self, session: Session, found: list[Check], watched: str | None) -> None:
        """watched: the run whose monitor is a key away."""
        self._checks, self._watched = found, watched
        if not self.form.is_editing:
            self.form.show(session.spec)
        self.query_one("#settings-checks", Lines).update()

    def on_resize(self) -> None:
        wide = self.size.width >= _WIDE
        self.set_class(wide, "-wide")
        checks = self.query_one("#settings-checks")
        if wide and self.children[0] is checks:
            self.move_child(checks, after=-1)
        elif not wide and self.children[0] is not checks:
            self.move_child(checks, before=0)

    def _check_lines(self, width: int, height: int) -> Sequence[Line]:
        tall = height > len(self._checks) + 2
        lines = [rule(width, [_HEADING]), *check_lines(self._checks, width, 3 if tall else 1)]
        why_not = refusal(self._checks)
        if tall:
            lines.append(())
        if why_not:
            lines.append(line(Span(" ✗ cannot start yet", "bad")))
        else:
            lines.append(line(" ", key("s", "start", "start")))
        if self._watched:
            watching = key("w", f"watch {self._watched}", "watch")
            lines[-1] = line(lines[-1], "   ", watching)
        if tall:
            lines += _advice(width)
        return lines


def _advice(width: int) -> list[Line]:
    """The guide's rules of thumb, where there is room for them."""
    texts = (
        "Targets: attention first, the MLP too when style or format must change.",
        "Rank: start at 8, double until it stops helping.",
        "When the held-out loss rises while the train loss falls, it is learning by heart: "
        "fewer epochs, more dropout, more data.",
    )
    lines: list[Line] = [(), rule(width, ["rules of thumb"])]
    for text in texts:
        lines += [line(dim(f" {words}")) for words in wrap(text, width - 2)]
    return lines
