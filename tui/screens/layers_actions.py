"""What can be done in the Layers place."""

from finetune_tui.tui.actions import Action

_G = "layers"
LAYERS_ACTIONS = (
    Action(
        "layers.toggle",
        ("space",),
        "lora",
        "lora ⇄ frozen, here or on the range",
        _G,
        "toggle_lora",
        footer=True,
    ),
    Action(
        "layers.mode",
        ("m",),
        "mode",
        "set the mode: l lora, f full, b bias, 0 frozen; digits for the rank",
        _G,
        "mode",
        footer=True,
    ),
    Action("layers.range", ("v",), "range", "mark a range of lines", _G, "range", footer=True),
    Action(
        "layers.all",
        ("a",),
        "all blocks",
        "the same in every block; again: frozen there",
        _G,
        "every_block",
        footer=True,
    ),
    Action("layers.presets", ("p",), "presets", "choose a preset", _G, "presets", footer=True),
    Action(
        "layers.report", ("r",), "report", "the architecture report of this model", _G, "report"
    ),
    Action(
        "layers.find",
        ("slash",),
        "find",
        "find modules by name, role, class or mode",
        _G,
        "find",
        footer=True,
    ),
    Action("layers.next", ("n",), "next", "next match", _G, "find_next(1)"),
    Action(
        "layers.previous",
        ("N", "shift+n"),
        "previous",
        "match before",
        _G,
        "find_next(-1)",
        shown="N",
    ),
    Action(
        "layers.mark_found",
        ("A", "shift+a"),
        "mark found",
        "mark everything that was found, to set it as one",
        _G,
        "mark_found",
        shown="A",
    ),
    Action("layers.undo", ("u",), "undo", "undo the last change", _G, "undo", footer=True),
    Action("layers.redo", ("U", "shift+u"), "redo", "redo what was undone", _G, "redo", shown="U"),
    Action("layers.down", ("j", "down"), "down", "one line down", _G, "move(1)"),
    Action("layers.up", ("k", "up"), "up", "one line up", _G, "move(-1)"),
    Action("layers.page_down", ("pagedown", "ctrl+d"), "page down", "one page down", _G, "page(1)"),
    Action("layers.page_up", ("pageup", "ctrl+u"), "page up", "one page up", _G, "page(-1)"),
    Action("layers.top", ("g", "home"), "top", "first line", _G, "go(0)"),
    Action(
        "layers.bottom",
        ("G", "shift+g", "end"),
        "bottom",
        "last line",
        _G,
        "go(1000000000)",
        shown="G end",
    ),
    Action("layers.in", ("l", "right", "enter"), "open", "unfold, or step in", _G, "inward"),
    Action("layers.out", ("h", "left"), "fold", "fold, or step out", _G, "outward"),
    Action(
        "layers.in_all",
        ("L", "shift+l"),
        "unfold all",
        "unfold everything below this line",
        _G,
        "unfold_all",
        shown="L",
    ),
    Action(
        "layers.out_all",
        ("H", "shift+h"),
        "fold all",
        "fold the whole tree",
        _G,
        "fold_all",
        shown="H",
    ),
    Action("layers.tab_next", ("right_square_bracket",), "tab", "next pane tab", _G, "tab(1)"),
    Action("layers.tab_before", ("left_square_bracket",), "tab", "pane tab before", _G, "tab(-1)"),
    Action(
        "layers.zoom", ("plus",), "zoom", "give the whole width to this pane, or back", _G, "zoom"
    ),
    Action("layers.copy", ("y",), "copy", "copy the full names of these modules", _G, "copy"),
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
