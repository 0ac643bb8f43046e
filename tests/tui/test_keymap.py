"""Keys of one's own, from the settings file."""

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from textual.events import Key
from textual.widgets import Input

from finetune_tui.core.settings import Settings
from finetune_tui.tui.actions import ACTIONS
from finetune_tui.tui.app import FinetuneApp
from finetune_tui.tui.keymap import checked, key_names
from finetune_tui.tui.screens.help import HelpScreen
from finetune_tui.tui.services import Services
from finetune_tui.tui.widgets.lines import Lines
from finetune_tui.tui.widgets.status import Footline
from tests.tui.conftest import open_model, press, settled


def app_with(services: Services, keys: Mapping[str, str]) -> FinetuneApp:
    settings = Settings(services.home / "settings.yaml", keys=keys)
    return FinetuneApp(replace(services, read_settings=lambda: settings))


def footer(app: FinetuneApp) -> str:
    return app.screen_stack[0].query_one(Footline).words


def test_keys_are_named_as_people_name_them() -> None:
    assert key_names("x") == ("x",)
    assert key_names("x, ? ctrl+x N") == ("x", "question_mark", "ctrl+x", "N")
    assert key_names("spc esc f5 :") == ("space", "escape", "f5", "colon")
    assert key_names("ctr+x") is None
    assert key_names("") is None


@given(st.text(max_size=20))
def test_any_text_is_keys_or_none(words: str) -> None:
    found = key_names(words)
    assert found is None or all(found)


def test_every_action_of_every_screen_can_have_its_key_changed() -> None:
    checked({})
    groups = {name.partition(".")[0] for name in ACTIONS}
    assert groups >= {"app", "model", "layers", "data", "train", "runs", "question", "help"}


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        ({"layers.togle": "x"}, "no action is called 'layers.togle', did you mean 'layers.toggle'"),
        ({"layers.find": "ctr+x"}, "'ctr+x' for layers.find is no key"),
        ({"layers.find": "u"}, "'u' for layers.find is the key of layers.undo"),
        ({"layers.find": "q"}, "'q' for layers.find is the key of app.leave"),
        ({"app.leave": "j"}, "'j' for app.leave is the key of"),
    ],
)
def test_what_cannot_be_is_told_and_the_rest_holds(wanted: dict[str, str], words: str) -> None:
    keymap, wrong = checked({**wanted, "data.count": "ctrl+t"})
    assert len(wrong) == 1
    assert words in wrong[0]
    assert keymap.keys(ACTIONS["data.count"]) == ("ctrl+t",)


def test_two_actions_may_change_their_keys_with_each_other() -> None:
    keymap, wrong = checked({"layers.undo": "U", "layers.redo": "u"})
    assert not wrong
    assert keymap.keys(ACTIONS["layers.undo"]) == ("U",)


async def test_changed_keys_act_and_are_shown(services: Services) -> None:
    app = app_with(services, {"layers.toggle": "x", "app.leave": "ctrl+l", "train.go_on": "ctrl+g"})
    async with app.run_test(size=(120, 36)) as pilot:
        await open_model(pilot, "phi-2")
        assert "x lora" in footer(app)
        await press(pilot, "j", "x")
        chosen = dict(app.session.selection.choices)
        assert chosen
        await press(pilot, "space")  # which means nothing now
        assert dict(app.session.selection.choices) == chosen
        await press(pilot, "question_mark")
        assert isinstance(app.screen, HelpScreen)
        shown = app.screen.query_one("#help-keys", Lines).words
        assert " x  lora ⇄ frozen" in shown
        assert "ctrl+l  leave" in shown
        await press(pilot, "escape", "4")
        keys = app.place._bindings.key_to_bindings if app.place else {}
        # `p` stays with pause though it was shared with what has moved away from it.
        assert [one.id for one in keys["p"]] == ["train.pause"]
        assert [one.id for one in keys["ctrl+g"]] == ["train.go_on"]


async def test_a_changed_key_is_still_a_letter_in_a_field(services: Services) -> None:
    app = app_with(services, {"app.leave": "x"})
    async with app.run_test(size=(80, 24)) as pilot:
        await press(pilot, "slash", "x", "q")
        assert app.screen.query_one(Input).value == "xq"


async def test_what_is_wrong_in_the_settings_is_told_at_the_start(services: Services) -> None:
    app = app_with(services, {"layers.togle": "x"})
    async with app.run_test(size=(120, 36)) as pilot:
        await settled(pilot)
        assert "no action is called 'layers.togle'" in footer(app)
        assert "settings.yaml" in footer(app)


async def test_a_capital_is_one_however_the_terminal_reports_it(app: FinetuneApp) -> None:
    async with app.run_test(size=(80, 24)) as pilot:
        await press(pilot, "G")
        last = app.query_one("ModelPlace")._cursor  # type: ignore[attr-defined]
        assert last > 0
        await press(pilot, "g")
        app.post_message(Key("shift+g", None))
        await settled(pilot)
        assert app.query_one("ModelPlace")._cursor == last  # type: ignore[attr-defined]


def test_no_action_names_a_capital_twice() -> None:
    checked({})
    doubled = [
        one.id for one in ACTIONS.values() for key in one.keys if re.match("shift.[a-z]$", key)
    ]
    assert not doubled


async def test_hints_inside_a_place_follow_a_changed_key(
    services: Services, tmp_path: Path
) -> None:
    data = tmp_path / "data.jsonl"
    data.write_text('{"prompt": "a", "completion": "b"}\n' * 9)
    app = app_with(services, {"train.rehearse": "ctrl+t", "train.fit": "f7", "app.leave": "f"})
    async with app.run_test(size=(120, 36)) as pilot:
        await open_model(pilot, "phi-2")
        await press(pilot, "p", "enter", "escape", "4")
        app.session.change_spec(train_files=[str(data)])
        app.session_changed()
        await settled(pilot)
        shown = app.query_one("#settings-checks", Lines).words
        assert "f7 fit" in shown
        assert "F fit" not in shown
        assert "ctrl+t rehearse" in shown
        assert "s start" in shown
