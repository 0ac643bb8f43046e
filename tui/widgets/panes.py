"""Pieces that the panes beside the tree share."""

from finetune_tui.tui.screens.checks import Check
from finetune_tui.tui.widgets.lines import Line, Span, dim, key, line, wrap

_BAR = Span("│", "rule")


def barred(body: list[Line], height: int, indent: str = " ") -> list[Line]:
    """Body lines behind the bar that parts the columns, as many as there is room for."""
    lines = [line(_BAR, indent, each) for each in body[:height]]
    return lines + [line(_BAR)] * (height - len(lines))


def check_words(found: list[Check], width: int) -> list[Line]:
    """All marks in one line, then in words only what is not as it should be."""
    marks = {"good": Span("✓", "good"), "warn": Span("!", "warn"), "bad": Span("✗", "bad")}
    summary: list[Span | str] = []
    for check in found:
        summary += [marks[check.verdict], f"{check.about} "]
    lines = [line(*summary)]
    for verdict in ("bad", "warn"):
        for check in found:
            if check.verdict == verdict:
                first, *rest = wrap(check.words, width - 2)
                lines.append(line(marks[verdict], " ", first))
                lines += [line("  ", words) for words in rest]
    if len(lines) == 1:
        lines.append(
            line(
                dim("ready: "), key("4", "Train", "app.show_place('train')"), dim(", then s starts")
            )
        )
    return lines
