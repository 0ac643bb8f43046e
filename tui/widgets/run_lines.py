"""What tells up to six runs apart wherever they stand together: a glyph and a colour each."""

GLYPHS = ("●", "▲", "■", "◆", "○", "□")
MOST = len(GLYPHS)
"""How many runs one plot shows."""

_COLOURS = ("accent", "warning", "success", "error", "foreground", "secondary")


def run_style(place: int) -> str:
    """The style of the run at this place of a widget with `run_css` and RUN_CLASSES."""
    return f"run{place + 1}" if place < MOST else "dim"


RUN_CLASSES = {f"lines--{run_style(place)}" for place in range(MOST)}


def run_css(widget: str) -> str:
    """The colours for a class of Lines."""
    rules = (
        f"{widget} .lines--{run_style(place)} {{ color: ${colour}; }}"
        for place, colour in enumerate(_COLOURS)
    )
    return "\n".join(rules)


def glyph_of(place: int) -> str:
    """The glyph of the run at this place; a plus for those beyond what one plot shows."""
    return GLYPHS[place] if place < MOST else "+"
