"""What a person can do in Runs: everywhere in the place, and with the runs of the list."""

from finetune_tui.tui.actions import Action, ActionGroup

_PAGE = 10

_place = ActionGroup("runs")
_list = ActionGroup("run_list", "the list of runs")

PLACE_ACTIONS: tuple[Action, ...] = (
    _place("undo", "u", "undo", "take back what was changed last"),
    _place("redo", "U", "redo", "do again what was taken back"),
    _place("queue", "Q", "queue", "the queue: specs that wait for their turn", "view('queue')"),
    _place("bin", "b", "bin", "the bin: runs that were deleted", "view('bin')"),
    _place(
        "on_end", "E", "when one ends", "the command that runs when a run ends", "view('on_end')"
    ),
)

LIST_ACTIONS: tuple[Action, ...] = (
    _list(
        "open",
        "enter l right",
        "open",
        "watch this run in Train; of a comparison that finished, what it found",
        footer=True,
        shown="enter",
    ),
    _list("mark", "space", "mark", "mark this run, or not", footer=True),
    _list("curves", "c", "curves", "the curves of the marked runs, or of this one", footer=True),
    _list(
        "difference", "D", "difference", "what two marked runs were asked differently", footer=True
    ),
    _list("compare", "C", "compare…", "base against tuned on the same rows", footer=True),
    _list("results", "R", "results", "what its comparisons found, row by row", footer=True),
    _list("export", "x", "export…", "its result in a folder of its own, or on the Hub"),
    _list("try_run", "6", "try", "talk with this run in Try"),
    _list("filter", "slash", "filter", "show only runs with these words", footer=True),
    _list("resume", "r", "resume", "go on from its newest checkpoint", footer=True),
    _list("pause", "p", "pause…", "hold it, or let it go with a checkpoint", footer=True),
    _list("go_on", "p r", "go on", "go on with what is paused", footer=True, shown="p"),
    _list(
        "delete",
        "X delete",
        "delete…",
        "delete the marked runs, or this one, into the bin",
        footer=True,
        shown="X",
    ),
    _list("watch", "w", "watch", "its monitor in Train, also when it has a result to show"),
    _list("stop", "S", "stop…", "stop it after this step, with a checkpoint"),
    _list("mark_range", "v", "range", "mark all from here to where you move"),
    _list("sort", "s", "sort", "sort by the next column"),
    _list("archived", "A", "archived", "show the archived runs, or the others"),
    _list("name", "n", "name", "give this run a name"),
    _list("note", "N", "note", "write a note on this run"),
    _list("tags", "t", "tags", "tags of this run, or more tags for the marked ones"),
    _list("archive", "a", "archive", "put it out of the list without deleting, or back"),
    _list("duplicate", "d", "duplicate", "open its settings as a new spec in Train"),
    _list("copy", "y", "copy id", "copy the run's name"),
    _list("copy_path", "Y", "copy path", "copy the path of the run's folder"),
    _list("down", "j down", "down", "the run below", "move(1)"),
    _list("up", "k up", "up", "the run above", "move(-1)"),
    _list("page_down", "pagedown", "page down", "ten runs on", f"move({_PAGE})"),
    _list("page_up", "pageup", "page up", "ten runs back", f"move(-{_PAGE})"),
    _list("top", "g home", "top", "the first of the list", "move(-1000000)"),
    _list("bottom", "G end", "bottom", "the last of the list", "move(1000000)"),
)

LABELLING = frozenset({"name", "note", "tags", "archive"})
"""What writes into the folder of a run."""

OF_A_RUN = frozenset(
    {
        *("open", "watch", "mark", "curves", "mark_range"),
        *("duplicate", "delete", "copy", "copy_path"),
        *LABELLING,
    }
)
"""What needs a run under the cursor and no more."""
