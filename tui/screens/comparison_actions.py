"""What a person can do with a comparison that is shown."""

from finetune_tui.tui.actions import Action, ActionGroup

_action = ActionGroup("comparison")

COMPARISON_ACTIONS: tuple[Action, ...] = (
    _action("read", "enter", "read", "this row in full, or the list again", footer=True),
    _action("filter", "f", "verdict", "only fixed, regressed… rows", "filter(1)", True, "← →"),
    _action("filter_back", "F", "verdict before", "the verdict before", "filter(-1)"),
    _action("next", "l right", "next", "the next of these rows, or the next verdict", "turn(1)"),
    _action("before", "h left", "before", "the one before", "turn(-1)"),
    _action("find", "slash", "find", "only rows in which these words stand", footer=True),
    _action("next_tab", "right_square_bracket", "tabs", "the next tab", "tab(1)", True, "[ ]"),
    _action("last_tab", "left_square_bracket", "tab before", "the tab before", "tab(-1)"),
    _action("choose", "c", "others", "other comparisons of this run", footer=True),
    _action("again", "C", "compare", "compare again, otherwise", footer=True),
    _action("copy", "y", "copy", "copy this row: prompt, expected and both answers", footer=True),
    _action("copy_path", "Y", "copy path", "copy the folder of this comparison"),
    _action("down", "j down n", "down", "the row below; in a row a line down", "move(1)"),
    _action("up", "k up N", "up", "the row above; in a row a line up", "move(-1)"),
    _action("page_down", "pagedown space", "page down", "a page on", "page(1)"),
    _action("page_up", "pageup", "page up", "a page back", "page(-1)"),
    _action("top", "g home", "first", "the first", "move(-1000000)"),
    _action("bottom", "G end", "last", "the last", "move(1000000)"),
)

OF_A_ROW = frozenset({"read", "copy"})
"""What needs a row under the cursor."""

OF_ROWS = frozenset({"filter", "find", "turn"})
"""What needs a list of rows."""
