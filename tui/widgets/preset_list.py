"""The presets on this model: what each trains, what it would take, and why the guide names it."""

import re
from typing import TYPE_CHECKING, ClassVar, cast

from textual import events
from textual.message import Message

from finetune_tui.core.text import count, size
from finetune_tui.core.tuning.presets import ResolvedPreset
from finetune_tui.tui.actions import Action, ActionGroup, bindings
from finetune_tui.tui.preset_rows import PresetRow, PresetsKey, preset_rows, presets_key
from finetune_tui.tui.widgets.lines import Line, Lines, Span, cells, dim, line, rule, wrap

if TYPE_CHECKING:
    from finetune_tui.tui.app import FinetuneApp
    from finetune_tui.tui.session import Session

_WIDE = 46
_WORDS = 5  # lines kept for what the one under the cursor is for

_action = ActionGroup("presets")

PRESET_ACTIONS = (
    _action("down", "j down", "down", "next preset", "move(1)"),
    _action("up", "k up", "up", "preset before", "move(-1)"),
    _action("page_down", "pagedown ctrl+d", "page down", "ten presets on", "move(10)"),
    _action("page_up", "pageup ctrl+u", "page up", "ten presets back", "move(-10)"),
    _action("top", "g home", "top", "first preset", "move(-1000000)"),
    _action("bottom", "G end", "bottom", "last preset", "move(1000000)"),
    _action(
        "choose", "enter space", "choose", "train what this preset says", footer=True, shown="⏎"
    ),
)


def preset_lines(
    rows: list[PresetRow], chosen: str | None, cursor: int, focused: bool, wide: bool
) -> list[Line]:
    """A row for each preset; the chosen one has a dot."""
    lines = []
    for index, row in enumerate(rows):
        preset = row.resolved.preset
        at_cursor = index == cursor
        made = line(
            Span("▌" if at_cursor else " ", "accent" if focused else "dim"),
            Span("●" if preset.id == chosen else " ", "good"),
            Span(f" {preset.id:<21}", "strong" if at_cursor and focused else ""),
            f"{count(row.trainable):>6}",
            f"{size(row.device):>7}",
            dim(f"  {preset.evidence}") if wide else "",
        )
        lines.append(made)
    return lines


def title_line(tabs: Line, joint: str, width: int) -> Line:
    """The rule over the list, with the names of its columns."""
    start = line(Span(f"{joint}─", "rule"), tabs)
    start = line(start, Span("─" * (25 - cells(start)), "rule"))
    columns = f"{'+TRAIN':─>6}{'MEMORY':─>7}" + ("──EVIDENCE" if width >= _WIDE else "")
    styled = [Span(text, "rule" if text.startswith("─") else "dim") for text in _parts(columns)]
    drawn = line(start, *styled)
    return line(drawn, Span("─" * (width - cells(drawn)), "rule"))


def _parts(text: str) -> list[str]:
    return [part for part in re.split("(─+)", text) if part]


def why_lines(resolved: ResolvedPreset, width: int) -> list[Line]:
    """What it is for, and why, as the guide has it."""
    preset = resolved.preset
    found = [line(words) for words in wrap(f"{preset.goal}: {preset.why}", width)]
    for note in resolved.notes:
        found += [line(Span(words, "warn")) for words in wrap(note, width)]
    return found


class PresetList(Lines, can_focus=True):
    """The list under its own rule; the place hears `Chosen`. tabs: what the rule says first."""

    DEFAULT_CSS = """
    PresetList { overflow-y: hidden; }
    """
    BINDINGS = list(bindings(PRESET_ACTIONS))
    actions: ClassVar[tuple[Action, ...]] = PRESET_ACTIONS

    class Chosen(Message):
        def __init__(self, preset: str) -> None:
            super().__init__()
            self.preset = preset

    def __init__(self, session: "Session", id: str | None = None) -> None:
        super().__init__(self._build_lines, id=id)
        self.can_focus = True
        self.cursor = 0
        self._shown = 0
        self.tabs: Line = line("presets")
        self.joint = "├"
        self._session = session
        self._rows: list[PresetRow] = []
        self._key: PresetsKey | None = None
        self._first = 0  # row at the top, when not all have room

    def refresh_from_session(self) -> None:
        """Figures of another model or other settings are made beside the screen."""
        key = presets_key(self._session)
        if key is None:
            self._rows = []
        elif key != self._key:
            if self._key is None or key.manifest is not self._key.manifest:
                self._rows = []
            app = cast("FinetuneApp", self.app)
            app.in_thread(lambda: preset_rows(key), self._filled, group="presets")
        self._key = key
        self._follow()

    def _filled(self, rows: list[PresetRow]) -> None:
        self._rows = rows
        self._follow()

    def _follow(self) -> None:
        """While the person is elsewhere, the cursor is on the preset in use."""
        self.cursor = min(self.cursor, max(len(self._rows) - 1, 0))
        if self.has_focus:
            self.update()
        else:
            self.point_at_chosen()

    def point_at_chosen(self) -> None:
        """Put the cursor on the preset that is in use."""
        ids = [row.resolved.preset.id for row in self._rows]
        if self._session.preset in ids:
            self.cursor = ids.index(self._session.preset)
        self.update()

    def action_move(self, by: int) -> None:
        self.cursor = min(max(self.cursor + by, 0), max(len(self._rows) - 1, 0))
        self.update()

    def action_choose(self) -> None:
        if self._rows:
            self.post_message(self.Chosen(self._rows[self.cursor].resolved.preset.id))

    def on_lines_clicked(self, event: Lines.Clicked) -> None:
        index = self._first + event.index - 1
        if 0 < event.index <= self._shown and index < len(self._rows):
            event.stop()
            self.cursor = index
            self.focus()
            self.action_choose()

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        event.stop()
        self.action_move(1)

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        event.stop()
        self.action_move(-1)

    def watch_has_focus(self, has_focus: bool) -> None:
        super().watch_has_focus(has_focus)
        self.update()

    def _build_lines(self, width: int, height: int) -> list[Line]:
        lines = [title_line(self.tabs, self.joint, width)]
        wide = width >= _WIDE
        rows = preset_lines(self._rows, self._session.preset, self.cursor, self.has_focus, wide)
        why = self._why(width) if self._rows else []
        # The words keep a few lines of their own; the list scrolls in what is left.
        room = height - 1
        self._shown = min(len(rows), max(room - max(len(why), _WORDS), 1))
        self._first = min(max(self._first, self.cursor - self._shown + 1), self.cursor)
        self._first = max(min(self._first, len(rows) - self._shown), 0)
        body = rows[self._first : self._first + self._shown] + why
        body += [line("")] * (room - len(body))
        return lines + [line(Span("│", "rule"), row) for row in body[:room]]

    def _why(self, width: int) -> list[Line]:
        """Under a rule that says which of them this is, for a list that does not show all."""
        at = self._rows[self.cursor].resolved
        number = f"{self.cursor + 1} of {len(self._rows)}"
        title = rule(width - 1, [line(dim(at.preset.title))], [line(dim(number))])
        return [title, *(line(" ", why) for why in why_lines(at, width - 3))]
