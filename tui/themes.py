"""Dark and light in the 256 colours that every terminal over SSH has, and the terminal's own colours."""

from textual.theme import BUILTIN_THEMES, Theme

_PLAIN_STYLES = {"muted-style": "none", "cursor-style": "none", "mark-style": "none"}

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
    variables={
        "muted": "#8a8a8a",
        "line": "#585858",
        "cursor": "#3a3a3a",
        "mark": "#303a4a",
        **_PLAIN_STYLES,
    },
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
    variables={
        "muted": "#6c6c6c",
        "line": "#a8a8a8",
        "cursor": "#d0d0d0",
        "mark": "#d7e4f0",
        **_PLAIN_STYLES,
    },
)

ANSI = Theme(
    name="finetune-ansi",
    ansi=True,
    primary="ansi_blue",
    secondary="ansi_magenta",
    accent="ansi_cyan",
    foreground="ansi_default",
    background="ansi_default",
    surface="ansi_default",
    panel="ansi_default",
    boost="ansi_default",
    success="ansi_green",
    warning="ansi_yellow",
    error="ansi_red",
    dark=True,
    variables={
        **BUILTIN_THEMES["ansi-dark"].variables,
        "muted": "ansi_default",
        "line": "ansi_default",
        "cursor": "ansi_default",
        "mark": "ansi_default",
        "muted-style": "dim",
        "cursor-style": "reverse",
        "mark-style": "underline",
        "input-cursor-background": "ansi_default",
        "input-cursor-foreground": "ansi_default",
        "input-cursor-text-style": "reverse",
        "input-selection-background": "ansi_default",
        "input-selection-foreground": "ansi_default",
        "block-cursor-foreground": "ansi_default",
        "block-cursor-background": "ansi_default",
        "block-cursor-text-style": "reverse",
        "screen-selection-background": "ansi_blue",
        "screen-selection-foreground": "ansi_white",
    },
)
"""No shade of it is ours: what other themes say by a colour of ours it says by dim, reverse and underline."""

THEMES = {"dark": DARK, "light": LIGHT, "ansi": ANSI}
"""By the name that the settings hold."""

FALLBACKS = dict(DARK.variables)
"""For themes that do not know our own names."""
