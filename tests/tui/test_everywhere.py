"""Every place at every size and in every theme: nothing of the frame is cut, typing stays in its field."""

from dataclasses import replace
from pathlib import Path

import pytest
from rich.color import Color, ColorType
from textual.keys import _character_to_key
from textual.pilot import Pilot
from textual.widgets import Input

from finetune_tui.core.settings import Settings
from finetune_tui.tui import places
from finetune_tui.tui.actions import ACTIONS
from finetune_tui.tui.app import FinetuneApp
from finetune_tui.tui.screens.ask import AskScreen
from finetune_tui.tui.screens.help import HelpScreen
from finetune_tui.tui.screens.monitor import Monitor
from finetune_tui.tui.services import Services
from finetune_tui.tui.themes import THEMES
from finetune_tui.tui.widgets.lines import Lines
from finetune_tui.tui.widgets.settings_form import SettingsForm
from finetune_tui.tui.widgets.status import Footline, Masthead, StatusLine
from tests.tui import runs_fixture
from tests.tui.conftest import open_model, press, settled

SIZES = ((45, 20), (60, 20), (80, 24), (120, 36), (200, 50))
PLACES = tuple(places.PLACES)


async def resize(pilot: Pilot[str | None], size: tuple[int, int]) -> None:
    await pilot.resize_terminal(*size)
    await settled(pilot)


def frame(app: FinetuneApp) -> tuple[str, str, str]:
    front = app.screen_stack[0]
    kinds: tuple[type[Lines], ...] = (Masthead, StatusLine, Footline)
    masthead, status, foot = (front.query_one(kind).words for kind in kinds)
    return masthead, status, foot


async def test_the_frame_is_whole_everywhere(app: FinetuneApp) -> None:
    async with app.run_test(size=SIZES[0]) as pilot:
        await open_model(pilot, "llama-3.1-8b-instruct")
        for place in PLACES:
            await press(pilot, str(PLACES.index(place) + 1))
            for size in SIZES:
                await resize(pilot, size)
                masthead, status, foot = frame(app)
                where = f"{place} {size}: {masthead!r} {status!r} {foot!r}"
                assert "…" not in masthead + status.replace("PU…", ""), where
                assert all(str(number) in masthead for number in range(1, len(PLACES) + 1)), where
                assert f"{PLACES.index(place) + 1}{place.capitalize()}]" in masthead, where
                assert foot.endswith("? keys"), where
                assert "Llama" in status, where
                assert foot.count("  ") >= 1, where
                assert all(
                    lines.region.right <= size[0] for lines in app.query(Lines) if lines.region
                )


async def test_the_frame_is_whole_over_a_run(tmp_path: Path) -> None:
    events = [
        *runs_fixture.preparation(),
        *runs_fixture.training(),
        runs_fixture.hardware(gpu=True),
    ]
    run = runs_fixture.make_run(tmp_path, events, step=176)
    app = FinetuneApp(runs_fixture.fixed_services(tmp_path))
    app.session.monitored = run
    async with app.run_test(size=SIZES[0]) as pilot:
        await runs_fixture.show(pilot, "train")
        for size in SIZES:
            await resize(pilot, size)
            masthead, _, foot = frame(app)
            assert "r7" in masthead, size
            assert "…" not in masthead, size
            assert foot.endswith("? keys"), (size, foot)
            assert app.query_one(Monitor).display


async def test_the_help_says_what_the_place_is_for_and_each_field(app: FinetuneApp) -> None:
    async with app.run_test(size=(80, 24)) as pilot:
        await open_model(pilot, "phi-2")
        for place in PLACES:
            await press(pilot, str(PLACES.index(place) + 1), "question_mark")
            for size in SIZES:
                await resize(pilot, size)
                words = app.screen.query_one("#help-keys", Lines).words
                assert app.place is not None
                about = words.partition("──")[2].replace("\n ", " ")
                assert app.place.about.split(".")[0] in about, (place, size)
                assert "leave; a run goes on without the app" in " ".join(words.split())
                if size[0] == 45:
                    assert "…" not in words.replace("spec…", ""), words
            await press(pilot, "escape")
        await press(pilot, "4", "j", "question_mark")
        words = " ".join(app.screen.query_one("#help-keys", Lines).words.split())
        assert "lora_alpha is 16: 2 × rank" in words
        assert "a number from 0 to" in words
        assert "default 16: twice the rank keeps" in words


