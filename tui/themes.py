"""One dark and one light theme, in the 256 colours that every terminal over SSH has."""

from textual.theme import Theme

DARK = Theme(
    name="finetune-dark",
    primary="#5fafd7",
    secondary="#87afaf",
    accent="#5fafd7",
    foreground="#d0d0d0",
    background="#1c1c1c",
    surface="#262626",
    panel="#303030",
    success="#87af5f",
    warning="#d7af5f",
    error="#ff5f5f",
    dark=True,
    variables={"muted": "#8a8a8a", "line": "#585858", "cursor": "#3a3a3a", "mark": "#303a4a"},
)

LIGHT = Theme(
    name="finetune-light",
    primary="#005f87",
    secondary="#5f8787",
    accent="#005f87",
    foreground="#303030",
    background="#eeeeee",
    surface="#e4e4e4",
    panel="#dadada",
    success="#005f00",
    warning="#875f00",
    error="#af0000",
    dark=False,
    variables={"muted": "#6c6c6c", "line": "#a8a8a8", "cursor": "#d0d0d0", "mark": "#d7e4f0"},
)

FALLBACKS = {name: DARK.variables[name] for name in ("muted", "line", "cursor", "mark")}
"""For themes that do not know our own names."""
