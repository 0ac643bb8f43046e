"""What can be done in the Model place."""

from finetune_tui.tui.actions import Action

_G = "model"
MODEL_ACTIONS = (
    Action(
        "model.open",
        ("enter", "l", "right"),
        "open",
        "open the model and see its layers",
        _G,
        "open",
        True,
        "⏎",
    ),
    Action(
        "model.demo", ("d",), "demo", "open the built-in demo, ready to train", _G, "demo", True
    ),
    Action(
        "model.data", ("o",), "my data", "choose a data file to train on", _G, "app.open_data", True
    ),
    Action(
        "model.last", ("c",), "last run", "watch or continue the last run", _G, "last_run", True
    ),
    Action(
        "model.folder",
        ("f",),
        "other",
        "open a folder on this disk, or any id on the Hub",
        _G,
        "folder",
        True,
    ),
    Action(
        "model.report",
        ("r",),
        "report",
        "the architecture report of this model",
        _G,
        "report",
        True,
    ),
    Action(
        "model.difference",
        ("x",),
        "compare",
        "what differs between two models: here, then on the other",
        _G,
        "difference",
    ),
    Action("model.find", ("slash",), "find", "only models with this in their name", _G, "find"),
    Action("model.fits", ("m",), "fits", "only models that fit here, or all", _G, "filter('fits')"),
    Action("model.kind", ("b",), "base", "only base, only instruct, or all", _G, "filter('kind')"),
    Action("model.size", ("z",), "size", "only models of a size, or all", _G, "filter('size')"),
    Action("model.licence", ("i",), "licence", "only one licence, or all", _G, "filter('licence')"),
    Action("model.down", ("j", "down"), "down", "next model", _G, "move(1)"),
    Action("model.up", ("k", "up"), "up", "model before", _G, "move(-1)"),
    Action("model.page_down", ("pagedown", "ctrl+d"), "page", "one page down", _G, "page(1)"),
    Action("model.page_up", ("pageup", "ctrl+u"), "page up", "one page up", _G, "page(-1)"),
    Action("model.top", ("g", "home"), "top", "first model", _G, "move(-1000000)"),
    Action(
        "model.bottom",
        ("G", "shift+g", "end"),
        "bottom",
        "last model",
        _G,
        "move(1000000)",
        shown="G end",
    ),
    Action("model.copy", ("y",), "copy", "copy the model's name", _G, "copy"),
)
