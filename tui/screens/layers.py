"""The Layers place: what is inside the model, which parts train, and whether that fits."""

import asyncio
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical

from finetune_tui.core.errors import UserError
from finetune_tui.core.tuning.modes import LORA, Mode
from finetune_tui.core.tuning.patterns import fold
from finetune_tui.core.tuning.selection import Selection, in_every_block, refusal
from finetune_tui.core.tuning.spec import FIELDS
from finetune_tui.tui.actions import Action
from finetune_tui.tui.changes import changed_line, without_block
from finetune_tui.tui.screens.choosing import ChoosingPlace
from finetune_tui.tui.screens.layers_actions import LAYERS_ACTIONS, OF_THE_TREE
from finetune_tui.tui.screens.layers_side import PRESET, REPORT, WHAT, SideColumn
from finetune_tui.tui.widgets.lines import Lines, Span, line
from finetune_tui.tui.widgets.mode_entry import ModeEntry
from finetune_tui.tui.widgets.module_tree import ModuleTree
from finetune_tui.tui.widgets.preset_list import PresetList
from finetune_tui.tui.widgets.tree_figures import Figures
from finetune_tui.tui.widgets.tree_find import find_places
from finetune_tui.tui.widgets.tree_rows import Rows
from finetune_tui.tui.widgets.tree_shape import shape_of

_SLICE = 0.015  # seconds of unfolding between two looks at the keyboard

_TREE, _SIDE = 41, 50  # narrowest tree; the side where both have room
_TWO_COLUMNS = 72
_BOTH_PANES = 31  # rows from which details and presets are both shown


