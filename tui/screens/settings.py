"""Before a run: what would be in its way, and the settings, edited in their place."""

from collections.abc import Sequence

from textual.app import ComposeResult
from textual.widget import Widget

from finetune_tui.tui.screens.checks import Check, check_lines, refusal
from finetune_tui.tui.screens.train_rehearsal import Foresight, next_lines, rehearsal_lines
from finetune_tui.tui.session import Session
from finetune_tui.tui.widgets.lines import Line, Lines, dim, line, rule, wrap
from finetune_tui.tui.widgets.memory_panel import (
    memory_keys,
    memory_lines,
    memory_title,
    present_line,
    simulation_lines,
)
from finetune_tui.tui.widgets.settings_form import SettingsForm

_WIDE = 100  # columns from which the checks stand beside the form
_HEADING = "before you start"
_LEAST_FORM, _ROOMY_FORM = 8, 12  # rows that stay for the settings


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
        self._foresight = Foresight()
        self._session: Session | None = None
        self._watched: str | None = None
        self._rows = 0

    def compose(self) -> ComposeResult:
        yield Lines(self._check_lines, id="settings-checks")
        yield SettingsForm(id="settings-form")

    @property
    def form(self) -> SettingsForm:
        return self.query_one(SettingsForm)

    def show(
        self, session: Session, found: list[Check], foresight: Foresight, watched: str | None
    ) -> None:
        """foresight: what is known of this spec. watched: the run whose monitor is a key away."""
        self._checks, self._foresight, self._watched = found, foresight, watched
        self._session = session
        if not self.form.is_editing:
            self.form.show(session.spec, session.data.rows if session.data else None)
        self._share_height()
        self.query_one("#settings-checks", Lines).update()

    def _share_height(self) -> None:
        """Over the form the checks take what they need; beside it the whole height."""
        width, height = self.size
        if not width:
            return
        rows = min(len(self._check_lines(width, 0)), max(height - _LEAST_FORM, 7))
        wanted = 0 if self.has_class("-wide") else rows
        if wanted != self._rows:
            self._rows = wanted
            self.query_one("#settings-checks").styles.height = wanted or "1fr"

    def on_resize(self) -> None:
        wide = self.size.width >= _WIDE
        self.set_class(wide, "-wide")
        checks = self.query_one("#settings-checks")
        if wide and self.children[0] is checks:
            self.move_child(checks, after=-1)
        elif not wide and self.children[0] is not checks:
            self.move_child(checks, before=0)
        self._share_height()

    def _check_lines(self, width: int, height: int) -> Sequence[Line]:
        tall = self.has_class("-wide")
        if tall:
            return self._all_lines(width, height, tall, check_lines(self._checks, width, 3))
        for form, most in ((_ROOMY_FORM, (2, 2)), (_LEAST_FORM, (2, 1)), (0, (1, 1))):
            lines = self._all_lines(width, height, tall, check_lines(self._checks, width, *most))
            if len(lines) <= max(self.size.height - form, 7):
                break
        return lines

    def _all_lines(self, width: int, height: int, tall: bool, checks: Sequence[Line]) -> list[Line]:
        lines = [rule(width, [_HEADING]), *checks]
        lines += [()] if tall else []
        can_start = refusal(self._checks) is None
        lines += next_lines(self._foresight, can_start, self._watched, width)
        lines += self._memory_lines(width, tall)
        lines += [()] if tall and self._foresight.rehearsal else []
        hardware = self._session.hardware if self._session else None
        disk_free = hardware.disk_free if hardware else None
        lines += rehearsal_lines(self._foresight, disk_free, width, tall)
        return lines + _advice(width, height - len(lines)) if tall else lines

    def _memory_lines(self, width: int, tall: bool) -> list[Line]:
        """The panel of Layers; over the form only the precision that a run would have."""
        session = self._session
        if session is None or not session.estimates:
            return []
        if tall:
            title = rule(width, memory_title(session), memory_keys(session, width, "train"))
            return [(), title, *memory_lines(session, width, parts=False, table=False)]
        simulation = session.simulation
        found = simulation_lines(simulation, session, width) if simulation else []
        return [present_line(session, width), *found]


def _advice(width: int, height: int) -> list[Line]:
    """As many of the guide's rules of thumb as there is room for."""
    texts = (
        "Targets: attention first, the MLP too when style or format must change.",
        "Rank: start at 8, double until it stops helping.",
        "When the held-out loss rises while the train loss falls, it is learning by heart: "
        "fewer epochs, more dropout, more data.",
    )
    lines: list[Line] = []
    for text in texts:
        more = [line(dim(f" {words}")) for words in wrap(text, width - 2)]
        if len(lines) + len(more) + 2 > height:
            break
        lines += more
    return [(), rule(width, ["rules of thumb"]), *lines] if lines else []
