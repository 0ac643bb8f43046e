"""The Try place: what it asks, what it shows while answers come, and every way out."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from textual.keys import _character_to_key
from textual.pilot import Pilot

from finetune_tui.core.errors import UserError, WorkFailed
from finetune_tui.core.evidence.chat import Where
from finetune_tui.core.evidence.conversation import Side
from finetune_tui.core.runs.state import Status
from finetune_tui.core.tuning.spec import demo_spec
from finetune_tui.core.tuning.spec_file import write_spec
from finetune_tui.tui.actions import ACTIONS
from finetune_tui.tui.app import FinetuneApp
from finetune_tui.tui.screens.pick import PickScreen
from finetune_tui.tui.screens.try_field import PromptField
from finetune_tui.tui.screens.trying import TryPlace, open_try
from finetune_tui.tui.widgets.lines import Lines
from finetune_tui.tui.widgets.status import Footline, StatusLine
from tests.tui.chat_fixture import ENOUGH, NO_ROOM, FakeChat, finished_run
from tests.tui.runs_fixture import NOW, demo_session, fixed_services, make_run, settle, show

SOAK = pytest.mark.soak
TYPED = "2048 6q?:jG/N[+eapSRFT"


def app_with(home: Path, chat: FakeChat, **services: Any) -> FinetuneApp:
    given = {"chat": lambda: chat, "chat_room": lambda _run, _where: ENOUGH, **services}
    return FinetuneApp(fixed_services(home, **given), demo_session())


def place_of(app: FinetuneApp) -> TryPlace:
    assert isinstance(app.place, TryPlace)
    return app.place


def words(app: FinetuneApp, name: str) -> str:
    return app.query_one(f"#try-{name}", Lines).words


def footer(app: FinetuneApp) -> str:
    return app.screen.query_one(Footline).words


async def until(pilot: Pilot[Any], condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        await pilot.pause(0.01)


async def ask(pilot: Pilot[Any], text: str) -> None:
    """Put it into the field and send it."""
    await pilot.press("enter")
    field = pilot.app.query_one(PromptField)
    assert field.has_focus
    field.text = text
    await pilot.press("enter")


async def test_without_runs_it_says_how_to_come_by_one(home: Path) -> None:
    app = app_with(home, FakeChat())
    async with app.run_test(size=(80, 24)) as pilot:
        await show(pilot, "try")
        assert "No run yet: train one, then ask it here." in words(app, "nothing")
        assert not app.query_one(PromptField).display
        assert "write" not in footer(app)
        make_run(home)
        await show(pilot, "model")
        await show(pilot, "try")
        assert "No run has a result yet" in words(app, "nothing").replace("\n ", " ")


async def test_the_newest_with_a_result_is_chosen_and_nothing_is_loaded(home: Path) -> None:
    finished_run(home)
    make_run(home, name="r8-goes-on")
    chat = FakeChat()
    app = app_with(home, chat)
    async with app.run_test(size=(80, 24)) as pilot:
        await show(pilot, "try")
        assert words(app, "head").startswith(" r7-demo-structured-output · greedy · as it stands")
        assert not app.query_one(StatusLine).display
        assert not chat.opened
        await pilot.press("1")
        await settle(pilot)
        assert app.query_one(StatusLine).display


async def test_a_prompt_is_answered_by_both_sides_as_they_write(home: Path) -> None:
    finished_run(home)
    chat = FakeChat()
    chat.gate.clear()
    now = [NOW]
    app = app_with(home, chat, clock=lambda: now[0])
    async with app.run_test(size=(80, 24)) as pilot:
        await show(pilot, "try")
        await ask(pilot, "six shelves")
        await until(pilot, lambda: "6 tokens · 60 t/s" in words(app, "title-base"))
        assert '{"item": "sh' in words(app, "words-base")
        assert "stop" in footer(app)
        chat.gate.set()
        await settle(pilot)
        await until(pilot, lambda: "end token" in words(app, "title-tuned"))
        assert '"quantity": 74' in words(app, "words-tuned")
        assert "RTX 4090 bfloat16 1.2G" in words(app, "head")
        asked, sampling = chat.asked[0]
        assert asked == {side: {"prompt": "six shelves"} for side in Side}
        assert sampling.is_greedy

        now[0] += 16 * 60  # nobody asks: the memory is given back
        place_of(app).talk.look_again()
        await settle(pilot)
        assert chat.is_closed
        assert "nothing loaded" in words(app, "head")


async def test_escape_stops_the_answers_and_keeps_what_came(home: Path) -> None:
    finished_run(home)
    chat = FakeChat()
    chat.gate.clear()
    app = app_with(home, chat)
    async with app.run_test(size=(80, 24)) as pilot:
        await show(pilot, "try")
        await ask(pilot, "six")
        await until(pilot, lambda: "6 tokens" in words(app, "title-base"))
        await pilot.press("escape")
        await until(pilot, lambda: "stopped" in words(app, "title-tuned"))
        assert "… stopped" in words(app, "words-base")
        chat.gate.set()
        await pilot.press("a")
        await until(pilot, lambda: "end token" in words(app, "title-tuned"))


async def test_what_is_asked_meanwhile_comes_next(home: Path) -> None:
    finished_run(home)
    chat = FakeChat()
    chat.gate.clear()
    app = app_with(home, chat)
    async with app.run_test(size=(80, 24)) as pilot:
        await show(pilot, "try")
        await ask(pilot, "one")
        await until(pilot, lambda: len(chat.asked) == 1)
        await ask(pilot, "two")
        chat.gate.set()
        await until(pilot, lambda: len(chat.asked) == 2)
        assert chat.asked[1][0][Side.BASE] == {"prompt": "two"}


async def test_what_is_typed_stays_in_the_field(home: Path) -> None:
    finished_run(home)
    app = app_with(home, FakeChat())
    async with app.run_test(size=(80, 24)) as pilot:
        await show(pilot, "try")
        await pilot.press("i", *(_character_to_key(letter) for letter in TYPED))
        field = app.query_one(PromptField)
        assert field.text == TYPED
        assert app.place_name == "try"
        assert not field.cursor_blink
        await pilot.press("backslash", "enter", "x")
        assert field.text.endswith("\nx")
        await pilot.press("escape")
        assert not field.has_focus
        assert field.text.endswith("\nx")


async def test_a_run_that_starts_gets_the_memory(home: Path) -> None:
    finished_run(home)
    chat = FakeChat()
    app = app_with(home, chat)
    async with app.run_test(size=(80, 24)) as pilot:
        await show(pilot, "try")
        await ask(pilot, "six")
        await until(pilot, lambda: "end token" in words(app, "title-tuned"))
        run = make_run(home, name="r8-new", status=Status.PREPARING)
        run.spec_path.write_text(write_spec(demo_spec().changed(use_cpu=True)))
        place_of(app).talk.look_again()
        await settle(pilot)
        assert "RTX 4090" in words(app, "head")
        run.spec_path.write_text(write_spec(demo_spec().changed(use_cpu=False)))
        place_of(app).talk.look_again()
        await settle(pilot)
        assert chat.is_closed
        assert "r8 starts on a GPU" in footer(app)


async def test_held_out_rows_are_asked_one_after_another(home: Path) -> None:
    finished_run(home)
    row = json.loads(Path(demo_spec().eval_files[0]).read_text().splitlines()[0])
    chat = FakeChat({Side.BASE: "{}", Side.TUNED: row["completion"]})
    app = app_with(home, chat)
    async with app.run_test(size=(120, 36)) as pilot:
        await show(pilot, "try")
        await pilot.press("x")
        await until(pilot, lambda: isinstance(app.screen, PickScreen))
        assert "240, never trained on" in app.screen.query_one("#pick-title", Lines).words
        assert "expected" in app.screen.query_one("#pick-detail", Lines).words
        await pilot.press("enter")
        await until(pilot, lambda: "✓ exactly as expected" in words(app, "words-tuned"))
        assert "✗ expected" in words(app, "words-base")
        assert "held-out 1 of 240" in words(app, "field-title")
        assert chat.asked[0][0][Side.BASE] == {
            "prompt": row["prompt"],
            "completion": row["completion"],
        }
        await pilot.press("l")
        await until(pilot, lambda: len(chat.asked) == 2)
        assert "held-out 2 of 240" in words(app, "field-title")
        assert len(place_of(app).talk.conversation.turns) == 1
        await pilot.press("h", "h")
        await until(pilot, lambda: "held-out 240 of 240" in words(app, "field-title"))


async def test_an_answer_is_kept_where_one_says(home: Path) -> None:
    finished_run(home)
    app = app_with(home, FakeChat())
    async with app.run_test(size=(80, 24)) as pilot:
        await show(pilot, "try")
        assert "keep" not in footer(app)
        await ask(pilot, "six")
        await settle(pilot)
        await until(pilot, lambda: "end token" in words(app, "title-tuned"))
        await pilot.press("K", "enter")
        await settle(pilot)
        assert "1 example" in footer(app)
        kept = [json.loads(line) for line in (home / "kept" / "prompts.jsonl").open()]
        assert kept == [{"prompt": "six", "completion": FakeChat().says[Side.TUNED]}]
        await pilot.press("left_square_bracket", "K", "enter")
        await settle(pilot)
        assert "2 examples" in footer(app)
        last = (home / "kept" / "prompts.jsonl").read_text().splitlines()[-1]
        assert json.loads(last)["completion"] == FakeChat().says[Side.BASE]


async def test_a_busy_gpu_is_left_alone_and_there_are_ways_out(home: Path) -> None:
    finished_run(home)
    chat = FakeChat()
    rooms = {None: NO_ROOM, True: ENOUGH}
    app = app_with(home, chat, chat_room=lambda _run, where: rooms[where.use_cpu])
    async with app.run_test(size=(80, 24)) as pilot:
        await show(pilot, "try")
        await ask(pilot, "six")
        await settle(pilot)
        assert "r9 trains there, 612/1044" in words(app, "state")
        assert not chat.opened
        assert {"wait", "on the CPU"} <= {
            action.words for action in ACTIONS.values() if action.words in footer(app)
        }
        await pilot.press("w", "escape")
        assert "w wait for it" in words(app, "state")
        await pilot.press("w")
        assert "looks every 5 s" in words(app, "state")
        rooms[None] = ENOUGH
        place_of(app).talk.look_again()
        await until(pilot, lambda: "end token" in words(app, "title-tuned"))
        assert chat.opened[0][1] == Where()
        assert len(chat.asked) == 1

        rooms[None] = NO_ROOM
        await pilot.press("F")
        await ask(pilot, "seven")
        await until(pilot, lambda: "no room" in words(app, "head"))
        await pilot.press("c")
        await until(pilot, lambda: len(chat.asked) == 2)
        assert chat.opened[1][1] == Where(use_cpu=True)
        await until(pilot, lambda: "CPU float32" in words(app, "head"))


async def test_loading_is_told_and_can_be_stopped(home: Path) -> None:
    finished_run(home)
    chat = FakeChat()
    chat.loading.clear()
    app = app_with(home, chat)
    async with app.run_test(size=(80, 24)) as pilot:
        await show(pilot, "try")
        await ask(pilot, "six")
        await until(pilot, lambda: "loading the weights 40%" in words(app, "state"))
        await pilot.press("escape")
        await until(pilot, lambda: "nothing loaded" in words(app, "head"))
        assert not chat.asked
        chat.loading.set()
        await pilot.press("a")
        await until(pilot, lambda: len(chat.asked) == 1)


async def test_a_failure_is_a_line_with_ways_out(home: Path) -> None:
    finished_run(home)
    chat = FakeChat()
    chat.fails = WorkFailed("the model cannot be loaded", where="demo", hint="see the log")
    app = app_with(home, chat)
    async with app.run_test(size=(80, 24)) as pilot:
        await show(pilot, "try")
        await ask(pilot, "six")
        await settle(pilot)
        await until(pilot, lambda: "demo: the model cannot be loaded" in words(app, "state"))
        assert "a again" in words(app, "state")
        chat.fails = None
        await pilot.press("a")
        await settle(pilot)
        await until(pilot, lambda: len(chat.asked) == 1)


async def test_sampling_is_changed_with_its_rules_beside_it(home: Path) -> None:
    finished_run(home)
    chat = FakeChat()
    app = app_with(home, chat)
    async with app.run_test(size=(80, 24)) as pilot:
        await show(pilot, "try")
        await pilot.press("s")
        form = app.screen.query_one("#form-rows", Lines)
        assert "always the likeliest token" in form.words
        await pilot.press("enter", "9", "enter")
        assert "temperature" in app.screen.query_one("#form-words", Lines).words
        await pilot.press("backspace", *"0.7", "enter")
        await pilot.press("escape", "escape")
        assert "temperature 0.7, seed 1" in words(app, "head")
        await ask(pilot, "six")
        await until(pilot, lambda: len(chat.asked) == 1)
        await settle(pilot)
        await pilot.press("a")
        await until(pilot, lambda: len(chat.asked) == 2)
        assert [sampling.seed for _, sampling in chat.asked] == [1, 2]


@pytest.mark.parametrize(
    "size",
    [(45, 20), *(pytest.param(size, marks=SOAK) for size in ((80, 24), (120, 36), (200, 50)))],
)
async def test_it_holds_together_at_every_size(home: Path, size: tuple[int, int]) -> None:
    finished_run(home)
    app = app_with(home, FakeChat())
    async with app.run_test(size=size) as pilot:
        await show(pilot, "try")
        await ask(pilot, "six")
        await settle(pilot)
        await until(pilot, lambda: "· end" in words(app, "title-tuned"))
        base, tuned = app.query_one("#try-base"), app.query_one("#try-tuned")
        if size[0] >= 60:
            assert (base.region.y == tuned.region.y) is (size[0] >= 100)
        assert base.display is (size[0] >= 60)
        assert tuned.region.bottom <= app.query_one(PromptField).region.y
        assert app.query_one(PromptField).region.bottom <= size[1] - 2
        assert footer(app).endswith("? keys")
        assert "…" not in words(app, "head")
        if size[0] < 60:
            await pilot.press("right_square_bracket")
            await settle(pilot)
            assert base.display
            assert not tuned.display


async def test_a_run_is_chosen_and_another_place_may_choose_it(home: Path) -> None:
    finished_run(home)
    other = finished_run(home, "r5-another")
    unfinished = make_run(home, name="r8-goes-on")
    chat = FakeChat()
    app = app_with(home, chat)
    async with app.run_test(size=(80, 24)) as pilot:
        await show(pilot, "try")
        await ask(pilot, "six")
        await settle(pilot)
        await pilot.press("r")
        await until(pilot, lambda: isinstance(app.screen, PickScreen))
        await pilot.press("j", "enter")
        await settle(pilot)
        assert words(app, "head").startswith(" r5-another")
        assert chat.is_closed
        assert not place_of(app).talk.conversation.turns
        await show(pilot, "model")
        assert app.place is not None
        await open_try(app.place, other)
        assert app.place_name == "try"
        with pytest.raises(UserError, match="no result"):
            await open_try(app.place, unfinished)


async def test_the_mouse_does_what_keys_do(home: Path) -> None:
    finished_run(home)
    app = app_with(home, FakeChat())
    async with app.run_test(size=(120, 36)) as pilot:
        await show(pilot, "try")
        await pilot.click(PromptField)
        assert app.query_one(PromptField).has_focus
        await pilot.press("x", "enter")
        await settle(pilot)
        await until(pilot, lambda: "end token" in words(app, "title-tuned"))
        await pilot.click("#try-words-base", offset=(3, 2))
        assert place_of(app).front is Side.BASE
        assert "[base]" in words(app, "title-base")
