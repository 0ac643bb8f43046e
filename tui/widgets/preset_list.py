"""The presets on this model: what each trains, what it would take, and why the guide names it."""

import re
from typing import TYPE_CHECKING, ClassVar

from textual.message import Message

from finetune_tui.core.text import count, size
from finetune_tui.core.tuning.presets import ResolvedPreset
from finetune_tui.tui.actions import Action, bindings
from finetune_tui.tui.widgets.lines import Line, Lines, Span, cells, dim, line, wrap

if TYPE_CHECKING:
    from finetune_tui.tui.session import Session

_WIDE = 46

PRESET_ACTIONS = (
    Action("presets.down", ("j", "down"), "down", "next preset", "presets", "move(1)"),
    Action("presets.up", ("k", "up"), "up", "preset before", "presets", "move(-1)"),
    Action(
        "presets.choose",
        ("enter", "space"),
        "choose",
        "train what this preset says",
        "presets",
        "choose",
        footer=True,
        shown="⏎",
    ),
)


def preset_lines(
    session: "Session", presets: list[ResolvedPreset], cursor: int, focused: bool, wide: bool
) -> list[Line]:
    """A row for each preset; the chosen one has a dot."""
    lines = []
    for index, resolved in enumerate(presets):
        chosen = resolved.preset.id == session.preset
        at_cursor = index == cursor
        device = session.device_bytes_of(resolved.selection)
        row = line(
            Span("▌" if at_cursor else " ", "accent" if focused else "dim"),
            Span("●" if chosen else " ", "good"),
            Span(f" {resolved.preset.id:<21}", "strong" if at_cursor and focused else ""),
            f"{count(session.trainable_of(resolved.selection)):>6}",
            f"{size(device) if device else '':>7}",
            dim(f"  {resolved.preset.evidence}") if wide else "",
        )
        lines.append(row)
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
        self.tabs: Line = line("presets")
        self.joint = "├"
        self._session = session
        self._presets: list[ResolvedPreset] = []

    def refresh_from_session(self) -> None:
        """While the person is elsewhere, the cursor is on the preset in use."""
        self._presets = self._session.presets()
        self.cursor = min(self.cursor, max(len(self._presets) - 1, 0))
        if self.has_focus:
            self.update()
        else:
            self.point_at_chosen()

    def point_at_chosen(self) -> None:
        """Put the cursor on the preset that is in use."""
        ids = [resolved.preset.id for resolved in self._presets]
        if self._session.preset in ids:
            self.cursor = ids.index(self._session.preset)
        self.update()

    def action_move(self, by: int) -> None:
        self.cursor = min(max(self.cursor + by, 0), max(len(self._presets) - 1, 0))
        self.update()

    def action_choose(self) -> None:
        if self._presets:
            self.post_message(self.Chosen(self._presets[self.cursor].preset.id))

    def on_lines_clicked(self, event: Lines.Clicked) -> None:
        if 0 < event.index <= len(self._presets):
            event.stop()
            self.cursor = event.index - 1
            self.focus()
            self.action_choose()

    def watch_has_focus(self, has_focus: bool) -> None:
        super().watch_has_focus(has_focus)
        self.update()

    def _build_lines(self, width: int, height: int) -> list[Line]:
        lines = [title_line(self.tabs, self.joint, width)]
        wide = width >= _WIDE
        rows = preset_lines(self._session, self._presets, self.cursor, self.has_focus, wide)
        if self._presets:
            rows += [line(" ", why) for why in why_lines(self._presets[self.cursor], width - 2)]
        rows += [line("")] * (height - len(rows) - 1)
        return lines + [line(Span("│", "rule"), row) for row in rows]
