"""What a person can do in Train: some of it before a run, some of it while one is watched."""

from finetune_tui.tui.actions import Action, ActionGroup
from finetune_tui.tui.screens.choosing import memory_actions

_action = ActionGroup("train")


TRAIN_ACTIONS: tuple[Action, ...] = (
    _action("start", "s", "start", "start a run of these settings", footer=True),
    _action("edit", "enter", "edit", "type a value, or turn a choice", footer=True),
    _action("turn_on", "l right", "next", "the next value of a choice", "turn(1)"),
    _action("turn_back", "h left", "back", "the value before of a choice", "turn(-1)"),
    _action(
        "rehearse", "R", "rehearse", "a few real steps, to know memory, time and disk", footer=True
    ),
    *memory_actions(_action),
    _action("undo", "u", "undo", "undo the last change of what trains or of a setting"),
    _action("redo", "U", "redo", "redo what was undone", shown="U"),
    _action(
        "gpu",
        "d",
        "GPU…",
        "choose the GPU, by what is free on it; without one, the CPU",
        footer=True,
    ),
    _action("queue", "Q", "queue", "put these settings in the queue, to run in their turn"),
    _action("watch", "w", "watch", "the monitor of the run that was watched last", footer=True),
    _action("pause", "p", "pause…", "hold, or checkpoint and let go of the machine", footer=True),
    _action(
        "release", "P", "let go", "write a checkpoint and free the machine; p goes on from there"
    ),
    _action("go_on", "p r", "go on", "go on with what is paused", footer=True, shown="p"),
    _action("stop", "S", "stop…", "stop after this step, with a checkpoint", footer=True),
    _action("checkpoint", "c", "checkpoint", "write a checkpoint now", footer=True),
    _action("resume", "r", "resume", "go on from the newest checkpoint", footer=True),
    _action("results", "R", "results", "what its comparisons found, row by row", footer=True),
    _action("compare", "C", "compare…", "base against tuned on the same rows", footer=True),
    _action("export", "X", "export…", "its result in a folder of its own, or on the Hub"),
    _action("try_run", "6", "try", "talk with this run in Try"),
    _action("own_data", "o", "data", "train on data of your own", footer=True),
    _action("new_run", "n", "new run", "the settings, for another run", footer=True),
    _action("toggle_log", "y", "log", "the loss on a log scale, or not"),
    _action("toggle_smooth", "s", "smooth", "the loss smoothed, or as it came"),
    _action("toggle_time", "x", "axis", "steps or time along the plot"),
    _action("next_tab", "right_square_bracket", "tabs", "the next tab", "turn_tab(1)", True, "[ ]"),
    _action("last_tab", "left_square_bracket", "tab", "the tab before", "turn_tab(-1)"),
    _action("difference", "D", "diff", "what differs from the run before", "show_tab('diff')"),
    _action("output", "l", "output", "what the worker printed", "show_tab('output')"),
    _action("find", "slash", "find", "find words in what this tab shows", footer=True),
    _action("find_next", "n", "next", "the next of what was found", "find_next(1)", footer=True),
    _action("find_before", "N", "before", "the one before of what was found", "find_next(-1)"),
    _action("pager", "L", "pager", "all of what this tab shows, in $PAGER"),
    _action("copy_path", "Y", "copy path", "copy the path of the adapter, or of the run"),
    _action("down", "j down", "down", "down a line", "move(1)"),
    _action("up", "k up", "up", "up a line", "move(-1)"),
    _action("page_down", "pagedown ctrl+d", "page down", "a page down", "page(1)"),
    _action("page_up", "pageup ctrl+u", "page up", "a page up", "page(-1)"),
    _action("zoom", "plus", "zoom", "the whole height for the text below, or back"),
    _action("top", "g home", "top", "to the first line", "move(-100000)"),
    _action("bottom", "G end", "bottom", "to the last line", "move(100000)"),
)


# The methods that only work while the settings are shown, and those of the monitor.
SETTINGS = frozenset(
    {
        *("fit", "simulate", "card", "undo", "redo", "start", "edit"),
        *("turn", "watch", "rehearse", "gpu", "queue"),
    }
)
MONITOR = frozenset(
    {
        "pause",
        "go_on",
        "release",
        "stop",
        "checkpoint",
        "resume",
        "own_data",
        "results",
        "compare",
        "export",
        "try_run",
        "new_run",
        "toggle_log",
        "toggle_smooth",
        "toggle_time",
        "turn_tab",
        "show_tab",
        "copy_path",
        "find",
        "find_next",
        "pager",
        "zoom",
    }
)
