"""The Layers place: what is inside the model, which parts train, and whether that fits."""

from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical

from finetune_tui.core.errors import UserError
from finetune_tui.core.models.manifest import Manifest
from finetune_tui.core.tuning.modes import LORA, Mode
from finetune_tui.core.tuning.patterns import fold
from finetune_tui.core.tuning.selection import Selection, in_every_block, refusal
from finetune_tui.tui.actions import Action
from finetune_tui.tui.changes import changed_words
from finetune_tui.tui.screens.checks import checks
from finetune_tui.tui.screens.layers_actions import LAYERS_ACTIONS
from finetune_tui.tui.screens.place import Place
from finetune_tui.tui.widgets.details import details_lines
from finetune_tui.tui.widgets.lines import Line, Lines, Span, dim, line, rule
from finetune_tui.tui.widgets.memory_panel import memory_lines, memory_title
from finetune_tui.tui.widgets.mode_entry import ModeEntry
from finetune_tui.tui.widgets.module_tree import ModuleTree
from finetune_tui.tui.widgets.panes import barred, check_words
from finetune_tui.tui.widgets.preset_list import PresetList
from finetune_tui.tui.widgets.tree_rows import Figures, Rows, TreeShape

_OF_THE_TREE = frozenset(
    ("toggle_lora", "mode", "range", "every_block", "inward", "outward", "copy", "presets")
)

_TREE, _SIDE = 41, 50  # narrowest tree; the side where both have room
_TWO_COLUMNS = 72
_BOTH_PANES = 31  # rows from which details and presets are both shown
_TABS = ("what", "preset")


