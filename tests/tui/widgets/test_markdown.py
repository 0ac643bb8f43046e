"""Our own reports as lines."""

import pytest

from finetune_tui.core.models.catalog import catalog
from finetune_tui.core.models.report import report
from finetune_tui.tui.widgets.lines import cells, text_of
from finetune_tui.tui.widgets.markdown import inline, markdown_lines

TEXT = """# A model

- blocks: `28`, all
  alike
- **tied**

| part | share |
| --- | --- |
| `mlp` | 74.9% |
| all | 100% |
"""


def shown(text: str, width: int) -> list[str]:
    return [text_of(line).rstrip() for line in markdown_lines(text, width)]


def test_headings_lists_and_tables() -> None:
    assert shown(TEXT, 24) == [
        "─A model────────────────",
        "",
        "· blocks: 28, all alike",
        "· tied",
        "",
        "part  share",
        "mlp   74.9%",
        "all    100%",
    ]


def test_code_and_bold_are_styled_without_their_marks() -> None:
    styles = [(span.text, span.style) for span in inline("a `b` **c**")]
    assert styles == [("a ", ""), ("b", "accent"), (" ", ""), ("c", "strong")]


def test_what_acts_on_a_terminal_is_gone() -> None:
    assert shown("a\x1b[31mb", 20) == ["ab"]


@pytest.mark.parametrize("width", [20, 38, 120])
@pytest.mark.parametrize("name", ["microsoft/phi-2", "Qwen/Qwen3-30B-A3B"])
def test_a_report_fits_every_width(name: str, width: int) -> None:
    lines = markdown_lines(report(catalog()[name].manifest()), width)
    assert max(cells(line) for line in lines) <= width
    assert any("Freezing recipes" in text_of(line)[:20] for line in lines)