@pytest.mark.parametrize("theme", sorted(THEMES))
async def test_a_theme_keeps_to_its_colours(app: FinetuneApp, theme: str) -> None:
    """ansi: none but the terminal's own sixteen; the others: what 256 colours hold exactly."""
    app.theme = THEMES[theme].name
    async with app.run_test(size=(80, 24)) as pilot:
        await open_model(pilot, "phi-2")
        for keys in (
            ("v", "j"),
            ("escape", "4", "j"),
            ("enter",),
            ("escape", "1"),
            ("question_mark",),
        ):
            await press(pilot, *keys)
            for color in colours(app):
                if theme == "ansi":
                    assert color.type in (ColorType.DEFAULT, ColorType.STANDARD), (keys, color)


def colours(app: FinetuneApp) -> set[Color]:
    segments = [
        segment for strip in app.screen._compositor.render_strips() for segment in strip._segments
    ]
    styles = {segment.style for segment in segments if segment.style}
    found = {color for style in styles for color in (style.color, style.bgcolor) if color}
    assert styles
    return found


async def test_no_color_is_none_and_still_legible(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    app = FinetuneApp(services)
    async with app.run_test(size=(80, 24)) as pilot:
        await open_model(pilot, "phi-2")
        assert app.theme == THEMES["ansi"].name
        text = app.export_screenshot()
        assert "embed_tokens" in text
        await press(pilot, "T")
        assert "NO_COLOR is set" in frame(app)[2]
        assert app.theme == THEMES["ansi"].name


async def test_the_theme_is_chosen_and_kept(services: Services) -> None:
    kept = []

    def change(name: str, value: str | bool | None) -> Settings:
        kept.append((name, value))
        return services.read_settings()

    app = FinetuneApp(replace(services, change_setting=change))
    async with app.run_test(size=(80, 24)) as pilot:
        for name in ("light", "ansi", "dark"):
            await press(pilot, "T")
            assert app.theme == THEMES[name].name
            assert f"theme: {name}" in frame(app)[2]
    assert kept == [("theme", "light"), ("theme", "ansi"), ("theme", "dark")]


# Every key of the app, some of which mean much in a place, and none in a field.
TYPED = "2048 6q?:jG/N[+eapSRFT"


@pytest.mark.parametrize(
    "keys",
    [
        pytest.param(("1", "slash"), id="find a model"),
        pytest.param(("1", "f"), id="a folder or Hub id"),
        pytest.param(("o",), id="a data file"),
        pytest.param(("2", "slash"), id="find a module"),
        pytest.param(("colon",), id="the palette"),
    ],
)
async def test_what_is_typed_in_a_field_stays_there(
    app: FinetuneApp, keys: tuple[str, ...]
) -> None:
    async with app.run_test(size=(80, 24)) as pilot:
        await open_model(pilot, "phi-2")
        await press(pilot, *keys)
        place, field = app.place_name, app.focused
        assert isinstance(field, Input)
        await pilot.press(*(key_of(character) for character in TYPED))
        assert field.value == TYPED
        assert not field.cursor_blink  # nothing on the wire while one thinks
        assert app.focused is field
        assert app.place_name == place
        assert not isinstance(app.screen, HelpScreen | AskScreen)


async def test_what_is_typed_into_any_setting_stays_there(app: FinetuneApp) -> None:
    async with app.run_test(size=(80, 24)) as pilot:
        await open_model(pilot, "phi-2")
        await press(pilot, "4", "enter")
        field = app.focused
        assert isinstance(field, Input)
        field.value = ""
        await pilot.press(*(key_of(character) for character in TYPED))
        assert field.value == TYPED
        assert app.place_name == "train"


def key_of(character: str) -> str:
    return _character_to_key(character)


async def test_no_action_needs_ctrl(app: FinetuneApp) -> None:
    """From a phone there is none: everything has a key without it."""
    async with app.run_test(size=(45, 20)) as pilot:
        for place in range(1, len(PLACES) + 1):
            await press(pilot, str(place))
    needs = [
        action.id
        for action in ACTIONS.values()
        if action.keys and all("ctrl" in key or "alt" in key for key in action.keys)
    ]
    assert not needs
    assert [action.id for action in ACTIONS.values() if not action.keys] == []


async def test_the_palette_finds_settings_and_leads_to_them(app: FinetuneApp) -> None:
    async with app.run_test(size=(80, 24)) as pilot:
        await open_model(pilot, "phi-2")
        await press(pilot, "colon", *"cpu", "enter")
        assert app.place_name == "train"
        form = app.query_one(SettingsForm)
        assert form.field_name == "use_cpu"
        await press(pilot, "enter")  # and there it is changed as ever
        assert app.session.spec.use_cpu
        await press(pilot, "colon", *"max_length", "enter", "enter", *"512", "enter")
        assert app.session.spec.max_length == 512
