"""Text broken into lines as it stands: breaks and indents of prompts and answers mean something."""

from functools import lru_cache

from rich.cells import cell_len, chop_cells

from finetune_tui.core.text import plain_lines

_LONGEST = 40_000  # characters that are shown


@lru_cache(maxsize=64)
def broken(text: str, width: int) -> tuple[str, ...]:
    """Lines of at most `width` cells, broken at spaces where that can be; what begins a line stays there.

    The text is made plain; empty lines at its end are left out.
    """
    rows: list[str] = []
    for whole in plain_lines(text[:_LONGEST]).split("\n"):
        rest = whole
        while cell_len(rest) > width:
            head = chop_cells(rest[: 2 * width], width)[0]
            cut = head.rfind(" ") + 1
            if rest[len(head) : len(head) + 1] == " " or not head[:cut].strip():
                cut = len(head)
            rows.append(rest[:cut].rstrip())
            rest = rest[cut:].removeprefix(" ")
        rows.append(rest.rstrip())
    while len(rows) > 1 and not rows[-1]:
        rows.pop()
    return tuple(rows)
