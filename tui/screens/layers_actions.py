"""What can be done in the Layers place."""

from finetune_tui.tui.actions import ActionGroup
from finetune_tui.tui.screens.choosing import memory_actions

_action = ActionGroup("layers")

LAYERS_ACTIONS = (
    _action(
        "toggle", "space", "lora", "lora ⇄ frozen, here or on the range", "toggle_lora", footer=True
    ),
    _action(
        "mode",
        "m",
        "mode",
        "set the mode: l lora, f full, b bias, 0 frozen; digits for the rank",
        footer=True,
    ),
    _action("range", "v", "range", "mark a range of lines", footer=True),
    _action(
        "all",
        "a",
        "all blocks",
        "the same in every block; again: frozen there",
        "every_block",
        footer=True,
    ),
    _action("presets", "p", "presets", "choose a preset", footer=True),
    _action("report", "r", "report", "the architecture report of this model"),
    _action("find", "slash", "find", "find modules by name, role, class or mode", footer=True),
    _action("next", "n", "next", "next match", "find_next(1)"),
    _action("previous", "N", "previous", "match before", "find_next(-1)", shown="N"),
    _action(
        "mark_found",
        "A",
        "mark found",
        "mark everything that was found, to set it as one",
        shown="A",
    ),
    _action("undo", "u", "undo", "undo the last change", footer=True),
    *memory_actions(_action),
    _action("parts", "i", "in numbers", "memory in numbers for each part, or as bars"),
    _action("redo", "U", "redo", "redo what was undone", shown="U"),
    _action("down", "j down", "down", "one line down", "move(1)"),
    _action("up", "k up", "up", "one line up", "move(-1)"),
    _action("page_down", "pagedown ctrl+d", "page down", "one page down", "page(1)"),
    _action("page_up", "pageup ctrl+u", "page up", "one page up", "page(-1)"),
    _action("top", "g home", "top", "first line", "go(0)"),
    _action("bottom", "G end", "bottom", "last line", "go(1000000000)", shown="G end"),
    _action("in", "l right enter", "open", "unfold, or step in", "inward"),
    _action("out", "h left", "fold", "fold, or step out", "outward"),
    _action(
        "in_all",
        "L",
        "unfold all",
        "unfold everything below this line",
        "unfold_all",
        shown="L",
    ),
    _action("out_all", "H", "fold all", "fold the whole tree", "fold_all", shown="H"),
    _action("tab_next", "right_square_bracket", "tab", "next pane tab", "tab(1)"),
    _action("tab_before", "left_square_bracket", "tab", "pane tab before", "tab(-1)"),
    _action("zoom", "plus", "zoom", "give the whole width to this pane, or back"),
    _action("copy", "y", "copy", "copy the full names of these modules"),
)

OF_THE_TREE = frozenset(
    (
        "toggle_lora",
        "mode",
        "range",
        "mark_found",
        "every_block",
        "inward",
        "outward",
        "unfold_all",
        "fold_all",
        "copy",
        "presets",
    )
)
"""What acts on the row under the cursor, and waits while another pane has the focus."""