class LayersPlace(Place):
    """Tree at the left; details or presets, memory and what is missing at the right."""

    DEFAULT_CSS = """
    LayersPlace Horizontal, LayersPlace Vertical { height: 1fr; }
    LayersPlace .one { height: 1; }
    """
    title: ClassVar[str] = "Layers"
    actions: ClassVar[tuple[Action, ...]] = LAYERS_ACTIONS

    def __init__(self, id: str | None = None) -> None:
        super().__init__(id=id)
        self._rows: Rows | None = None
        self._figures: Figures | None = None
        self._figured: tuple[Selection, int] | None = None
        self._tab = 0
        self._zoomed: str | None = None

    def compose(self) -> ComposeResult:
        self._tree = ModuleTree()
        self._details = Lines(self._details_build)
        self._presets = PresetList(self.session)
        self._memory = Lines(self._memory_build)
        self._before = Lines(self._before_build)
        self._changed = Lines(self._changed_build)
        self._changed.add_class("one")
        top = Lines(lambda width, _: (line(Span("─" * width, "rule")),))
        top.add_class("one")
        with Horizontal():
            with Vertical(id="layers-left"):
                yield top
                yield self._tree
                yield self._changed
            with Vertical(id="layers-right"):
                yield self._details
                yield self._presets
                yield self._memory
                yield self._before

    def check_action(self, action: str, _parameters: tuple[object, ...]) -> bool | None:
        """What acts on the row under the cursor waits while the presets have the focus."""
        return action not in _OF_THE_TREE or not self._presets.has_focus

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
            self._rows = Rows(TreeShape(manifest))
            self._figured = None
        wanted = (self.session.selection, self.session.spec.lora_r)
        if self._rows is not None and self._figured != wanted:
            self._figures = Figures(self._rows.shape, *wanted)
            self._figured = wanted
        self._presets.refresh_from_session()
        self._refresh_rows()
        for pane in (self._memory, self._before, self._changed):
            pane.update()

    @property
    def memory_words(self) -> str:
        """What the memory panel says."""
        return self._memory.words

    def _refresh_rows(self) -> None:
        self._tree.show(self._rows, self._figures)
        self._details.update()

    @property
    def _both(self) -> bool:
        """Details and presets at once, instead of tabs."""
        return self.size.height >= _BOTH_PANES and self.size.width >= _TREE + _TWO_COLUMNS

    def _arrange(self) -> None:
        """Give every pane its place for this size, tab and zoom."""
        width, height = self.size.width, self.size.height
        left, right = self.query_one("#layers-left"), self.query_one("#layers-right")
        one_column = width < _TWO_COLUMNS or self._zoomed is not None
        side_in_front = self._zoomed == "side"
        left.display = not (one_column and side_in_front)
        self._details.can_focus = one_column  # the keys need a place to go when the tree is away
        right.display = not one_column or side_in_front
        side = max(_SIDE, width * 2 // 5) if width >= _TREE + _TWO_COLUMNS else width - _TREE
        right.styles.width = "1fr" if one_column else side
        left.styles.width = "1fr"
        self._details.display = self._both or self._tab == 0
        self._presets.display = self._both or self._tab == 1
        self._presets.joint = "├" if self._both else "┬"
        self._presets.tabs = line("presets") if self._both else self._tab_words()
        self._presets.styles.height = 12 if self._both else "1fr"
        self._memory.styles.height = 7 if self._both else 6
        self._before.styles.height = 5 if self._both else 6
        self._before.display = self._both or height >= (19, 26)[self._tab]
        self._memory.display = self._both or height >= (14, 20)[self._tab]
        self._changed.display = self._both
        self._presets.update()
        self._details.update()

    def _tab_words(self) -> Line:
        spans: list[Span] = []
        for index, name in enumerate(_TABS):
            if index:
                spans.append(Span("─", "rule"))
            front = index == self._tab
            words = f"[{name}]" if front else name
            spans.append(Span(words, "strong" if front else "dim", f"tab({index})"))
        return line(*spans)

    def _details_build(self, width: int, height: int) -> list[Line]:
        tabs = line("what") if self._both else self._tab_words()
        right = () if self._both else (line(dim("[ ]")),)
        lines = [line(Span("┬", "rule"), rule(width - 1, [tabs], right))]
        if self._rows is None or self._figures is None:
            body = [line(dim("no model open: 1 chooses one"))]
        else:
            body = details_lines(self._rows.row, self._rows.shape, self._figures, width - 3)
        return lines + barred(body, height - 1)

    def _memory_build(self, width: int, height: int) -> list[Line]:
        titles = memory_title(self.session)
        lines = [line(Span("├", "rule"), rule(width - 1, ["memory", *titles]))]
        if not self.session.estimates:
            return lines + barred([], height - 1)
        body = memory_lines(self.session, width - 1, parts=self._both)
        return lines + barred(body, height - 1, indent="")

    def _before_build(self, width: int, height: int) -> list[Line]:
        lines = [line(Span("├", "rule"), rule(width - 1, ["before you start"]))]
        return lines + barred(check_words(checks(self.session), width - 3), height - 1)

    def _changed_build(self, _width: int, _height: int) -> list[Line]:
        session = self.session
        if session.manifest is None or not session.selection.choices:
            return [line(dim(" nothing chosen: p for presets, space to choose by hand"))]
        words = changed_words(
            session.manifest, session.preset, session.preset_selection, session.selection
        )
        return [line(dim(" changed: "), words)]

    # Moving

    def action_move(self, by: int) -> None:
        if self._rows:
            self._rows.move(by)
            self._refresh_rows()

    def action_page(self, by: int) -> None:
        self.action_move(by * self._tree.page)

    def action_go(self, to: int) -> None:
        if self._rows:
            self._rows.go(to)
            self._refresh_rows()

    def action_inward(self) -> None:
        if self._rows:
            self._rows.inward()
            self._refresh_rows()

    def action_outward(self) -> None:
        if self._rows:
            self._rows.outward()
            self._refresh_rows()

    @on(ModuleTree.Pressed)
    def _pressed(self, event: ModuleTree.Pressed) -> None:
        if self._rows is None:
            return
        self._rows.go(event.index)
        if event.part == "fold":
            self._rows.toggle_fold(event.index)
        self._refresh_rows()
        if event.part == "mode":
            self.action_toggle_lora()

    def action_range(self) -> None:
        if self._rows:
            self._rows.mark()
            self._refresh_rows()

    # Changing

    def action_toggle_lora(self) -> None:
        names = self._names()
        if names:
            self.session.toggle(names)
            self._changed_selection()

    def action_every_block(self) -> None:
        if self._rows is None:
            return
        manifest = self._rows.shape.manifest
        every = [found for name in self._names() for found in in_every_block(manifest, name)]
        if every:
            self.session.toggle(dict.fromkeys(every), LORA)
            self._changed_selection()

    def action_mode(self) -> None:
        names = self._names()
        if not names:
            return
        entry = ModeEntry(self.session, names, self.finetune.say, self._mode_typed)
        self._tree.entry = entry.press
        self._tree.focus()

    def _mode_typed(self, done: bool) -> None:
        if done:
            self._tree.entry = None
        self._changed_selection()

    def action_undo(self) -> None:
        if not self.session.undo():
            self.finetune.say("nothing to undo")
        self._changed_selection()

    def action_redo(self) -> None:
        if not self.session.redo():
            self.finetune.say("nothing to redo")
        self._changed_selection()

    def _changed_selection(self) -> None:
        if self._rows and self._tree.entry is None:
            self._rows.anchor = None
        self.finetune.session_changed()

    def _names(self) -> tuple[str, ...]:
        """What an edit acts on; says why when that is nothing."""
        if self._rows is None:
            self.finetune.say("no model open: 1 chooses one")
            return ()
        names = self._rows.marked_targets()
        if not names:
            self.finetune.say(
                _why_not(self._rows.shape.manifest, self._rows.row.names[0]), wrong=True
            )
        return names

    # Presets and panes

    def action_presets(self) -> None:
        if self.size.width < _TWO_COLUMNS:
            self._zoomed = "side"
        self._show_tab(1)
        self._presets.point_at_chosen()
        self._presets.focus()

    def action_tab(self, by: int) -> None:
        """The next tab; in one column the tree counts as the first."""
        if self.size.width >= _TWO_COLUMNS:
            self._show_tab((self._tab + by) % len(_TABS))
            return
        here = self._tab + 1 if self._zoomed == "side" else 0
        there = (here + by) % (len(_TABS) + 1)
        self._zoomed = "side" if there else None
        self._show_tab(max(there - 1, 0))
        (self._tree, self._details, self._presets)[there].focus()

    @on(Lines.Clicked)
    def _tab_clicked(self, event: Lines.Clicked) -> None:
        if event.action.startswith("tab("):
            self._show_tab(int(event.action[4:-1]))

    def _show_tab(self, index: int) -> None:
        self._tab = index
        if index == 0 and self._presets.has_focus:
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

    def action_zoom(self) -> None:
        focused = "side" if self._presets.has_focus else "tree"
        self._zoomed = None if self._zoomed else focused
        self._arrange()

    def one_level_out(self) -> bool:
        if self._rows and self._rows.anchor is not None:
            self._rows.anchor = None
        elif self._zoomed:
            self._zoomed = None
            self._show_tab(0)
            self._tree.focus()
        elif not self._tree.has_focus:
            self._show_tab(0)
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
        found = self._rows.find(words, step)
        self._refresh_rows()
        return found

    def _say_found(self, found: int) -> None:
        words = self._tree.found
        if words and not found:
            self.finetune.say(f"no module, class or role is called '{words}'", wrong=True)
        elif words:
            self.finetune.say(f"{found} found · n next · N before · esc done")

    def action_copy(self) -> None:
        if self._rows:
            names = [name for row in self._rows.marked() for name in row.names]
            text = "\n".join(fold(names))
            self.finetune.copy_to_clipboard(text)
            self.finetune.say(f"copied {text}")


def _why_not(manifest: Manifest, name: str) -> str:
    return refusal(manifest, name, Mode.LORA) or "nothing here can be trained"
