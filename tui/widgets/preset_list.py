"""The presets on this model: what each trains, what it would take, and why the guide names it."""

from typing import TYPE_CHECKING, ClassVar

from textual import events
from textual.message import Message

from finetune_tui.core.text import count, size
from finetune_tui.core.tuning.presets import ResolvedPreset
from finetune_tui.tui.actions import Action, bindings
from finetune_tui.tui.widgets.lines import Line, Lines, Span, dim, line, wrap

if TYPE_CHECKING:
    from finetune_tui.tui.session import Session

_WIDE = 44

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
    ),
)


def preset_lines(
    session: "Session", presets: list[ResolvedPreset], cursor: int, focused: bool, width: int
) -> list[Line]:
    """A header and a row for each preset; the chosen one has a dot."""
    wide = width >= _WIDE
    head = f" {'PRESET':<22}{'+TRAIN':>6}{'MEMORY':>7}{'  EVIDENCE' if wide else ''}"
    lines = [line(dim(head))]
    for index, resolved in enumerate(presets):
        chosen = resolved.preset.id == session.preset
        at_cursor = index == cursor
        device = session.device_bytes_of(resolved.selection)
        row = line(
            Span("▌" if at_cursor else " ", "accent" if focused else "dim"),
            Span("●" if chosen else " ", "good"),
            Span(f"{resolved.preset.id:<21}", "strong" if at_cursor and focused else ""),
            f"{count(session.trainable_of(resolved.selection)):>6}",
            f"{size(device) if device else '':>7}",
            dim(f"  {resolved.preset.evidence}") if wide else "",
        )
        lines.append(tuple(span._replace(click=f"choose_at({index})") for span in row))
    return lines


def why_lines(resolved: ResolvedPreset, width: int) -> list[Line]:
    """What it is for, and why, as the guide has it."""
    preset = resolved.preset
    found = [line(words) for words in wrap(f"{preset.goal}: {preset.why}", width)]
    for note in resolved.notes:
        found += [line(Span(words, "warn")) for words in wrap(note, width)]
    return found


class PresetList(Lines, can_focus=True):
    """The list; the place draws a frame round it and hears `Chosen`."""

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
        self._session = session
        self._presets: list[ResolvedPreset] = []

    def refresh_from_session(self) -> None:
        self._presets = self._session.presets()
        self.cursor = min(self.cursor, max(len(self._presets) - 1, 0))
        self.update()

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

    def action_choose_at(self, index: int) -> None:
        self.cursor = index
        self.action_choose()

    def on_focus(self, _event: events.Focus) -> None:
        self.update()

    def on_blur(self, _event: events.Blur) -> None:
        self.update()

    def _build_lines(self, width: int, height: int) -> list[Line]:
        bar = Span("│", "rule")
        inner = width - 1
        lines = preset_lines(self._session, self._presets, self.cursor, self.has_focus, inner)
        if self._presets:
            why = why_lines(self._presets[self.cursor], inner - 1)
            lines += [line(" ", dim_or) for dim_or in why]
        lines += [line("")] * (height - len(lines))
        return [line(bar, each) for each in lines]
