"""The mouse alone: what comes from the terminal as a mouse event does what a key would do."""

from textual import events
from textual.widgets import Input

from finetune_tui.tui.app import FinetuneApp
from finetune_tui.tui.widgets.lines import Lines
from finetune_tui.tui.widgets.preset_list import PresetList
from finetune_tui.tui.widgets.prompt import PromptLine
from finetune_tui.tui.widgets.status import Footline
from tests.tui.conftest import AppPilot, open_model, press, settled


async def click(pilot: AppPilot, x: int, y: int) -> None:
    """As the terminal sends it, through the app; the pilot's own goes past it."""
    for kind in (events.MouseDown, events.MouseUp):
        pilot.app.post_message(
            kind(None, x, y, 0, 0, 1, shift=False, meta=False, ctrl=False, screen_x=x, screen_y=y)
        )
        await settled(pilot)


async def click_words(pilot: AppPilot, words: str) -> None:
    """The first place on the screen in front where these words stand."""
    for shown in pilot.app.screen.query(Lines):
        for row, text in enumerate(shown.words.splitlines()):
            if words in text:
                await click(pilot, shown.region.x + text.index(words), shown.region.y + row)
                return
    raise AssertionError(f"no {words!r} on the screen")


async def test_the_help_does_what_is_clicked_here_and_everywhere(app: FinetuneApp) -> None:
    async with app.run_test(size=(120, 36)) as pilot:
        await open_model(pilot, "demo")
        await click_words(pilot, "? keys")
        await click_words(pilot, "choose a preset")
        assert isinstance(app.focused, PresetList)
        await click_words(pilot, "? keys")
        await click_words(pilot, "go to Runs")
        assert app.place_name == "runs"
        await click_words(pilot, "? keys")
        await click_words(pilot, "every action by its name")
        assert isinstance(app.focused, Input)
        assert not app.query_one(PromptLine).display


async def test_a_click_brings_the_keys_back_and_nothing_that_stood_below(app: FinetuneApp) -> None:
    async with app.run_test(size=(120, 36)) as pilot:
        await open_model(pilot, "demo")
        foot = app.query_one(Footline)
        app.say("something to read")
        await settled(pilot)
        assert "keys" not in foot.words
        trained = app.session.trainable
        await click(pilot, 1, foot.region.y)  # where `spc lora` will be
        assert foot.words.strip().startswith("spc lora")
        assert app.session.trainable == trained
        app.say("something to read")
        await settled(pilot)
        await click_words(pilot, "embed_tokens")
        assert foot.words.strip().endswith("? keys")


async def test_a_click_beside_a_question_takes_it_back(app: FinetuneApp) -> None:
    async with app.run_test(size=(120, 36)) as pilot:
        await press(pilot, "3", "o", "x")
        prompt = app.query_one(PromptLine)
        await click(pilot, prompt.query_one(Input).region.x + 5, prompt.region.y)
        assert app.screen.has_class("-asking")  # in the field: it moves the cursor
        await click(pilot, 60, 20)
        assert not app.screen.has_class("-asking")
        assert not isinstance(app.focused, Input)
        await pilot.pause(0.2)  # the line is laid out again before it is told that it is seen
        assert app.query_one(Footline).words.strip().endswith("? keys")
        assert not app.session.spec.train_files


async def test_the_gpu_is_chosen_from_its_list(app: FinetuneApp) -> None:
    async with app.run_test(size=(120, 36)) as pilot:
        await open_model(pilot, "phi-2")
        await click_words(pilot, "4Train")
        await click_words(pilot, "d GPU…")
        await click_words(pilot, "GPU0 RTX 4090")
        assert list(app.session.spec.gpus) == ["GPU-8f1c"]
        await click_words(pilot, "d GPU…")
        await click_words(pilot, "no choice")
        assert not app.session.spec.gpus
