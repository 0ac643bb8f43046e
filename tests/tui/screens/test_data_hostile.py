"""Data that wants more than to be read: it is shown sign by sign, in bounded time, and never obeyed."""

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from textual.pilot import Pilot

from finetune_tui.core.data.report import report_of
from finetune_tui.core.data.token_report import TokenExample, TokenQuestion, TokenReport
from finetune_tui.core.errors import UserError
from finetune_tui.core.text import visible
from finetune_tui.core.tuning.spec import Spec
from finetune_tui.tui.app import FinetuneApp
from finetune_tui.tui.screens.data_examples import counted_example, raw_example
from finetune_tui.tui.session import Session
from finetune_tui.tui.widgets.lines import Lines, cells, text_of
from tests.tui.runs_fixture import demo_session, fixed_services, settle, show

ESCAPES = "\x1b[2J\x1b]0;owned\x07\x9b31m\x1b]52;c;aGk=\x1b\\\r\x08\x7f"
REORDERING = "\u202etxt.exe\u2066x\u2069\u200b\ufeff"
MARKUP = "[bold]b[/bold] [@click=app.quit]q[/] [/] [red"


def session_of(path: Path, *rows: object) -> Session:
    texts = (row if isinstance(row, str) else json.dumps(row) for row in rows)
    path.write_text("\n".join(texts) + "\n")
    session = demo_session()
    session.use_data(report_of([path]))
    return session


def drawn(app: FinetuneApp) -> str:
    """What is sent to the terminal, cell by cell, without styles."""
    width, height = app.size
    strips = app.screen._compositor.render_strips()
    assert len(strips) == height
    assert all(strip.cell_length == width for strip in strips)
    return "\n".join(strip.text for strip in strips)


def acting(text: str) -> set[str]:
    """The characters in it that a terminal would obey or hide."""
    return {one for one in text if one != "\n" and visible(one) != one}


@pytest.mark.parametrize("size", [(80, 24), (120, 36)])
async def test_nothing_of_a_row_or_a_name_reaches_the_terminal_raw(
    home: Path, size: tuple[int, int]
) -> None:
    evil = ESCAPES + REORDERING + MARKUP
    session = session_of(
        Path("e\x1b[31m\u202evil[bold].jsonl"),
        {"prompt": evil, "completion": evil, evil: 1},
        '{"\x1b[31m[red]": 1}',
        {evil: evil},
        {"prompt": evil, "completion": 7},
    )
    app = FinetuneApp(fixed_services(home), session)
    async with app.run_test(size=size) as pilot:
        await show(pilot, "data")
        assert not acting(drawn(app))
        assert "[bold]" in drawn(app)
        for key in ("n", "b", "right_square_bracket", "G"):
            await pilot.press(key)
            await settle(pilot)
            assert not acting(drawn(app)), key


async def test_an_example_written_as_a_link_is_only_text(home: Path) -> None:
    row = {"prompt": "[@click=app.quit]", "completion": "[link=https://x.example]here[/link]"}
    app = FinetuneApp(fixed_services(home), session_of(Path("t.jsonl"), row))
    async with app.run_test(size=(120, 36)) as pilot:
        await show(pilot, "data")
        example = app.query_one("#data-example", Lines)
        assert "[@click=app.quit]" in example.words
        assert "[link=https://x.example]here[/link]" in example.words
        for y in range(len(example.lines)):
            await pilot.click(example, offset=(5, y))
        await settle(pilot)
        assert app.is_running
        assert app.place_name == "data"


@pytest.mark.parametrize("fails", [False, True])
async def test_words_of_another_process_are_cleaned(home: Path, fails: bool) -> None:
    told = threading.Event()

    def count(
        _question: TokenQuestion, progress: Callable[[str], None], cancelled: threading.Event
    ) -> TokenReport:
        progress(ESCAPES + REORDERING + "reading [bold]" + "x" * 10_000)
        told.set()
        if not fails:
            cancelled.wait(30)
        raise UserError(ESCAPES + "bad [bold]", where=REORDERING, hint=ESCAPES)

    app = FinetuneApp(
        fixed_services(home, count_tokens=count), session_of(Path("t.jsonl"), {"text": "a"})
    )
    async with app.run_test(size=(80, 24)) as pilot:
        await settle_until_told(pilot, app, told)
        expected = "bad [bold]" if fails else "reading [bold]"
        await until(pilot, lambda: expected in app.query_one("#data-report", Lines).words)
        assert not acting(drawn(app))


async def settle_until_told(pilot: Pilot[Any], app: FinetuneApp, told: threading.Event) -> None:
    await until(pilot, lambda: app.returning is not None)
    await app.action_show_place("data")
    await until(pilot, told.is_set)


async def until(pilot: Pilot[Any], condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        await pilot.pause(0.01)


@pytest.mark.parametrize("character", ["x", "日", "e\u0301", " ", "\x00"], ids=ascii)
@pytest.mark.parametrize("with_borders", [False, True])
def test_a_token_as_large_as_a_book_keeps_to_its_width(character: str, with_borders: bool) -> None:
    tokens = (("a", False), (character * 100_000, True), ("b", False))
    began = time.process_time()
    lines = counted_example(TokenExample("t.jsonl:1", tokens, 0), 58, with_borders)
    assert time.process_time() - began < 5
    assert max(map(cells, lines)) <= 58


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(
    st.text(
        alphabet="ab \n\t\r\x1b[]@\u0301\u202e\u200d日👍🏽\U0001f468", min_size=1, max_size=120
    ),
    st.sampled_from([24, 60]),
)
def test_a_raw_row_of_any_text_fits_and_acts_on_nothing(
    tmp_path: Path, text: str, width: int
) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text(json.dumps({"prompt": text, "completion": "c"}) + "\n")
    [row] = report_of([path]).examples
    for one in raw_example(row, Spec(), width)[4:]:
        assert cells(one) <= width
        assert not acting(text_of(one))
