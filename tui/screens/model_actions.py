"""What can be done in the Model place."""

from finetune_tui.tui.actions import ActionGroup

_action = ActionGroup("model")

MODEL_ACTIONS = (
    _action(
        "open", "enter l right", "open", "open the model and see its layers", footer=True, shown="⏎"
    ),
    _action("demo", "d", "demo", "open the built-in demo, ready to train", footer=True),
    _action("data", "o", "my data", "choose a data file to train on", "app.open_data", footer=True),
    _action("last", "c", "last run", "watch or continue the last run", "last_run", footer=True),
    _action(
        "folder", "f", "other", "open a folder on this disk, or any id on the Hub", footer=True
    ),
    _action("report", "r", "report", "the architecture report of this model", footer=True),
    _action(
        "difference", "x", "compare", "what differs between two models: here, then on the other"
    ),
    _action("find", "slash", "find", "only models with this in their name"),
    _action("next", "n", "next", "the next model with these words", "move(1)"),
    _action("previous", "N", "before", "the one before with these words", "move(-1)"),
    _action("fits", "m", "fits", "only models that fit here, or all", "filter('fits')"),
    _action("kind", "b", "base", "only base, only instruct, or all", "filter('kind')"),
    _action("size", "z", "size", "only models of a size, or all", "filter('size')"),
    _action("licence", "i", "licence", "only one licence, or all", "filter('licence')"),
    _action("down", "j down", "down", "next model", "move(1)"),
    _action("up", "k up", "up", "model before", "move(-1)"),
    _action("page_down", "pagedown ctrl+d", "page", "one page down", "page(1)"),
    _action("page_up", "pageup ctrl+u", "page up", "one page up", "page(-1)"),
    _action("top", "g home", "top", "first model", "move(-1000000)"),
    _action("bottom", "G end", "bottom", "last model", "move(1000000)", shown="G end"),
    _action("copy", "y", "copy", "copy the model's name"),
)
