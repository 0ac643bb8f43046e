"""The Data place as pictures: daylight, hostile text, many bad rows, and counting under way."""

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from finetune_tui.core.data.report import report_of
from finetune_tui.core.data.token_report import TokenQuestion, TokenReport
from finetune_tui.core.errors import UserError
from finetune_tui.tui.app import FinetuneApp
from finetune_tui.tui.session import Session
from finetune_tui.tui.themes import LIGHT
from tests.tui.runs_fixture import demo_session, fixed_services
from tests.tui.screens.test_pictures_data import chats
from tests.tui.screens.test_pictures_train import Snap, picture, size_name

SMALL, LARGE = (80, 24), (120, 36)
SIZES = [SMALL, pytest.param(LARGE, marks=pytest.mark.soak)]


def session_of(name: str, rows: list[str]) -> Session:
    Path(name).write_text("\n".join(rows) + "\n")
    session = demo_session()
    session.use_data(report_of([name]))
    return session


@pytest.mark.soak
def test_in_daylight(snap_compare: Snap, home: Path) -> None:
    assert picture(snap_compare, home, chats(), "data", LARGE, "n", theme=LIGHT.name)


@pytest.mark.parametrize("size", SIZES, ids=size_name)
def test_many_bad_rows(snap_compare: Snap, home: Path, size: tuple[int, int]) -> None:
    rows = [json.dumps({"text": f"row {number}"}) for number in range(50)]
    rows[5:45] = ['{"text": ', '{"text": 3}', "[1]", '{"words": "a"}'] * 10
    session = session_of("notes.jsonl", rows)
    assert picture(snap_compare, home, session, "data", size, "pagedown")


@pytest.mark.parametrize("size", SIZES, ids=size_name)
def test_hostile_text(snap_compare: Snap, home: Path, size: tuple[int, int]) -> None:
    texts = (
        ("\x1b[31mred\x1b]0;title\x07", "[bold]no[/bold] [@click=app.quit]quit[/]\u202ekcab"),
        ("日本語のテキスト " * 8, "e\u0301" * 40 + " \u200b\u00ad"),
    )
    rows = [json.dumps({"prompt": prompt, "completion": reply}) for prompt, reply in texts]
    rows += ['{"\x1b[31m": 1}', "[" * 500, json.dumps({"[red]x[/red]": "\u202e"})]
    session = session_of("[bold]\x1b[31mhostile.jsonl", rows)
    assert picture(snap_compare, home, session, "data", size, "n")


@pytest.mark.soak
def test_without_a_model(snap_compare: Snap, home: Path) -> None:
    session = Session()
    data = chats().data
    assert data is not None
    session.use_data(data)
    assert picture(snap_compare, home, session, "data", LARGE)


def test_while_it_is_counted(snap_compare: Snap, home: Path) -> None:
    was_told = threading.Event()

    def count(
        _question: TokenQuestion, progress: Callable[[str], None], cancelled: threading.Event
    ) -> TokenReport:
        progress("tokenising 40%")
        was_told.set()
        cancelled.wait(30)
        raise UserError("cancelled")

    async def prepare(pilot: Pilot[Any]) -> None:
        assert isinstance(pilot.app, FinetuneApp)
        deadline = time.monotonic() + 20
        while pilot.app.returning is None:
            assert time.monotonic() < deadline
            await pilot.pause(0.01)
        await pilot.app.action_show_place("data")
        while not was_told.is_set():
            assert time.monotonic() < deadline
            await pilot.pause(0.01)
        await pilot.pause(0.1)

    app = FinetuneApp(fixed_services(home, count_tokens=count), chats())
    assert snap_compare(app, terminal_size=SMALL, run_before=prepare)
