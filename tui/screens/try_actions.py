"""What a person can do in Try."""

from finetune_tui.tui.actions import Action, ActionGroup

_action = ActionGroup("try")

TRY_ACTIONS: tuple[Action, ...] = (
    _action("stop", "S", "stop", "stop the answers where they are", footer=True, shown="esc"),
    _action("write", "enter i", "write", "write a prompt", footer=True, shown="⏎"),
    _action("wait", "w", "wait", "wait until there is room, then ask", footer=True),
    _action("on_cpu", "c", "on the CPU", "answer on the CPU, slowly", footer=True),
    _action("example", "x", "example", "ask a held-out row of the run's data", footer=True),
    _action("keep", "K", "keep", "keep prompt and answer as an example to train on", footer=True),
    _action(
        "settings",
        "s",
        "sampling",
        "temperature, length and how else an answer is drawn",
        footer=True,
    ),
    _action("choose_run", "r", "run", "talk with another run", footer=True),
    _action(
        "again", "a", "again", "ask the last prompt again, above temperature 0 with another seed"
    ),
    _action(
        "next_example",
        "l right",
        "next",
        "ask the next held-out row",
        "turn_example(1)",
        shown="l →",
    ),
    _action(
        "example_before",
        "h left",
        "before",
        "ask the held-out row before",
        "turn_example(-1)",
        shown="h ←",
    ),
    _action("new", "n", "new", "begin a new conversation"),
    _action("copy", "y", "copy", "copy the answer of the side in front"),
    _action("copy_all", "Y", "copy all", "copy the whole conversation"),
    _action(
        "other_side",
        "right_square_bracket left_square_bracket",
        "side",
        "base or tuned to the front",
        footer=True,
        shown="[ ]",
    ),
    _action("sides", "b", "who answers", "both, the tuned model alone, the base alone"),
    _action("style", "t", "as a chat", "put the prompt as a turn of a chat, or as it stands"),
    _action("system", "p", "system", "what the model is told before a chat begins"),
    _action("where", "d", "where", "on which GPU, or on the CPU"),
    _action("free", "F", "free", "give back the memory of the model"),
    _action("zoom", "plus", "zoom", "the whole width for one side, or back"),
    _action("down", "j down", "down", "down a line", "move(1)"),
    _action("up", "k up", "up", "up a line", "move(-1)"),
    _action("page_down", "pagedown", "page down", "a page down", "move(10)"),
    _action("page_up", "pageup", "page up", "a page up", "move(-10)"),
    _action("top", "g home", "top", "to the first turn", "move(-1000000)"),
    _action("bottom", "G end", "bottom", "to the last turn", "move(1000000)"),
)

NEED_RUN = frozenset(
    {"write", "example", "turn_example", "settings", "style", "system", "where", "sides"}
)
"""What needs a run to talk with."""