class LayersPlace(ChoosingPlace):
    """Tree at the left; details, presets or the report, memory and what is missing at the right."""

    DEFAULT_CSS = """
    LayersPlace Horizontal, LayersPlace Vertical { height: 1fr; width: 1fr; }
    LayersPlace .one { height: 1; }
    """
    title: ClassVar[str] = "Layers"
    about: ClassVar[str] = (
        "What is inside the model. Each part trains as lora, full or bias, or stays frozen; memory follows"
        " every key."
    )
    actions: ClassVar[tuple[Action, ...]] = LAYERS_ACTIONS

    def __init__(self, id: str | None = None) -> None:
        super().__init__(id=id)
        self._rows: Rows | None = None
        self._figures: Figures | None = None
        self._figured: tuple[Selection, int] | None = None
        self._zoomed: str | None = None

    def compose(self) -> ComposeResult:
        self._tree = ModuleTree()
        self._side = SideColumn(self.session)
        self._changed = Lines(lambda _width, _height: [changed_line(self.session)])
        self._changed.add_class("one")
        top = Lines(lambda width, _: (line(Span("─" * width, "rule")),))
        top.add_class("one")
        self._left = Vertical(top, self._tree, self._changed)
        yield Horizontal(self._left, self._side)

    def check_action(self, action: str, _parameters: tuple[object, ...]) -> bool | None:
        """What acts on the row under the cursor waits while another pane has the focus."""
        return action not in OF_THE_TREE or not (
            self._side.presets.has_focus or self._side.report.has_focus
        )

    # What is shown

    def on_shown(self) -> None:
        self._tree.focus()

    def on_resize(self) -> None:
        self._arrange()

    def refresh_from_session(self) -> None:
        manifest = self.session.manifest
        if manifest is None:
            self._rows = self._figures = None
        elif self._rows is None or self._rows.shape.manifest is not manifest:
            self._rows = Rows(shape_of(manifest))
            self._figured = None
        wanted = (self.session.selection, self.session.spec.lora_r)
        if self._rows is not None and self._figured != wanted:
            self._figures = Figures(self._rows.shape, *wanted)
            self._figured = wanted
        self.cancel_stale_simulation()
        self._side.refresh_from_session()
        self._refresh_rows()
        self._changed.update()

    @property
    def memory_words(self) -> str:
        """What the memory panel says."""
        return self._side.memory_words

    def _refresh_rows(self) -> None:
        self._tree.show(self._rows, self._figures)
        self._side.refresh_row(self._rows, self._figures)

    def _arrange(self) -> None:
        """Give every pane its place for this size, tab and zoom."""
        width, height = self.size.width, self.size.height
        has_both = width >= _TREE + _TWO_COLUMNS
        both = height >= _BOTH_PANES and has_both
        one_column = width < _TWO_COLUMNS or self._zoomed is not None
        side_in_front = self._zoomed == "side"
        self._left.display = not (one_column and side_in_front)
        self._side.details.can_focus = one_column  # a place for the keys when the tree is away
        self._side.display = not one_column or side_in_front
        side = max(_SIDE, width * 2 // 5) if has_both else width - _TREE
        self._side.styles.width = "1fr" if one_column else side
        self._changed.display = both
        self._side.give_room(height, both, one_column)

    # Moving

    def action_move(self, by: int) -> None:
        if self._rows:
            self._rows.move(by)
            self._refresh_rows()

    def action_page(self, by: int) -> None:
        self.action_move(by * self._tree.page)

    def action_go(self, to: int) -> None:
        self.action_move(to - self._rows.cursor if self._rows else 0)

    def action_inward(self) -> None:
        if self._rows:
            self._rows.inward()
            self._refresh_rows()

    def action_outward(self) -> None:
        if self._rows:
            self._rows.outward()
            self._refresh_rows()

    def action_unfold_all(self) -> None:
        """Open everything below the cursor, a slice at a time: the keys work meanwhile."""
        if self._rows:
            self.run_worker(
                self._unfold(self._rows, self._rows.row.key), group="unfold", exclusive=True
            )

    async def _unfold(self, rows: Rows, key: str) -> None:
        done = False
        while not done and rows is self._rows:
            done = rows.unfold_below(key, _SLICE)
            self._refresh_rows()
            await asyncio.sleep(0)

    def action_fold_all(self) -> None:
        if self._rows:
            self._rows.fold_all()
            self._refresh_rows()

    @on(ModuleTree.Pressed)
    def _pressed(self, event: ModuleTree.Pressed) -> None:
        if self._rows is None:
            return
        if event.extends and self._rows.anchor is None:
            self._rows.mark()
        self._rows.go(event.index)
        if event.part == "fold":
            self._rows.toggle_fold(event.index)
        self._refresh_rows()
        if event.part == "mode" and not event.extends:
            self.action_toggle_lora()

    def action_range(self) -> None:
        if self._rows:
            self._rows.mark()
            self._refresh_rows()

    # Changing

    def action_toggle_lora(self) -> None:
        names = self._names(Mode.LORA)
        if names:
            self.session.toggle(names)
            self._changed_selection()

    def action_every_block(self) -> None:
        """What the marked modules have goes to the same ones in every block; all have it: frozen."""
        if self._rows is None or self._figures is None:
            self._names(Mode.LORA)
            return
        manifest, choices = self._rows.shape.manifest, self.session.selection.choices
        has = self._figures.mode(self._rows.row)
        mode = Mode.LORA if has.mixed or has.mode is Mode.FROZEN else has.mode
        names = self._names(mode)
        places = {without_block(manifest, name): name for name in names}
        every = [found for name in places.values() for found in in_every_block(manifest, name)]
        if not every:
            return
        choice = next((choices[name] for name in names if name in choices), LORA)
        if all(choices.get(name) == choice for name in every):
            self.session.choose(every, Mode.FROZEN)
        else:
            self.session.choose(every, choice.mode, choice.r, choice.lora_alpha)
        self._changed_selection()

    def action_mode(self) -> None:
        if self._rows is None:
            self._names(Mode.LORA)
            return
        entry = ModeEntry(self.session, self._names, self.finetune.say, self._mode_typed)
        self._tree.entry = entry.press
        self._tree.focus()

    def _mode_typed(self, done: bool) -> None:
        if done:
            self._tree.entry = None
        self._changed_selection()

    def _mode_clicked(self, mode: Mode) -> None:
        names = self._names(mode)
        if names:
            self.session.choose(names, mode)
            self._changed_selection()

    def _rank_clicked(self, step: int) -> None:
        """Half of the rank, or twice of it."""
        if self._rows is None or self._figures is None:
            return
        now = self._figures.mode(self._rows.row).rank or self.session.spec.lora_r
        rank = max(now * 2 if step > 0 else now // 2, 1)
        if rank <= FIELDS["lora_r"].maximum:
            self.session.choose(self._names(Mode.LORA), Mode.LORA, rank)
            self._changed_selection()

    def changed_by_undo(self) -> None:
        self._changed_selection()

    def _changed_selection(self) -> None:
        if self._rows and self._tree.entry is None:
            self._rows.unmark()
        self.finetune.session_changed()

    def _names(self, mode: Mode) -> tuple[str, ...]:
        """What setting this mode acts on; says why when that is nothing."""
        if self._rows is None:
            self.finetune.say("no model open: 1 chooses one")
            return ()
        if mode is Mode.FROZEN:
            chosen = self.session.selection.choices
            names = tuple(name for name in self._rows.marked_modules() if name in chosen)
            words = "nothing here trains"
        else:
            names = self._rows.marked_targets(mode)
            first = self._rows.marked()[0].names[0]
            words = refusal(self._rows.shape.manifest, first, mode) or ""
        if not names:
            self.finetune.say(words or f"nothing here can be in mode '{mode}'", wrong=True)
        return names

    # Presets and panes

    def action_presets(self) -> None:
        if self.size.width < _TWO_COLUMNS:
            self._zoomed = "side"
        self._show_tab(PRESET)
        self._side.presets.point_at_chosen()
        self._side.presets.focus()

    def action_report(self) -> None:
        if self.size.width < _TWO_COLUMNS:
            self._zoomed = "side"
        self._show_tab(REPORT)
        self._side.report.focus()

    def action_tab(self, by: int) -> None:
        """The next tab; in one column the tree counts as the first."""
        tabs, tab = self._side.tabs, self._side.tab
        at = tabs.index(tab) if tab in tabs else 0
        if self.size.width >= _TWO_COLUMNS:
            self._show_tab(tabs[(at + by) % len(tabs)])
            return
        here = at + 1 if self._zoomed == "side" else 0
        there = (here + by) % (len(tabs) + 1)
        self._zoomed = "side" if there else None
        self._show_tab(tabs[max(there - 1, 0)])
        (self._tree, *self._side.panes)[there].focus()

    @on(Lines.Clicked)
    def _clicked(self, event: Lines.Clicked) -> None:
        what, _, value = event.action.rstrip(")").partition("(")
        if what == "tab":
            self._show_tab(int(value))
        elif what == "mode":
            self._mode_clicked(Mode(value))
        elif what == "rank":
            self._rank_clicked(int(value))

    def _show_tab(self, tab: int) -> None:
        self._side.tab = tab
        if any(pane.has_focus and pane is not self._side.panes[tab] for pane in self._side.panes):
            self._tree.focus()
        self._arrange()

    @on(PresetList.Chosen)
    def _preset_chosen(self, event: PresetList.Chosen) -> None:
        try:
            notes = self.session.choose_preset(event.preset)
        except UserError as error:
            self.finetune.say_error(error)
            return
        self._changed_selection()
        self.finetune.say("; ".join((f"{event.preset} chosen", *notes)))

    def action_parts(self) -> None:
        self._side.show_in_numbers(not self._side.in_numbers)

    def action_zoom(self) -> None:
        focused = "side" if any(pane.has_focus for pane in self._side.panes) else "tree"
        self._zoomed = None if self._zoomed else focused
        self._arrange()

    def one_level_out(self) -> bool:
        if self._rows and self._rows.is_marking:
            self._rows.unmark()
        elif self.leave_simulation():
            pass
        elif self._zoomed:
            self._zoomed = None
            self._show_tab(WHAT)
            self._tree.focus()
        elif not self._tree.has_focus:
            self._show_tab(WHAT)
            self._tree.focus()
        elif self._tree.found:
            self._tree.found = ""
        else:
            return False
        self._refresh_rows()
        return True

    # Finding and copying

    def action_find(self) -> None:
        if self._rows:
            self.finetune.ask("/", self._found, typed=self._typed)

    def _typed(self, words: str) -> None:
        self._look_for(words, 0)

    def _found(self, words: str) -> None:
        self._tree.focus()
        self._say_found(self._look_for(words, 0))

    def action_find_next(self, step: int) -> None:
        if self._tree.found:
            self._say_found(self._look_for(self._tree.found, step))
        else:
            self.action_find()

    def _look_for(self, words: str, step: int) -> int:
        if self._rows is None:
            return 0
        self._tree.found = words.strip().lower()
        found = self._rows.find(words, step, self._figures)
        self._refresh_rows()
        return found

    def _say_found(self, found: int) -> None:
        words = self._tree.found
        if words and not found:
            self.finetune.say(f"no name, role, class or mode is like '{words}'", wrong=True)
        elif words:
            self.finetune.say(f"{found} found · n next · N before · A mark them all · esc done")

    def action_mark_found(self) -> None:
        """All that was found becomes what the next edit acts on."""
        if self._rows is None or not self._tree.found:
            self.finetune.say("nothing was looked for: / finds")
            return
        self._rows.pick(find_places(self._rows.shape, self._tree.found, self._figures))
        self._refresh_rows()
        modules = len(self._rows.marked_modules())
        lines = len(self._rows.picked)
        self.finetune.say(f"{lines} lines marked, {modules} modules · spc or m sets them · esc")

    def action_copy(self) -> None:
        if self._rows:
            names = [name for row in self._rows.marked() for name in row.names]
            text = "\n".join(fold(names))
            self.finetune.copy(text)
