"""The Data place as pictures, at the sizes that matter."""

import json
import threading
from pathlib import Path
from typing import Any

import pytest

from finetune_tui.core.data.report import report_of
from finetune_tui.core.data.token_report import TokenReport
from finetune_tui.core.errors import UserError
from finetune_tui.tui.app import FinetuneApp
from finetune_tui.tui.session import Session
from tests.tui.runs_fixture import demo_session, fixed_services, settle, show
from tests.tui.screens.test_pictures_train import Snap, size_name
from tests.tui.tokens_fixture import count_words

OTHERS = [pytest.param(size, marks=pytest.mark.soak) for size in ((120, 36), (200, 50), (45, 20))]
SIZES = [(80, 24), *OTHERS]


def chats() -> Session:
    """Chats of growing length; one is no JSON, one is no chat, one repeats, some are too long."""
    rows = [
        {
            "messages": [
                {"role": "system", "content": "You answer briefly."},
                {
                    "role": "user",
                    "content": f"Why is the sky blue?\nNumber {number} <|im_end|>\x1b[0m",
                },
                {"role": "assistant", "content": "Light scatters. " * (1 + number // 3)},
                {"role": "user", "content": "And at night?"},
                {"role": "assistant", "content": "There is none to scatter."},
            ]
        }
        for number in range(40)
    ]
    texts = [json.dumps(row) for row in rows]
    texts[6] = '{"messages": '
    texts[11] = json.dumps({"messages": [{"role": "user"}]})
    texts[30] = texts[29]
    Path("chats.jsonl").write_text("\n".join(texts) + "\n")
    session = demo_session()
    session.change_spec(max_length=48)
    session.use_data(report_of(["chats.jsonl"]))
    return session


def picture(
    snap: Snap, home: Path, session: Session, size: tuple[int, int], *keys: str, **services: Any
) -> bool:
    async def prepare(pilot: Any) -> None:
        await show(pilot, "data")
        for key in keys:
            await pilot.press(key)
            await settle(pilot)

    app = FinetuneApp(fixed_services(home, **services), session)
    return snap(app, terminal_size=size, run_before=prepare)


@pytest.mark.parametrize("size", SIZES, ids=size_name)
def test_data(snap_compare: Snap, home: Path, size: tuple[int, int]) -> None:
    assert picture(snap_compare, home, chats(), size)


@pytest.mark.parametrize("size", [(80, 24), (45, 20)], ids=size_name)
def test_an_example(snap_compare: Snap, home: Path, size: tuple[int, int]) -> None:
    assert picture(snap_compare, home, chats(), size, "n", "n")


def test_borders_of_tokens(snap_compare: Snap, home: Path) -> None:
    assert picture(snap_compare, home, chats(), (120, 36), "b")


def test_what_cannot_be_counted(snap_compare: Snap, home: Path) -> None:
    def refuse(*_: Any) -> TokenReport:
        hint = "last_turn_only: true trains the last answer of each chat"
        raise UserError(
            "the chat template rewrites turn 2 once others follow", where="chats.jsonl:1", hint=hint
        )

    assert picture(snap_compare, home, chats(), (80, 24), count_tokens=refuse)


def test_no_data(snap_compare: Snap, home: Path) -> None:
    assert picture(snap_compare, home, Session(), (80, 24))


def test_the_picture_s_count_is_a_count(home: Path) -> None:
    session = chats()
    question = session.token_question
    assert question is not None
    counted = count_words(question, lambda _words: None, threading.Event())
    assert counted.rows == 38
    assert 0 < counted.cut_rows < 38
